// RUN: edgec-opt %s | edgec-opt | filecheck %s

// Bytes that are interpolated, as bytes with other parameters and as numbers.

// CHECK-LABEL: func.func @resizes(
// CHECK: %[[A:.*]] = sq.resize %x {scales = array<f64: 5.000000e-01, 2.000000e+00>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x8x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK: %[[B:.*]] = sq.resize %x {scales = array<f64: 0.000000e+00, 1.500000e+00>, align_corners = true} : {{.*}} -> tensor<1x3x1x3xf32>
// CHECK: func.return %[[A]], %[[B]]
func.func @resizes(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x3x8x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>, tensor<1x3x1x3xf32>) {
  %a = sq.resize %x {scales = array<f64: 0.5, 2.0>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x8x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  %b = sq.resize %x {scales = array<f64: 0.0, 1.5>, align_corners = true} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x1x3xf32>
  func.return %a, %b : tensor<1x3x8x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>, tensor<1x3x1x3xf32>
}
