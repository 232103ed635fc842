// RUN: edgec-opt %s -p canonicalize-nn | filecheck %s

// A padding layer before a convolution becomes its padding; what an earlier pass said
// about the convolution stays.

// CHECK-LABEL: func.func @padding(
// CHECK-NEXT: nn.conv %x, %w {sq.why = "dense", stride = array<i64: 1, 1>, padding_low = array<i64: 1, 2>, padding_high = array<i64: 0, 0>
// CHECK-NEXT: func.return
func.func @padding(%x: tensor<1x2x4x4xf32>, %w: tensor<3x2x2x3xf32>) -> tensor<1x3x4x4xf32> {
  %p = nn.pad constant %x {low = array<i64: 0, 0, 1, 2>, high = array<i64: 0, 0, 0, 0>, value = 0.0 : f64} : (tensor<1x2x4x4xf32>) -> tensor<1x2x5x6xf32>
  %y = nn.conv %p, %w {sq.why = "dense", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x5x6xf32>, tensor<3x2x2x3xf32>) -> tensor<1x3x4x4xf32>
  func.return %y : tensor<1x3x4x4xf32>
}

// A stack of 1-D layers is 2-D throughout: reshapes remain at both ends only.

// CHECK-LABEL: func.func @one_dimension(
// CHECK: %[[X:.*]] = nn.reshape %x {nn.path = "conv"} : (tensor<1x1x4xf32>) -> tensor<1x1x1x4xf32>
// CHECK: %[[Y:.*]] = nn.conv %[[X]], %{{.*}} {nn.path = "conv", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 1>
// CHECK-NEXT: %[[R:.*]] = nn.unary relu %[[Y]]
// CHECK-NEXT: %[[P:.*]] = nn.pool max %[[R]] {kernel = array<i64: 1, 2>
// CHECK-NEXT: %[[Z:.*]] = nn.reshape %[[P]] : (tensor<1x1x1x2xf32>) -> tensor<1x1x2xf32>
// CHECK-NEXT: func.return %[[Z]]
func.func @one_dimension(%x: tensor<1x1x4xf32>) -> tensor<1x1x2xf32> {
  %w = nn.constant dense<1.0> : tensor<1x1x3xf32>
  %y = nn.conv %x, %w {nn.path = "conv", stride = array<i64: 1>, padding_low = array<i64: 1>, padding_high = array<i64: 1>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x4xf32>, tensor<1x1x3xf32>) -> tensor<1x1x4xf32>
  %r = nn.unary relu %y : (tensor<1x1x4xf32>) -> tensor<1x1x4xf32>
  %p = nn.pool max %r {kernel = array<i64: 2>, stride = array<i64: 2>, padding = array<i64: 0>, dilation = array<i64: 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x1x4xf32>) -> tensor<1x1x2xf32>
  func.return %p : tensor<1x1x2xf32>
}

// The other taps of a strided 1x1 convolution are never read.

// CHECK-LABEL: func.func @stride(
// CHECK-NEXT: %[[S:.*]] = nn.slice %x {starts = array<i64: 0, 0, 0, 0>, steps = array<i64: 1, 1, 2, 2>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x3x2xf32>
// CHECK-NEXT: nn.conv %[[S]], %w {stride = array<i64: 1, 1>
func.func @stride(%x: tensor<1x2x5x4xf32>, %w: tensor<3x2x1x1xf32>) -> tensor<1x3x3x2xf32> {
  %y = nn.conv %x, %w {stride = array<i64: 2, 2>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x5x4xf32>, tensor<3x2x1x1xf32>) -> tensor<1x3x3x2xf32>
  func.return %y : tensor<1x3x3x2xf32>
}

