// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// Each op reads and prints the same, in its own form and in the generic one.

// CHECK-LABEL: func.func @constant
// CHECK: nn.constant "conv.weight" : tensor<4x3x3x3xf32>
// CHECK: nn.constant dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
// CHECK: nn.constant dense<3> : tensor<i64>
func.func @constant() -> (tensor<4x3x3x3xf32>, tensor<2xf32>, tensor<i64>) {
  %0 = nn.constant "conv.weight" : tensor<4x3x3x3xf32>
  %1 = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %2 = nn.constant dense<3> : tensor<i64>
  func.return %0, %1, %2 : tensor<4x3x3x3xf32>, tensor<2xf32>, tensor<i64>
}

// CHECK-LABEL: func.func @conv(
// CHECK: nn.conv %{{.*}}, %{{.*}}, %{{.*}} {stride = array<i64: 2, 1>, padding_low = array<i64: 0, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 2>, groups = 2 : i64} : (tensor<1x4x8x8xf32>, tensor<6x2x3x3xf32>, tensor<6xf32>) -> tensor<1x6x4x6xf32>
func.func @conv(%0: tensor<1x4x8x8xf32>, %1: tensor<6x2x3x3xf32>, %2: tensor<6xf32>) -> tensor<1x6x4x6xf32> {
  %3 = nn.conv %0, %1, %2 {stride = array<i64: 2, 1>, padding_low = array<i64: 0, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 2>, groups = 2 : i64} : (tensor<1x4x8x8xf32>, tensor<6x2x3x3xf32>, tensor<6xf32>) -> tensor<1x6x4x6xf32>
  func.return %3 : tensor<1x6x4x6xf32>
}

// CHECK-LABEL: func.func @conv_transpose(
// CHECK: nn.conv_transpose %{{.*}}, %{{.*}} {stride = array<i64: 2>, padding = array<i64: 1>, output_padding = array<i64: 1>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x3x5xf32>, tensor<3x4x3xf32>) -> tensor<1x4x10xf32>
func.func @conv_transpose(%0: tensor<1x3x5xf32>, %1: tensor<3x4x3xf32>) -> tensor<1x4x10xf32> {
  %2 = nn.conv_transpose %0, %1 {stride = array<i64: 2>, padding = array<i64: 1>, output_padding = array<i64: 1>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x3x5xf32>, tensor<3x4x3xf32>) -> tensor<1x4x10xf32>
  func.return %2 : tensor<1x4x10xf32>
}

