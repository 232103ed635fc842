// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @per_tensor
func.func @per_tensor(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  // CHECK-NEXT: %q = sq.quantize %x : (tensor<2x3xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>, scale = 1.0e-05, zero_point = -3>>
  %q = sq.quantize %x : (tensor<2x3xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>, scale = 1.0e-05, zero_point = -3>>
  // CHECK-NEXT: %r = sq.requantize %q : (tensor<2x3x!sq.quant<i8<-128:127>, scale = 1.0e-05, zero_point = -3>>) -> tensor<2x3x!sq.quant<ui8<0:127>, scale = 2.0, zero_point = 64>>
  %r = sq.requantize %q : (tensor<2x3x!sq.quant<i8<-128:127>, scale = 1.0e-05, zero_point = -3>>) -> tensor<2x3x!sq.quant<ui8<0:127>, scale = 2, zero_point = 64>>
  // CHECK-NEXT: %y = sq.dequantize %r {nn.path = "fc"} : (tensor<2x3x!sq.quant<ui8<0:127>, scale = 2.0, zero_point = 64>>) -> tensor<2x3xf32>
  %y = sq.dequantize %r {nn.path = "fc"} : (tensor<2x3x!sq.quant<ui8<0:127>, scale = 2.0, zero_point = 64>>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @per_axis
func.func @per_axis(%x: tensor<2x3x4xf32>) {
  // CHECK-NEXT: %q = sq.quantize %x : (tensor<2x3x4xf32>) -> tensor<2x3x4x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 1>>
  %q = sq.quantize %x : (tensor<2x3x4xf32>) -> tensor<2x3x4x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 1>>
  func.return
}

// CHECK-LABEL: func.func @per_group
func.func @per_group() -> tensor<4x64xf32> {
  // CHECK-NEXT: %w = nn.constant "w" : tensor<4x64x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 0, group = 32>>
  %w = nn.constant "w" : tensor<4x64x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 0, group = 32>>
  // CHECK-NEXT: sq.dequantize %w
  %y = sq.dequantize %w : (tensor<4x64x!sq.quant<i8<-8:7>, scale = "s", zero_point = "z", axis = 0, group = 32>>) -> tensor<4x64xf32>
  func.return %y : tensor<4x64xf32>
}
