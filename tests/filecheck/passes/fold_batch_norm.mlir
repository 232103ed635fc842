// RUN: edgec-opt %s -p fold-batch-norm | filecheck %s

// The statistics become part of the weight and the bias: s = 4 / sqrt(3 + 1) = 2.

// CHECK-LABEL: func.func @conv_with_bias(
// CHECK-DAG: %[[W:.*]] = nn.constant dense<[{{\[\[\[}}2.000000e+00]], {{\[\[}}0.000000e+00]]]]> : tensor<1x2x1x1xf32>
// CHECK-DAG: %[[B:.*]] = nn.constant dense<1.500000e+01> : tensor<1xf32>
// CHECK: nn.conv %{{.*}}, %[[W]], %[[B]] {nn.path = "block.conv", stride
// CHECK-NOT: nn.batch_norm
func.func @conv_with_bias(%x: tensor<1x2x4x4xf32>) -> tensor<1x1x4x4xf32> {
  %w = nn.constant dense<[[[[1.0]], [[0.0]]]]> : tensor<1x2x1x1xf32>
  %b = nn.constant dense<5.0> : tensor<1xf32>
  %scale = nn.constant dense<4.0> : tensor<1xf32>
  %shift = nn.constant dense<7.0> : tensor<1xf32>
  %mean = nn.constant dense<1.0> : tensor<1xf32>
  %variance = nn.constant dense<3.0> : tensor<1xf32>
  %y = nn.conv %x, %w, %b {nn.path = "block.conv", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32>, tensor<1xf32>) -> tensor<1x1x4x4xf32>
  %z = nn.batch_norm %y, %scale, %shift, %mean, %variance {eps = 1.0 : f64} : (tensor<1x1x4x4xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<1x1x4x4xf32>
  func.return %z : tensor<1x1x4x4xf32>
}

// Filters of a transposed convolution stand in dimension 1, group by group.

// CHECK-LABEL: func.func @grouped_conv_transpose(
// CHECK: nn.constant dense<[{{\[\[}}2.000000e+00]], {{\[\[}}9.000000e+00]]]> : tensor<2x1x1xf32>
// CHECK: nn.conv_transpose
func.func @grouped_conv_transpose(%x: tensor<1x2x4xf32>) -> tensor<1x2x4xf32> {
  %w = nn.constant dense<[[[1.0]], [[3.0]]]> : tensor<2x1x1xf32>
  %scale = nn.constant dense<[2.0, 3.0]> : tensor<2xf32>
  %zero = nn.constant dense<0.0> : tensor<2xf32>
  %one = nn.constant dense<1.0> : tensor<2xf32>
  %y = nn.conv_transpose %x, %w {stride = array<i64: 1>, padding = array<i64: 0>, output_padding = array<i64: 0>, dilation = array<i64: 1>, groups = 2 : i64} : (tensor<1x2x4xf32>, tensor<2x1x1xf32>) -> tensor<1x2x4xf32>
  %z = nn.batch_norm %y, %scale, %zero, %zero, %one {eps = 0.0 : f64} : (tensor<1x2x4xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2x4xf32>
  func.return %z : tensor<1x2x4xf32>
}

// CHECK-LABEL: func.func @linear(
// CHECK: nn.constant dense<6.000000e+00> : tensor<1x1xf32>
// CHECK-NEXT: nn.constant dense<4.000000e+00> : tensor<1xf32>
// CHECK-NEXT: nn.linear
// CHECK-NEXT: func.return
func.func @linear(%x: tensor<5x1xf32>) -> tensor<5x1xf32> {
  %w = nn.constant dense<3.0> : tensor<1x1xf32>
  %two = nn.constant dense<2.0> : tensor<1xf32>
  %six = nn.constant dense<6.0> : tensor<1xf32>
  %one = nn.constant dense<1.0> : tensor<1xf32>
  %y = nn.linear %x, %w : (tensor<5x1xf32>, tensor<1x1xf32>) -> tensor<5x1xf32>
  %z = nn.batch_norm %y, %two, %six, %one, %one {eps = 0.0 : f64} : (tensor<5x1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<5x1xf32>
  func.return %z : tensor<5x1xf32>
}

// Where there is nothing to fold into, a product and a sum are left.

// CHECK-LABEL: func.func @input(
// CHECK: %[[S:.*]] = nn.constant dense<2.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: %[[T:.*]] = nn.constant dense<4.000000e+00> : tensor<1x1x1x1xf32>
// CHECK: %[[Y:.*]] = nn.binary mul %{{.*}}, %[[S]] {nn.path = "norm"}
// CHECK: nn.binary add %[[Y]], %[[T]] {nn.path = "norm"}
func.func @input(%x: tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32> {
  %two = nn.constant dense<2.0> : tensor<1xf32>
  %six = nn.constant dense<6.0> : tensor<1xf32>
  %one = nn.constant dense<1.0> : tensor<1xf32>
  %z = nn.batch_norm %x, %two, %six, %one, %one {nn.path = "norm", eps = 0.0 : f64} : (tensor<1x1x2x2xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<1x1x2x2xf32>
  func.return %z : tensor<1x1x2x2xf32>
}

// The channels of this linear layer are not the channels of the norm.

// CHECK-LABEL: func.func @linear_over_tokens(
// CHECK: nn.linear %{{.*}}, %{{.*}} :
// CHECK: nn.binary mul
func.func @linear_over_tokens(%x: tensor<1x2x1xf32>) -> tensor<1x2x2xf32> {
  %w = nn.constant dense<3.0> : tensor<2x1xf32>
  %two = nn.constant dense<2.0> : tensor<2xf32>
  %y = nn.linear %x, %w : (tensor<1x2x1xf32>, tensor<2x1xf32>) -> tensor<1x2x2xf32>
  %z = nn.batch_norm %y, %two, %two, %two, %two {eps = 0.0 : f64} : (tensor<1x2x2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) -> tensor<1x2x2xf32>
  func.return %z : tensor<1x2x2xf32>
}

// A convolution that someone else reads stays as it is.

// CHECK-LABEL: func.func @two_readers(
// CHECK: nn.conv %{{.*}}, %{{.*}} {stride
// CHECK: nn.binary mul
func.func @two_readers(%x: tensor<1x1x2xf32>) -> (tensor<1x1x2xf32>, tensor<1x1x2xf32>) {
  %w = nn.constant dense<3.0> : tensor<1x1x1xf32>
  %two = nn.constant dense<2.0> : tensor<1xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1>, padding_low = array<i64: 0>, padding_high = array<i64: 0>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x2xf32>, tensor<1x1x1xf32>) -> tensor<1x1x2xf32>
  %z = nn.batch_norm %y, %two, %two, %two, %two {eps = 0.0 : f64} : (tensor<1x1x2xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<1x1x2xf32>
  func.return %y, %z : tensor<1x1x2xf32>, tensor<1x1x2xf32>
}

// Nothing to do.

// CHECK-LABEL: func.func @statistics_that_are_computed(
// CHECK-NEXT: nn.batch_norm
// CHECK-NEXT: func.return
func.func @statistics_that_are_computed(%x: tensor<1x1x2xf32>, %s: tensor<1xf32>) -> tensor<1x1x2xf32> {
  %z = nn.batch_norm %x, %s, %s, %s, %s {eps = 0.0 : f64} : (tensor<1x1x2xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<1x1x2xf32>
  func.return %z : tensor<1x1x2xf32>
}