// CHECK-LABEL: func.func @linear(
// CHECK: nn.linear %{{.*}}, %{{.*}}, %{{.*}} : (tensor<2x5xf32>, tensor<3x5xf32>, tensor<3xf32>) -> tensor<2x3xf32>
func.func @linear(%0: tensor<2x5xf32>, %1: tensor<3x5xf32>, %2: tensor<3xf32>) -> tensor<2x3xf32> {
  %3 = nn.linear %0, %1, %2 : (tensor<2x5xf32>, tensor<3x5xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  func.return %3 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @matmul(
// CHECK: nn.matmul %{{.*}}, %{{.*}} : (tensor<2x1x3x4xf32>, tensor<5x4x6xf32>) -> tensor<2x5x3x6xf32>
func.func @matmul(%0: tensor<2x1x3x4xf32>, %1: tensor<5x4x6xf32>) -> tensor<2x5x3x6xf32> {
  %2 = nn.matmul %0, %1 : (tensor<2x1x3x4xf32>, tensor<5x4x6xf32>) -> tensor<2x5x3x6xf32>
  func.return %2 : tensor<2x5x3x6xf32>
}

// CHECK-LABEL: func.func @batch_norm(
// CHECK: nn.batch_norm %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<1x3x4x4xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<1x3x4x4xf32>
func.func @batch_norm(%0: tensor<1x3x4x4xf32>, %1: tensor<3xf32>, %2: tensor<3xf32>, %3: tensor<3xf32>, %4: tensor<3xf32>) -> tensor<1x3x4x4xf32> {
  %5 = nn.batch_norm %0, %1, %2, %3, %4 {eps = 1.000000e-05 : f64} : (tensor<1x3x4x4xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<1x3x4x4xf32>
  func.return %5 : tensor<1x3x4x4xf32>
}

// CHECK-LABEL: func.func @layer_norm(
// CHECK: nn.layer_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64, normalized_rank = 2 : i64} : (tensor<1x3x4x5xf32>, tensor<4x5xf32>, tensor<4x5xf32>) -> tensor<1x3x4x5xf32>
func.func @layer_norm(%0: tensor<1x3x4x5xf32>, %1: tensor<4x5xf32>, %2: tensor<4x5xf32>) -> tensor<1x3x4x5xf32> {
  %3 = nn.layer_norm %0, %1, %2 {eps = 1.000000e-05 : f64, normalized_rank = 2 : i64} : (tensor<1x3x4x5xf32>, tensor<4x5xf32>, tensor<4x5xf32>) -> tensor<1x3x4x5xf32>
  func.return %3 : tensor<1x3x4x5xf32>
}

// CHECK-LABEL: func.func @group_norm(
// CHECK: nn.group_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64, groups = 2 : i64} : (tensor<1x6x4xf32>, tensor<6xf32>, tensor<6xf32>) -> tensor<1x6x4xf32>
func.func @group_norm(%0: tensor<1x6x4xf32>, %1: tensor<6xf32>, %2: tensor<6xf32>) -> tensor<1x6x4xf32> {
  %3 = nn.group_norm %0, %1, %2 {eps = 1.000000e-05 : f64, groups = 2 : i64} : (tensor<1x6x4xf32>, tensor<6xf32>, tensor<6xf32>) -> tensor<1x6x4xf32>
  func.return %3 : tensor<1x6x4xf32>
}

// CHECK-LABEL: func.func @softmax(
// CHECK: nn.softmax %{{.*}} {axis = 1 : i64, log = true} : (tensor<2x3xf32>) -> tensor<2x3xf32>
func.func @softmax(%0: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %1 = nn.softmax %0 {axis = 1 : i64, log = true} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return %1 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @unary(
// CHECK: nn.unary clamp %{{.*}} {params = array<f64: 0.000000e+00, 6.000000e+00>} : (tensor<2x3xf32>) -> tensor<2x3xf32>
func.func @unary(%0: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %1 = nn.unary clamp %0 {params = array<f64: 0.000000e+00, 6.000000e+00>} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return %1 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @unary_without_params(
// CHECK: nn.unary relu %{{.*}} : (tensor<2x3xf32>) -> tensor<2x3xf32>
func.func @unary_without_params(%0: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %1 = nn.unary relu %0 : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return %1 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @binary(
// CHECK: nn.binary add %{{.*}}, %{{.*}} : (tensor<2x1x4xf32>, tensor<3x1xf32>) -> tensor<2x3x4xf32>
func.func @binary(%0: tensor<2x1x4xf32>, %1: tensor<3x1xf32>) -> tensor<2x3x4xf32> {
  %2 = nn.binary add %0, %1 : (tensor<2x1x4xf32>, tensor<3x1xf32>) -> tensor<2x3x4xf32>
  func.return %2 : tensor<2x3x4xf32>
}

// CHECK-LABEL: func.func @cast(
// CHECK: nn.cast %{{.*}} : (tensor<2xf32>) -> tensor<2xi64>
func.func @cast(%0: tensor<2xf32>) -> tensor<2xi64> {
  %1 = nn.cast %0 : (tensor<2xf32>) -> tensor<2xi64>
  func.return %1 : tensor<2xi64>
}

// CHECK-LABEL: func.func @pool(
// CHECK: nn.pool max %{{.*}} {kernel = array<i64: 3, 2>, stride = array<i64: 2, 2>, padding = array<i64: 1, 0>, dilation = array<i64: 1, 1>, ceil_mode = true, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x7x7xf32>) -> tensor<1x2x4x4xf32>
func.func @pool(%0: tensor<1x2x7x7xf32>) -> tensor<1x2x4x4xf32> {
  %1 = nn.pool max %0 {kernel = array<i64: 3, 2>, stride = array<i64: 2, 2>, padding = array<i64: 1, 0>, dilation = array<i64: 1, 1>, ceil_mode = true, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x7x7xf32>) -> tensor<1x2x4x4xf32>
  func.return %1 : tensor<1x2x4x4xf32>
}

// CHECK-LABEL: func.func @adaptive_pool(
// CHECK: nn.adaptive_pool avg %{{.*}} : (tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32>
func.func @adaptive_pool(%0: tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32> {
  %1 = nn.adaptive_pool avg %0 : (tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32>
  func.return %1 : tensor<1x2x1x1xf32>
}

// CHECK-LABEL: func.func @reduce(
// CHECK: nn.reduce mean %{{.*}} {axes = array<i64: 2, 3>, keep_dims = true} : (tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32>
func.func @reduce(%0: tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32> {
  %1 = nn.reduce mean %0 {axes = array<i64: 2, 3>, keep_dims = true} : (tensor<1x2x7x7xf32>) -> tensor<1x2x1x1xf32>
  func.return %1 : tensor<1x2x1x1xf32>
}

// CHECK-LABEL: func.func @positions(
// CHECK: nn.reduce argmax %{{.*}} {axes = array<i64: 1>, keep_dims = false} : (tensor<3x10xf32>) -> tensor<3xi64>
func.func @positions(%0: tensor<3x10xf32>) -> tensor<3xi64> {
  %1 = nn.reduce argmax %0 {axes = array<i64: 1>, keep_dims = false} : (tensor<3x10xf32>) -> tensor<3xi64>
  func.return %1 : tensor<3xi64>
}

// CHECK-LABEL: func.func @resize(
// CHECK: nn.resize bilinear %{{.*}} {scales = array<f64: 5.000000e-01, 5.000000e-01>, align_corners = false} : (tensor<1x2x2x3xf32>) -> tensor<1x2x4x6xf32>
func.func @resize(%0: tensor<1x2x2x3xf32>) -> tensor<1x2x4x6xf32> {
  %1 = nn.resize bilinear %0 {scales = array<f64: 5.000000e-01, 5.000000e-01>, align_corners = false} : (tensor<1x2x2x3xf32>) -> tensor<1x2x4x6xf32>
  func.return %1 : tensor<1x2x4x6xf32>
}

// CHECK-LABEL: func.func @reshape(
// CHECK: nn.reshape %{{.*}} : (tensor<2x3xf32>) -> tensor<3x2xf32>
func.func @reshape(%0: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %1 = nn.reshape %0 : (tensor<2x3xf32>) -> tensor<3x2xf32>
  func.return %1 : tensor<3x2xf32>
}

// CHECK-LABEL: func.func @transpose(
// CHECK: nn.transpose %{{.*}} {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
func.func @transpose(%0: tensor<2x3xf32>) -> tensor<3x2xf32> {
  %1 = nn.transpose %0 {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  func.return %1 : tensor<3x2xf32>
}

// CHECK-LABEL: func.func @concat(
// CHECK: nn.concat %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<2x7xf32>
func.func @concat(%0: tensor<2x3xf32>, %1: tensor<2x4xf32>) -> tensor<2x7xf32> {
  %2 = nn.concat %0, %1 {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<2x7xf32>
  func.return %2 : tensor<2x7xf32>
}

// CHECK-LABEL: func.func @slice(
// CHECK: nn.slice %{{.*}} {starts = array<i64: 0, 1>, steps = array<i64: 1, 2>} : (tensor<2x5xf32>) -> tensor<2x2xf32>
func.func @slice(%0: tensor<2x5xf32>) -> tensor<2x2xf32> {
  %1 = nn.slice %0 {starts = array<i64: 0, 1>, steps = array<i64: 1, 2>} : (tensor<2x5xf32>) -> tensor<2x2xf32>
  func.return %1 : tensor<2x2xf32>
}

// CHECK-LABEL: func.func @pad(
// CHECK: nn.pad reflect %{{.*}} {low = array<i64: 0, 1>, high = array<i64: 0, -1>, value = 0.000000e+00 : f64} : (tensor<2x5xf32>) -> tensor<2x5xf32>
func.func @pad(%0: tensor<2x5xf32>) -> tensor<2x5xf32> {
  %1 = nn.pad reflect %0 {low = array<i64: 0, 1>, high = array<i64: 0, -1>, value = 0.000000e+00 : f64} : (tensor<2x5xf32>) -> tensor<2x5xf32>
  func.return %1 : tensor<2x5xf32>
}

// CHECK-LABEL: func.func @broadcast(
// CHECK: nn.broadcast %{{.*}} : (tensor<2x1xf32>) -> tensor<4x2x3xf32>
func.func @broadcast(%0: tensor<2x1xf32>) -> tensor<4x2x3xf32> {
  %1 = nn.broadcast %0 : (tensor<2x1xf32>) -> tensor<4x2x3xf32>
  func.return %1 : tensor<4x2x3xf32>
}

// CHECK-LABEL: func.func @gru(
// CHECK: %{{.*}}, %{{.*}} = nn.recurrent gru %g, %w bias %b from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> bias tensor<9xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
func.func @gru(%g: tensor<7x2x9xf32>, %w: tensor<9x3xf32>, %b: tensor<9xf32>, %h: tensor<2x3xf32>) -> (tensor<7x2x3xf32>, tensor<2x3xf32>) {
  %0, %1 = nn.recurrent gru %g, %w bias %b from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> bias tensor<9xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return %0, %1 : tensor<7x2x3xf32>, tensor<2x3xf32>
}

// CHECK-LABEL: func.func @lstm(
// CHECK: %{{.*}}, %{{.*}}, %{{.*}} = nn.recurrent lstm %g, %w from %h, %c {reverse = true} : tensor<7x2x12xf32>, tensor<12x3xf32> from tensor<2x3xf32>, tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
func.func @lstm(%g: tensor<7x2x12xf32>, %w: tensor<12x3xf32>, %h: tensor<2x3xf32>, %c: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0, %1, %2 = nn.recurrent lstm %g, %w from %h, %c {reverse = true} : tensor<7x2x12xf32>, tensor<12x3xf32> from tensor<2x3xf32>, tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
  func.return %2 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @rnn(
// CHECK: nn.recurrent rnn_tanh %g, %w from %h
// CHECK: nn.recurrent rnn_relu %g, %w from %h
func.func @rnn(%g: tensor<7x2x3xf32>, %w: tensor<3x3xf32>, %h: tensor<2x3xf32>) -> tensor<7x2x3xf32> {
  %0, %1 = nn.recurrent rnn_tanh %g, %w from %h {reverse = false} : tensor<7x2x3xf32>, tensor<3x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  %2, %3 = nn.recurrent rnn_relu %g, %w from %h {reverse = false} : tensor<7x2x3xf32>, tensor<3x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return %2 : tensor<7x2x3xf32>
}
