// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.resize' op input must hold !sq.quant, got f32
func.func @numbers(%x: tensor<1x3x4x4xf32>) -> tensor<1x3x8x8xf32> {
  %a = sq.resize %x {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x4x4xf32>) -> tensor<1x3x8x8xf32>
  func.return %a : tensor<1x3x8x8xf32>
}

// -----

// CHECK: 'sq.resize' op input must hold f32 or unsigned bytes with one scale: its integers are signed
func.func @signed(%x: tensor<1x3x4x4x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8xf32> {
  %a = sq.resize %x {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8xf32>
  func.return %a : tensor<1x3x8x8xf32>
}

// -----

// CHECK: 'sq.resize' op result must hold f32 or unsigned bytes with one scale: its integers are signed
func.func @signed_result(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>> {
  %a = sq.resize %x {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
  func.return %a : tensor<1x3x8x8x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
}

// -----

// CHECK: 'sq.resize' op result must have shape (1, 3, 8, 8), got (1, 4, 8, 8)
func.func @channels(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x4x8x8xf32> {
  %a = sq.resize %x {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x4x8x8xf32>
  func.return %a : tensor<1x4x8x8xf32>
}

// -----

// CHECK: 'sq.resize' op input must have rank 4, got 3
func.func @rank(%x: tensor<1x3x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8xf32> {
  %a = sq.resize %x {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8xf32>
  func.return %a : tensor<1x3x8xf32>
}

// -----

// CHECK: 'sq.resize' op scales must be 2 numbers of at least 0, got (0.5,)
func.func @scales(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8xf32> {
  %a = sq.resize %x {scales = array<f64: 0.5>, align_corners = false} : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x3x8x8xf32>
  func.return %a : tensor<1x3x8x8xf32>
}
