// RUN: edgec-opt %s -p shrink-channels | filecheck %s

// Nobody reads channel 1: its filter goes.

// CHECK-LABEL: func.func @unread(
// CHECK: nn.constant dense<2.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: nn.unary sigmoid {{.*}} -> tensor<1x1x2x2xf32>
// CHECK: nn.constant dense<4.000000e+00> : tensor<1x1x1x1xf32>
func.func @unread(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %v = nn.constant dense<[[[[2.0]]], [[[3.0]]]]> : tensor<2x1x1x1xf32>
  %w = nn.constant dense<[[[[4.0]], [[0.0]]]]> : tensor<1x2x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  %1 = nn.unary sigmoid %0 : (tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %2 = nn.conv %1, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %2 : tensor<1x1x2x2xf32>
}

// A filter without weights gives 3; without padding 3 * 5 becomes the bias of its reader.

// CHECK-LABEL: func.func @number(
// CHECK-DAG: nn.constant dense<4.000000e+00> : tensor<1x1x1x1xf32>
// CHECK-DAG: %[[B:.*]] = nn.constant dense<1.500000e+01> : tensor<1xf32>
// CHECK: nn.conv %{{.*}}, %{{.*}}, %[[B]] {
func.func @number(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %v = nn.constant dense<[[[[2.0]]], [[[0.0]]]]> : tensor<2x1x1x1xf32>
  %b = nn.constant dense<[1.0, 3.0]> : tensor<2xf32>
  %w = nn.constant dense<[[[[4.0]], [[5.0]]]]> : tensor<1x2x1x1xf32>
  %0 = nn.conv %x, %v, %b {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<2x1x1x1xf32>, tensor<2xf32>) -> tensor<1x2x2x2xf32>
  %1 = nn.conv %0, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %1 : tensor<1x1x2x2xf32>
}

// With padding it cannot, as the border reads zeros. Two channels that hold 2 and 4 are
// one that holds 4: its weight is 7 + 2 / 4 * 6.

// CHECK-LABEL: func.func @padded_numbers(
// CHECK: nn.constant dense<[1.000000e+00, 4.000000e+00]> : tensor<2xf32>
// CHECK: nn.constant dense<[{{\[\[}}{{\[}}5.000000e+00]], {{\[\[}}1.000000e+01]]]]> : tensor<1x2x1x1xf32>
func.func @padded_numbers(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x4x4xf32> {
  %v = nn.constant dense<[[[[2.0]]], [[[0.0]]], [[[0.0]]]]> : tensor<3x1x1x1xf32>
  %b = nn.constant dense<[1.0, 2.0, 4.0]> : tensor<3xf32>
  %w = nn.constant dense<[[[[5.0]], [[6.0]], [[7.0]]]]> : tensor<1x3x1x1xf32>
  %0 = nn.conv %x, %v, %b {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<3x1x1x1xf32>, tensor<3xf32>) -> tensor<1x3x2x2xf32>
  %1 = nn.conv %0, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x3x2x2xf32>, tensor<1x3x1x1xf32>) -> tensor<1x1x4x4xf32>
  func.return %1 : tensor<1x1x4x4xf32>
}

// A sum needs a channel of both operands or of none: 1 goes, 0 has weights on one side.

// CHECK-LABEL: func.func @sum(
// CHECK: nn.constant dense<[{{\[\[}}{{\[}}2.000000e+00]]], {{\[\[}}{{\[}}3.000000e+00]]]]> : tensor<2x1x1x1xf32>
// CHECK: nn.constant dense<[{{\[\[}}{{\[}}0.000000e+00]]], {{\[\[}}{{\[}}5.000000e+00]]]]> : tensor<2x1x1x1xf32>
// CHECK: nn.binary add {{.*}} -> tensor<1x2x2x2xf32>
// CHECK: nn.constant dense<[{{\[\[}}{{\[}}6.000000e+00]], {{\[\[}}8.000000e+00]]]]> : tensor<1x2x1x1xf32>
func.func @sum(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %u = nn.constant dense<[[[[2.0]]], [[[0.0]]], [[[3.0]]]]> : tensor<3x1x1x1xf32>
  %v = nn.constant dense<[[[[0.0]]], [[[0.0]]], [[[5.0]]]]> : tensor<3x1x1x1xf32>
  %w = nn.constant dense<[[[[6.0]], [[7.0]], [[8.0]]]]> : tensor<1x3x1x1xf32>
  %0 = nn.conv %x, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<3x1x1x1xf32>) -> tensor<1x3x2x2xf32>
  %1 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<3x1x1x1xf32>) -> tensor<1x3x2x2xf32>
  %2 = nn.binary add %0, %1 : (tensor<1x3x2x2xf32>, tensor<1x3x2x2xf32>) -> tensor<1x3x2x2xf32>
  %3 = nn.conv %2, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x3x2x2xf32>, tensor<1x3x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %3 : tensor<1x1x2x2xf32>
}

