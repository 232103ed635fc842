// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.average' op input must hold !sq.quant, got f32
func.func @numbers(%x: tensor<1x3x4x4xf32>) -> tensor<1x3x2x2xf32> {
  %a = sq.average %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x4x4xf32>) -> tensor<1x3x2x2xf32>
  func.return %a : tensor<1x3x2x2xf32>
}

// -----

// CHECK: 'sq.average' op input must hold f32 or unsigned bytes with one scale: its integers are signed
func.func @signed(%x: tensor<1x3x4x4x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x2x2xf32> {
  %a = sq.average %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x4x4x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x2x2xf32>
  func.return %a : tensor<1x3x2x2xf32>
}

// -----

// CHECK: 'sq.average' op result must have shape (1, 3, 2, 2), got (1, 3, 2, 3)
func.func @shape(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x2x3xf32> {
  %a = sq.average %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x2x3xf32>
  func.return %a : tensor<1x3x2x3xf32>
}

// -----

// CHECK: 'sq.average' op input must have rank 3 to 5, got 2
func.func @rank(%x: tensor<1x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3xf32> {
  %a = sq.average %x {kernel = array<i64>, stride = array<i64>, padding = array<i64>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3xf32>
  func.return %a : tensor<1x3xf32>
}

// -----

// CHECK: 'sq.average' op windows must have at most 65793 positions, got 65794
func.func @large(%x: tensor<1x3x1x65794x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x1x1xf32> {
  %a = sq.average %x {kernel = array<i64: 1, 65794>, stride = array<i64: 1, 1>, padding = array<i64: 0, 0>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x1x65794x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x1x1xf32>
  func.return %a : tensor<1x3x1x1xf32>
}
