// RUN: edgec-opt %s | edgec-opt | filecheck %s

// Means of windows, in float32 and in bytes, and of windows that share the input.

// CHECK-LABEL: func.func @averages(
// CHECK: %[[A:.*]] = sq.average %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 1, 1>, ceil_mode = true, count_include_pad = false, divisor = 0 : i64} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x3x3xf32>
// CHECK: %[[B:.*]] = sq.average %x {kernel = array<i64>, stride = array<i64>, padding = array<i64>, {{.*}}} : {{.*}} -> tensor<1x3x3x1x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK: func.return %[[A]], %[[B]]
func.func @averages(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x3x3x3xf32>, tensor<1x3x3x1x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) {
  %a = sq.average %x {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 1, 1>, ceil_mode = true, count_include_pad = false, divisor = 0 : i64} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x3x3xf32>
  %b = sq.average %x {kernel = array<i64>, stride = array<i64>, padding = array<i64>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x3x1x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  func.return %a, %b : tensor<1x3x3x3xf32>, tensor<1x3x3x1x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
}