// A concatenation, flattened: of four channels the second part's first goes, two features.

// CHECK-LABEL: func.func @concat(
// CHECK: nn.concat {{.*}} -> tensor<1x2x1x2xf32>
// CHECK: nn.reshape {{.*}} -> tensor<1x4xf32>
// CHECK: nn.constant dense<{{\[\[}}1.000000e+00, 2.000000e+00, 5.000000e+00, 6.000000e+00]]> : tensor<1x4xf32>
func.func @concat(%x: tensor<1x1x1x2xf32>) -> tensor<1x1xf32> {
  %u = nn.constant dense<[[[[2.0]]]]> : tensor<1x1x1x1xf32>
  %v = nn.constant dense<[[[[0.0]]], [[[3.0]]]]> : tensor<2x1x1x1xf32>
  %w = nn.constant dense<[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]> : tensor<1x6xf32>
  %0 = nn.conv %x, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x1x2xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x1x2xf32>
  %1 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x1x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x1x2xf32>
  %2 = nn.concat %0, %1 {axis = 1 : i64} : (tensor<1x1x1x2xf32>, tensor<1x2x1x2xf32>) -> tensor<1x3x1x2xf32>
  %3 = nn.reshape %2 : (tensor<1x3x1x2xf32>) -> tensor<1x6xf32>
  %4 = nn.linear %3, %w : (tensor<1x6xf32>, tensor<1x6xf32>) -> tensor<1x1xf32>
  func.return %4 : tensor<1x1xf32>
}

// Depthwise: the filter goes with its channel, as a constant per channel does.

// CHECK-LABEL: func.func @depthwise(
// CHECK: nn.constant dense<3.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: nn.constant dense<5.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: nn.conv {{.*}}groups = 1 : i64
// CHECK: nn.constant dense<7.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: nn.binary mul {{.*}} -> tensor<1x1x2x2xf32>
func.func @depthwise(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %u = nn.constant dense<[[[[2.0]]], [[[3.0]]]]> : tensor<2x1x1x1xf32>
  %d = nn.constant dense<[[[[4.0]]], [[[5.0]]]]> : tensor<2x1x1x1xf32>
  %s = nn.constant dense<[[[[6.0]], [[7.0]]]]> : tensor<1x2x1x1xf32>
  %w = nn.constant dense<[[[[0.0]], [[8.0]]]]> : tensor<1x2x1x1xf32>
  %0 = nn.conv %x, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  %1 = nn.conv %0, %d {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x2x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  %2 = nn.binary mul %1, %s : (tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  %3 = nn.conv %2, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x2x2xf32>, tensor<1x2x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %3 : tensor<1x1x2x2xf32>
}

// Groups stay alike: channel 3 is dead, and stays as group 0 needs both of its own.

// CHECK-LABEL: func.func @grouped(
// CHECK: nn.conv {{.*}} -> tensor<1x4x2x2xf32>
// CHECK: nn.conv {{.*}}groups = 2 : i64
func.func @grouped(%x: tensor<1x1x2x2xf32>) -> tensor<1x2x2x2xf32> {
  %u = nn.constant dense<[[[[1.0]]], [[[2.0]]], [[[3.0]]], [[[4.0]]]]> : tensor<4x1x1x1xf32>
  %d = nn.constant dense<[[[[4.0]], [[5.0]]], [[[6.0]], [[0.0]]]]> : tensor<2x2x1x1xf32>
  %0 = nn.conv %x, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<4x1x1x1xf32>) -> tensor<1x4x2x2xf32>
  %1 = nn.conv %0, %d {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x4x2x2xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x2x2xf32>
  func.return %1 : tensor<1x2x2x2xf32>
}

// Nothing to do: what the caller reads stays, weights or not.

// CHECK-LABEL: func.func @result(
// CHECK-NEXT: %v = nn.constant dense<[{{\[\[}}{{\[}}2.000000e+00]]], {{\[\[}}{{\[}}0.000000e+00]]]]>
// CHECK-NEXT: nn.conv
// CHECK-NEXT: func.return
func.func @result(%x: tensor<1x1x2x2xf32>) -> tensor<1x2x2x2xf32> {
  %v = nn.constant dense<[[[[2.0]]], [[[0.0]]]]> : tensor<2x1x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x2x2xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x2x2xf32>
  func.return %0 : tensor<1x2x2x2xf32>
}
