// RUN: edgec-opt %s -p decompose-conv-transpose | filecheck %s

// Every output position has one tap, in any number of dimensions.

// CHECK-LABEL: func.func @upsample(
// CHECK: %[[W:.*]] = nn.constant dense<[{{\[\[}}1.000000e+00]], {{\[\[}}2.000000e+00]]]> : tensor<2x1x1xf32>
// CHECK: %[[Y:.*]] = nn.conv %x, %[[W]] {nn.path = "up", sq.why_float = "float32: transposed", {{.*}}} : (tensor<1x1x3xf32>, tensor<2x1x1xf32>) -> tensor<1x2x3xf32>
// CHECK: nn.reshape %[[Y]] {nn.path = "up"} : (tensor<1x2x3xf32>) -> tensor<1x1x2x3xf32>
// CHECK: nn.transpose %{{.*}} {nn.path = "up", permutation = array<i64: 0, 1, 3, 2>}
// CHECK: nn.reshape %{{.*}} -> tensor<1x1x6xf32>
func.func @upsample(%x: tensor<1x1x3xf32>) -> tensor<1x1x6xf32> {
  %w = nn.constant dense<[[[1.0, 2.0]]]> : tensor<1x1x2xf32>
  %y = nn.conv_transpose %x, %w {nn.path = "up", sq.why_float = "float32: transposed", stride = array<i64: 2>, padding = array<i64: 0>, output_padding = array<i64: 0>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x3xf32>, tensor<1x1x2xf32>) -> tensor<1x1x6xf32>
  func.return %y : tensor<1x1x6xf32>
}

// Taps overlap: zeros between elements, mirrored kernels, one zero less at the end.

// CHECK-LABEL: func.func @overlap(
// CHECK: %[[W:.*]] = nn.constant dense<[{{\[\[}}3.000000e+00, 2.000000e+00, 1.000000e+00]]]> : tensor<1x1x3xf32>
// CHECK: nn.reshape %x : (tensor<1x1x3xf32>) -> tensor<1x1x3x1xf32>
// CHECK: nn.pad constant %{{.*}} {low = array<i64: 0, 0, 0, 0>, high = array<i64: 0, 0, 0, 1>, value = 0.000000e+00 : f64}
// CHECK: %[[Z:.*]] = nn.reshape %{{.*}} -> tensor<1x1x6xf32>
// CHECK: nn.conv %[[Z]], %[[W]] {sq.why_float = "float32: transposed", stride = array<i64: 1>, padding_low = array<i64: 1>, padding_high = array<i64: 1>, dilation = array<i64: 1>, groups = 1 : i64}
func.func @overlap(%x: tensor<1x1x3xf32>) -> tensor<1x1x6xf32> {
  %w = nn.constant dense<[[[1.0, 2.0, 3.0]]]> : tensor<1x1x3xf32>
  %y = nn.conv_transpose %x, %w {sq.why_float = "float32: transposed", stride = array<i64: 2>, padding = array<i64: 1>, output_padding = array<i64: 1>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x3xf32>, tensor<1x1x3xf32>) -> tensor<1x1x6xf32>
  func.return %y : tensor<1x1x6xf32>
}

// More padding than taps crops the input; weights of a group stay in their group.

// CHECK-LABEL: func.func @crop(
// CHECK: %[[W:.*]] = nn.constant dense<[{{\[\[}}1.000000e+00]], {{\[\[}}2.000000e+00]], {{\[\[}}3.000000e+00]], {{\[\[}}4.000000e+00]]]> : tensor<4x1x1xf32>
// CHECK-NEXT: %[[C:.*]] = nn.pad constant %x {low = array<i64: 0, 0, -1>, high = array<i64: 0, 0, -1>, value = 0.000000e+00 : f64} : (tensor<1x2x5xf32>) -> tensor<1x2x3xf32>
// CHECK-NEXT: nn.conv %[[C]], %[[W]] {{.*}}groups = 2 : i64
func.func @crop(%x: tensor<1x2x5xf32>) -> tensor<1x4x3xf32> {
  %w = nn.constant dense<[[[1.0], [2.0]], [[3.0], [4.0]]]> : tensor<2x2x1xf32>
  %y = nn.conv_transpose %x, %w {stride = array<i64: 1>, padding = array<i64: 1>, output_padding = array<i64: 0>, dilation = array<i64: 1>, groups = 2 : i64} : (tensor<1x2x5xf32>, tensor<2x2x1xf32>) -> tensor<1x4x3xf32>
  func.return %y : tensor<1x4x3xf32>
}

// Nothing to do.

// CHECK-LABEL: func.func @weights_that_are_computed(
// CHECK-NEXT: nn.conv_transpose
// CHECK-NEXT: func.return
func.func @weights_that_are_computed(%x: tensor<1x1x3xf32>, %w: tensor<1x1x2xf32>) -> tensor<1x1x6xf32> {
  %y = nn.conv_transpose %x, %w {stride = array<i64: 2>, padding = array<i64: 0>, output_padding = array<i64: 0>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x3xf32>, tensor<1x1x2xf32>) -> tensor<1x1x6xf32>
  func.return %y : tensor<1x1x6xf32>
}
