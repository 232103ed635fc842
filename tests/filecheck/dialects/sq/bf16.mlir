// RUN: edgec-opt %s | edgec-opt | filecheck %s

// Products of bf16 have a weight and a bias of f32; other operands and the result hold
// either.

// CHECK-LABEL: func.func @products(
// CHECK: sq.conv {{.*}} : tensor<1x4x2x2xbf16>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xf32>
// CHECK: sq.conv {{.*}} extras(%x, %f : tensor<1x4x2x2xbf16>, tensor<1x4x2x2xf32>) {{.*}} -> tensor<1x4x2x2xbf16>
// CHECK: nn.pool max {{.*}} : (tensor<1x4x2x2xbf16>) -> tensor<1x4x1x1xbf16>
// CHECK: nn.cast {{.*}} : (tensor<1x4x2x2xbf16>) -> tensor<1x4x2x2xf32>
func.func @products(%x: tensor<1x4x2x2xbf16>, %b: tensor<4xf32>) -> (tensor<1x4x1x1xbf16>, tensor<1x4x2x2xf32>) {
  %w = nn.constant "w" : tensor<4x4x1x1xf32>
  %f = sq.conv %x, %w bias(%b : tensor<4xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2xbf16>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xf32>
  %y = sq.conv %x, %w extras(%x, %f : tensor<1x4x2x2xbf16>, tensor<1x4x2x2xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0>, #sq.step<"add", operand = 1>]} : tensor<1x4x2x2xbf16>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xbf16>
  %p = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x2x2xbf16>) -> tensor<1x4x1x1xbf16>
  %c = nn.cast %y : (tensor<1x4x2x2xbf16>) -> tensor<1x4x2x2xf32>
  func.return %p, %c : tensor<1x4x1x1xbf16>, tensor<1x4x2x2xf32>
}

// CHECK-LABEL: func.func @linear(
// CHECK: sq.linear {{.*}} : tensor<2x4xbf16>, tensor<3x4xf32> -> tensor<2x3xbf16>
func.func @linear(%x: tensor<2x4xbf16>) -> tensor<2x3xbf16> {
  %w = nn.constant "w" : tensor<3x4xf32>
  %y = sq.linear %x, %w {epilogue = []} : tensor<2x4xbf16>, tensor<3x4xf32> -> tensor<2x3xbf16>
  func.return %y : tensor<2x3xbf16>
}