// CHECK-LABEL: func.func @matmul(
// CHECK: %[[W:.*]] = nn.constant dense<{{\[\[}}1.000000e+00, 3.000000e+00], [2.000000e+00, 4.000000e+00]]> : tensor<2x2xf32>
// CHECK: %[[B:.*]] = nn.constant dense<5.000000e+00> : tensor<2xf32>
// CHECK: nn.linear %x, %[[W]], %[[B]]
// CHECK-NEXT: func.return
func.func @matmul(%x: tensor<3x2xf32>) -> tensor<3x2xf32> {
  %w = nn.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %b = nn.constant dense<5.0> : tensor<1x2xf32>
  %y = nn.matmul %x, %w : (tensor<3x2xf32>, tensor<2x2xf32>) -> tensor<3x2xf32>
  %z = nn.binary add %y, %b : (tensor<3x2xf32>, tensor<1x2xf32>) -> tensor<3x2xf32>
  func.return %z : tensor<3x2xf32>
}

// CHECK-LABEL: func.func @pools(
// CHECK-NEXT: %[[P:.*]] = nn.pool avg %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>
// CHECK-NEXT: nn.reduce mean %[[P]] {axes = array<i64: 2, 3>, keep_dims = true}
// CHECK-NEXT: func.return
func.func @pools(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x1x1xf32> {
  %a = nn.adaptive_pool avg %x : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
  %b = nn.adaptive_pool max %a : (tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %c = nn.adaptive_pool avg %b : (tensor<1x2x2x2xf32>) -> tensor<1x2x1x1xf32>
  func.return %c : tensor<1x2x1x1xf32>
}

// CHECK-LABEL: func.func @movement(
// CHECK-NEXT: %[[R:.*]] = nn.unary relu %x
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[R]] {permutation = array<i64: 2, 0, 1>}
// CHECK-NEXT: nn.reshape %[[T]] : (tensor<4x2x3xf32>) -> tensor<24xf32>
// CHECK-NEXT: func.return
func.func @movement(%x: tensor<2x3x4xf32>) -> tensor<24xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 2, 1, 0>} : (tensor<2x3x4xf32>) -> tensor<4x3x2xf32>
  %1 = nn.transpose %0 {permutation = array<i64: 0, 2, 1>} : (tensor<4x3x2xf32>) -> tensor<4x2x3xf32>
  %2 = nn.reshape %1 : (tensor<4x2x3xf32>) -> tensor<8x3xf32>
  %3 = nn.unary relu %2 : (tensor<8x3xf32>) -> tensor<8x3xf32>
  %4 = nn.unary relu %3 : (tensor<8x3xf32>) -> tensor<8x3xf32>
  %5 = nn.reshape %4 : (tensor<8x3xf32>) -> tensor<24xf32>
  func.return %5 : tensor<24xf32>
}

// What only constants lead to is a constant; what nobody reads is gone.

// CHECK-LABEL: func.func @constants(
// CHECK-NEXT: %[[C:.*]] = nn.constant dense<[8.000000e+00, 1.000000e+01]> : tensor<2xf32>
// CHECK-NEXT: func.return %[[C]]
func.func @constants(%x: tensor<2xf32>) -> tensor<2xf32> {
  %a = nn.constant dense<[[4.0], [5.0]]> : tensor<2x1xf32>
  %b = nn.constant dense<2.0> : tensor<f32>
  %0 = nn.reshape %a : (tensor<2x1xf32>) -> tensor<2xf32>
  %1 = nn.binary mul %0, %b : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
  %2 = nn.unary relu %1 : (tensor<2xf32>) -> tensor<2xf32>
  %3 = nn.unary exp %x : (tensor<2xf32>) -> tensor<2xf32>
  func.return %2 : tensor<2xf32>
}

// Nothing to do: a border of ones is no padding, and a sum per position is no bias.

// CHECK-LABEL: func.func @canonical(
// CHECK-NEXT: nn.constant
// CHECK-NEXT: nn.pad constant
// CHECK-NEXT: nn.conv
// CHECK-NEXT: nn.binary add
// CHECK-NEXT: func.return
func.func @canonical(%x: tensor<1x1x2x2xf32>, %w: tensor<1x1x3x3xf32>) -> tensor<1x1x2x2xf32> {
  %b = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %p = nn.pad constant %x {low = array<i64: 0, 0, 1, 1>, high = array<i64: 0, 0, 1, 1>, value = 1.0 : f64} : (tensor<1x1x2x2xf32>) -> tensor<1x1x4x4xf32>
  %y = nn.conv %p, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x2x2xf32>
  %z = nn.binary add %y, %b : (tensor<1x1x2x2xf32>, tensor<2xf32>) -> tensor<1x1x2x2xf32>
  func.return %z : tensor<1x1x2x2xf32>
}

