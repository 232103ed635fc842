// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @per_tensor
func.func @per_tensor(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // CHECK-NEXT: %s, %z = sq.choose_qparams %x {kind = "tensor", range = array<i64: -128, 127>, eps = 1.000000e-05 : f64} : (tensor<2x3xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  %s, %z = sq.choose_qparams %x {kind = "tensor", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  // CHECK-NEXT: %q = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>>>
  %q = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>>>
  // CHECK-NEXT: %y = sq.dequantize_dynamic %q, %s, %z : (tensor<2x3x!sq.quant<i8<-128:127>>>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3xf32>
  %y = sq.dequantize_dynamic %q, %s, %z : (tensor<2x3x!sq.quant<i8<-128:127>>>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @per_token
func.func @per_token(%x: tensor<5x2x3xf32>) {
  // CHECK-NEXT: sq.choose_qparams %x {kind = "token", {{.*}} -> (tensor<5x2x1xf32>, tensor<5x2x1xf32>)
  %s, %z = sq.choose_qparams %x {kind = "token", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<5x2x3xf32>) -> (tensor<5x2x1xf32>, tensor<5x2x1xf32>)
  // CHECK-NEXT: sq.quantize_dynamic
  %q = sq.quantize_dynamic %x, %s, %z : (tensor<5x2x3xf32>, tensor<5x2x1xf32>, tensor<5x2x1xf32>) -> tensor<5x2x3x!sq.quant<i8<-128:127>>>
  func.return
}
