// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: !sq.quant storage must be i8 or ui8, got i16
func.func private @storage(tensor<4x!sq.quant<i16<0:5>, scale = 0.5, zero_point = 1>>)

// -----

// CHECK: !sq.quant range must rise within -128:127, got 0:255
func.func private @range(tensor<4x!sq.quant<i8<0:255>, scale = 0.5, zero_point = 1>>)

// -----

// CHECK: !sq.quant range must rise within 0:255, got 5:5
func.func private @empty(tensor<4x!sq.quant<ui8<5:5>, scale = 0.5, zero_point = 5>>)

// -----

// CHECK: !sq.quant scale must be positive, and finite in float32 like its inverse, got -0.5
func.func private @negative(tensor<4x!sq.quant<i8<-8:7>, scale = -0.5, zero_point = 1>>)

// -----

// CHECK: !sq.quant scale must be positive, and finite in float32 like its inverse, got 1e-40
func.func private @tiny(tensor<4x!sq.quant<i8<-8:7>, scale = 1.0e-40, zero_point = 1>>)

// -----

// CHECK: !sq.quant zero_point must lie in -8:7, got 8
func.func private @zero_point(tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 8>>)

// -----

// CHECK: !sq.quant must have a scale and a zero point that are numbers, or names of arrays and an axis, got
func.func private @no_axis(tensor<4x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z">>)

// -----

// CHECK: !sq.quant must have a scale and a zero point that are numbers, or names of arrays and an axis, got
func.func private @mixed(tensor<4x!sq.quant<i8<-8:7>, scale = "s", zero_point = 0, axis = 1>>)

// -----

// CHECK: !sq.quant axis must not be negative, and groups must have at least one entry and stand along rows (axis = 0), got
func.func private @group_axis(tensor<4x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 1, group = 2>>)

// -----

// CHECK: 'sq.quantize' op input must hold f32, got i64
func.func @from(%x: tensor<4xi64>) {
  %y = sq.quantize %x : (tensor<4xi64>) -> tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>
  func.return
}

// -----

// CHECK: 'sq.quantize' op result must hold !sq.quant, got i8
func.func @to(%x: tensor<4xf32>) {
  %y = sq.quantize %x : (tensor<4xf32>) -> tensor<4xi8>
  func.return
}

// -----

// CHECK: 'sq.quantize' op result must have shape (4,), got (5,)
func.func @shape(%x: tensor<4xf32>) {
  %y = sq.quantize %x : (tensor<4xf32>) -> tensor<5x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>
  func.return
}

// -----

// CHECK: 'sq.quantize' op result has scales along axis 2, but rank 1
func.func @axis(%x: tensor<4xf32>) {
  %y = sq.quantize %x : (tensor<4xf32>) -> tensor<4x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 2>>
  func.return
}

// -----

// CHECK: 'sq.quantize' op result has groups of 3, so its shape must be [C, K] with K a multiple of that, got [2, 4]
func.func @group(%x: tensor<2x4xf32>) {
  %y = sq.quantize %x : (tensor<2x4xf32>) -> tensor<2x4x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 0, group = 3>>
  func.return
}

// -----

// CHECK: 'sq.dequantize' op input must hold !sq.quant, got f32
func.func @back(%x: tensor<4xf32>) {
  %y = sq.dequantize %x : (tensor<4xf32>) -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.dequantize' op result must hold f32, got i64
func.func @back_to(%x: tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>) {
  %y = sq.dequantize %x : (tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>) -> tensor<4xi64>
  func.return
}

// -----

// CHECK: 'sq.requantize' op result must hold !sq.quant, got f32
func.func @again(%x: tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>) {
  %y = sq.requantize %x : (tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>) -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.requantize' op input must hold !sq.quant, got f32
func.func @again_from(%x: tensor<4xf32>) {
  %y = sq.requantize %x : (tensor<4xf32>) -> tensor<4x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>
  func.return
}
