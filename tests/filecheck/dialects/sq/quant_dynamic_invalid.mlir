// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.choose_qparams' op kind must be one of ('tensor', 'tensor-symmetric', 'token', 'token-symmetric'), got row
func.func @kind(%x: tensor<2x3xf32>) {
  %s, %z = sq.choose_qparams %x {kind = "row", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<2x1xf32>, tensor<2x1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op range must be two numbers that rise above 0, got (-8, 0)
func.func @range(%x: tensor<2x3xf32>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -8, 0>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<2x1xf32>, tensor<2x1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op eps must be positive, got -1.0
func.func @eps(%x: tensor<2x3xf32>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = -1.0 : f64} : (tensor<2x3xf32>) -> (tensor<2x1xf32>, tensor<2x1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op input must hold f32, got i64
func.func @input(%x: tensor<2x3xi64>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xi64>) -> (tensor<2x1xf32>, tensor<2x1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op input must have a rank of 1 or more
func.func @rank(%x: tensor<f32>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<f32>) -> (tensor<1xf32>, tensor<1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op scale must have shape (2, 1), got (1,)
func.func @scale(%x: tensor<2x3xf32>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<1xf32>, tensor<2x1xf32>)
  func.return
}

// -----

// CHECK: 'sq.choose_qparams' op zero_point must hold f32, got i64
func.func @zero_point(%x: tensor<2x3xf32>) {
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<2x1xf32>, tensor<2x1xi64>)
  func.return
}

// -----

// CHECK: 'sq.quantize_dynamic' op result must have shape (2, 3), got (3, 2)
func.func @q_shape(%x: tensor<2x3xf32>, %s: tensor<1xf32>, %z: tensor<1xf32>) {
  %y = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<3x2x!sq.quant<i8<-128:127>>>
  func.return
}

// -----

// CHECK: 'sq.quantize_dynamic' op needs a !sq.quant without a scale, got !sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>
func.func @q_type(%x: tensor<2x3xf32>, %s: tensor<1xf32>, %z: tensor<1xf32>) {
  %y = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-8:7>, scale = 0.5, zero_point = 1>>
  func.return
}

// -----

// CHECK: 'sq.quantize_dynamic' op float side must hold f32, got i64
func.func @q_float(%x: tensor<2x3xi64>, %s: tensor<1xf32>, %z: tensor<1xf32>) {
  %y = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xi64>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>>>
  func.return
}

// -----

// CHECK: 'sq.quantize_dynamic' op scale must have shape (1,) or (2, 1), got (3, 1)
func.func @q_scale(%x: tensor<2x3xf32>, %s: tensor<3x1xf32>, %z: tensor<1xf32>) {
  %y = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<3x1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>>>
  func.return
}

// -----

// CHECK: 'sq.dequantize_dynamic' op needs a !sq.quant without a scale, got tensor<2x3xf32>
func.func @d_type(%x: tensor<2x3xf32>, %s: tensor<1xf32>, %z: tensor<1xf32>) {
  %y = sq.dequantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'sq.dequantize_dynamic' op zero_point must hold f32, got i64
func.func @d_zero(%x: tensor<2x3x!sq.quant<i8<-128:127>>>, %s: tensor<1xf32>, %z: tensor<1xi64>) {
  %y = sq.dequantize_dynamic %x, %s, %z : (tensor<2x3x!sq.quant<i8<-128:127>>>, tensor<1xf32>, tensor<1xi64>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'sq.quantize' op result must have a scale in its type, got !sq.quant<i8<-128:127>>
func.func @static(%x: tensor<3xf32>) {
  %q = sq.quantize %x : (tensor<3xf32>) -> tensor<3x!sq.quant<i8<-128:127>>>
  func.return
}
