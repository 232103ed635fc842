// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.conv' op weight of a bf16 input must hold f32, got bf16
func.func @weight(%x: tensor<1x4x2x2xbf16>, %w: tensor<4x4x1x1xbf16>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2xbf16>, tensor<4x4x1x1xbf16> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op result must hold f32 or bf16, got f16
func.func @result(%x: tensor<1x4x2x2xbf16>, %w: tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf16> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2xbf16>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xf16>
  func.return %y : tensor<1x4x2x2xf16>
}

// -----

// CHECK: 'sq.linear' op bias must hold f32, got bf16
func.func @bias(%x: tensor<2x4xbf16>, %w: tensor<3x4xf32>, %b: tensor<3xbf16>) -> tensor<2x3xf32> {
  %y = sq.linear %x, %w bias(%b : tensor<3xbf16>) {epilogue = []} : tensor<2x4xbf16>, tensor<3x4xf32> -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// -----

// CHECK: 'sq.linear' op extra operand 0 must hold f32 or bf16, got f64
func.func @extra(%x: tensor<2x4xbf16>, %w: tensor<3x4xf32>, %e: tensor<2x3xf64>) -> tensor<2x3xf32> {
  %y = sq.linear %x, %w extras(%e : tensor<2x3xf64>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x4xbf16>, tensor<3x4xf32> -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}