// A kernel on a plane of one position has one tap that meets it: a linear layer. The norm
// and the residual after it come before the reshape.

// CHECK-LABEL: func.func @one_position(
// CHECK-DAG: %[[W:.*]] = nn.constant dense<{{\[\[}}5.000000e+00, 1.400000e+01]]> : tensor<1x2xf32>
// CHECK-DAG: %[[X:.*]] = nn.reshape %x : (tensor<3x2x1x1xf32>) -> tensor<3x2xf32>
// CHECK: %[[L:.*]] = nn.linear %[[X]], %[[W]]
// CHECK-NEXT: %[[N:.*]] = nn.batch_norm %[[L]], {{.*}} -> tensor<3x1xf32>
// CHECK: %[[S:.*]] = nn.binary add %[[N]], %{{.*}} : (tensor<3x1xf32>, tensor<3x1xf32>)
// CHECK-NEXT: %[[Y:.*]] = nn.reshape %[[S]] : (tensor<3x1xf32>) -> tensor<3x1x1x1xf32>
// CHECK-NEXT: func.return %[[Y]]
func.func @one_position(%x: tensor<3x2x1x1xf32>, %r: tensor<3x1x1x1xf32>, %s: tensor<1xf32>) -> tensor<3x1x1x1xf32> {
  %w = nn.constant dense<[[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], [[10.0, 11.0, 12.0], [13.0, 14.0, 15.0], [16.0, 17.0, 18.0]]]]> : tensor<1x2x3x3xf32>
  %y = nn.conv %x, %w {stride = array<i64: 2, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<3x2x1x1xf32>, tensor<1x2x3x3xf32>) -> tensor<3x1x1x1xf32>
  %n = nn.batch_norm %y, %s, %s, %s, %s {eps = 1.0 : f64} : (tensor<3x1x1x1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<3x1x1x1xf32>
  %z = nn.binary add %n, %r : (tensor<3x1x1x1xf32>, tensor<3x1x1x1xf32>) -> tensor<3x1x1x1xf32>
  func.return %z : tensor<3x1x1x1xf32>
}

// A dilation beyond the plane leaves the tap in the middle.

// CHECK-LABEL: func.func @dilated(
// CHECK: %[[W:.*]] = nn.constant dense<2.000000e+00> : tensor<1x1x1x1xf32>
// CHECK-NEXT: nn.conv %x, %[[W]] {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 4, 4>
func.func @dilated(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> {
  %w = nn.constant dense<2.0> : tensor<1x1x3x3xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 4, 4>, padding_high = array<i64: 4, 4>, dilation = array<i64: 4, 4>, groups = 1 : i64} : (tensor<1x1x4x4xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x4x4xf32>
  func.return %y : tensor<1x1x4x4xf32>
}

// Grouped convolutions stay, and so does what a padding larger than the tap would need.

// CHECK-LABEL: func.func @not_linear(
// CHECK: nn.conv {{.*}} groups = 2 : i64
// CHECK: nn.conv {{.*}} padding_low = array<i64: 0, 2>, {{.*}} dilation = array<i64: 1, 3>
func.func @not_linear(%x: tensor<1x2x1x1xf32>, %z: tensor<1x1x1x2xf32>) -> (tensor<1x2x1x1xf32>, tensor<1x1x1x1xf32>) {
  %v = nn.constant dense<2.0> : tensor<2x1x1x1xf32>
  %w = nn.constant dense<2.0> : tensor<1x1x1x2xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x2x1x1xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x1x1xf32>
  %1 = nn.conv %z, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 2>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 3>, groups = 1 : i64} : (tensor<1x1x1x2xf32>, tensor<1x1x1x2xf32>) -> tensor<1x1x1x1xf32>
  func.return %0, %1 : tensor<1x2x1x1xf32>, tensor<1x1x1x1xf32>
}
