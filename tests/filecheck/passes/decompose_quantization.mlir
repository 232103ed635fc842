// RUN: edgec-opt %s -p decompose-quantization | filecheck %s

// Each step is one op; the labels are those of the quantize op.

// CHECK-LABEL: func.func @pair(
// CHECK-NEXT: %[[I:.*]] = nn.constant dense<2.000000e+00> : tensor<f32>
// CHECK-NEXT: %[[A:.*]] = nn.binary mul %x, %[[I]] {nn.path = "fc"}
// CHECK-NEXT: %[[B:.*]] = nn.unary round %[[A]] {nn.path = "fc"}
// CHECK-NEXT: %[[Z:.*]] = nn.constant dense<1.280000e+02> : tensor<f32>
// CHECK-NEXT: %[[C:.*]] = nn.binary add %[[B]], %[[Z]]
// CHECK-NEXT: %[[D:.*]] = nn.unary clamp %[[C]] {nn.path = "fc", params = array<f64: 0.000000e+00, 2.550000e+02>}
// CHECK-NEXT: %[[Z2:.*]] = nn.constant dense<1.280000e+02> : tensor<f32>
// CHECK-NEXT: %[[E:.*]] = nn.binary sub %[[D]], %[[Z2]]
// CHECK-NEXT: %[[S:.*]] = nn.constant dense<5.000000e-01> : tensor<f32>
// CHECK-NEXT: %y = nn.binary mul %[[E]], %[[S]]
// CHECK-NEXT: func.return %y
func.func @pair(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %q = sq.quantize %x {nn.path = "fc"} : (tensor<2x3xf32>) -> tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %y = sq.dequantize %q : (tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// A zero point of 0 is not subtracted, but added: rounding may have left -0. Two readers
// share one tensor.

// CHECK-LABEL: func.func @symmetric(
// CHECK: nn.unary round
// CHECK-NEXT: nn.constant dense<0.000000e+00>
// CHECK-NEXT: nn.binary add
// CHECK-NEXT: %[[Q:.*]] = nn.unary clamp {{.*}} {params = array<f64: -1.270000e+02, 1.270000e+02>}
// CHECK-NEXT: %[[S:.*]] = nn.constant dense<2.500000e-01>
// CHECK-NEXT: %[[Y:.*]] = nn.binary mul %[[Q]], %[[S]]
// CHECK-NEXT: func.return %[[Y]], %[[Y]]
func.func @symmetric(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>) {
  %q = sq.quantize %x : (tensor<3xf32>) -> tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %y = sq.dequantize %q : (tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<3xf32>
  %z = sq.dequantize %q : (tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<3xf32>
  func.return %y, %z : tensor<3xf32>, tensor<3xf32>
}

// Other scales: dequantized and quantized again.

// CHECK-LABEL: func.func @twice(
// CHECK-NOT: sq.
// CHECK: nn.unary round
// CHECK: nn.unary clamp
// CHECK: nn.unary round
// CHECK: nn.unary clamp
// CHECK: func.return
func.func @twice(%x: tensor<3xf32>) -> tensor<3xf32> {
  %q = sq.quantize %x : (tensor<3xf32>) -> tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>
  %r = sq.requantize %q : (tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) -> tensor<3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 2>>
  %y = sq.dequantize %r : (tensor<3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 2>>) -> tensor<3xf32>
  func.return %y : tensor<3xf32>
}

// Somebody else reads the integers: the op that makes them stays.

// CHECK-LABEL: func.func @shared(
// CHECK: nn.binary mul
// CHECK: %q = sq.quantize %x
// CHECK-NEXT: func.return %y, %q
func.func @shared(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) {
  %q = sq.quantize %x : (tensor<3xf32>) -> tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>
  %y = sq.dequantize %q : (tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) -> tensor<3xf32>
  func.return %y, %q : tensor<3xf32>, tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>
}

// Bytes that a concatenation reads twice, once through another one.

// CHECK-LABEL: func.func @twice_read(
// CHECK-NOT: sq.
// CHECK: %[[A:.*]] = nn.concat %[[Q:.*]], %[[Q]] {axis = 1 : i64} : (tensor<1x4x2xf32>, tensor<1x4x2xf32>) -> tensor<1x8x2xf32>
// CHECK-NEXT: %y = nn.concat %[[A]], %[[Q]] {axis = 1 : i64}
// CHECK-NEXT: func.return %y
!q4 = tensor<1x4x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 1>>
!q8 = tensor<1x8x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 1>>
!q12 = tensor<1x12x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 1>>
func.func @twice_read(%x: tensor<1x4x2xf32>) -> tensor<1x12x2xf32> {
  %q = sq.quantize %x : (tensor<1x4x2xf32>) -> !q4
  %a = nn.concat %q, %q {axis = 1 : i64} : (!q4, !q4) -> !q8
  %b = nn.concat %a, %q {axis = 1 : i64} : (!q8, !q4) -> !q12
  %y = sq.dequantize %b : (!q12) -> tensor<1x12x2xf32>
  func.return %y : tensor<1x12x2xf32>
}

// A scale that is computed at run time; whoever quantizes divides by it once.

// CHECK-LABEL: func.func @dynamic(
// CHECK: nn.reduce min %x {axes = array<i64: 0, 1>, keep_dims = false}
// CHECK: nn.reduce max %x {axes = array<i64: 0, 1>, keep_dims = false}
// CHECK: %s = nn.binary max
// CHECK: %z = nn.unary clamp
// CHECK: %[[I:.*]] = nn.binary div %{{.*}}, %s
// CHECK-NEXT: %[[A:.*]] = nn.binary mul %x, %[[I]]
// CHECK-NEXT: %[[B:.*]] = nn.unary round %[[A]]
// CHECK-NEXT: %[[C:.*]] = nn.binary add %[[B]], %z
// CHECK-NEXT: %[[D:.*]] = nn.unary clamp %[[C]] {params = array<f64: -1.280000e+02, 1.270000e+02>}
// CHECK-NEXT: %[[E:.*]] = nn.binary sub %[[D]], %z
// CHECK-NEXT: %y = nn.binary mul %[[E]], %s
// CHECK-NEXT: func.return %y
func.func @dynamic(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %s, %z = sq.choose_qparams %x {kind = "tensor", range = array<i64: -128, 127>, eps = 1.0e-5 : f64} : (tensor<2x3xf32>) -> (tensor<1xf32>, tensor<1xf32>)
  %q = sq.quantize_dynamic %x, %s, %z : (tensor<2x3xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3x!sq.quant<i8<-128:127>>>
  %y = sq.dequantize_dynamic %q, %s, %z : (tensor<2x3x!sq.quant<i8<-128:127>>>, tensor<1xf32>, tensor<1xf32>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// Nothing to do: who made the integers is not known.

// CHECK-LABEL: func.func @argument(
// CHECK-NEXT: sq.dequantize
// CHECK-NEXT: func.return
func.func @argument(%q: tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) -> tensor<3xf32> {
  %y = sq.dequantize %q : (tensor<3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) -> tensor<3xf32>
  func.return %y : tensor<3xf32>
}

// Shuffled channels that no integer layer reads.

// CHECK-LABEL: func.func @shuffled(
// CHECK: nn.unary clamp
// CHECK: %[[N:.*]] = nn.binary mul
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[N]] : (tensor<1x6x2x2xf32>) -> tensor<1x2x3x2x2xf32>
// CHECK-NEXT: %[[T:.*]] = nn.transpose %[[R]] {permutation = array<i64: 0, 2, 1, 3, 4>}
// CHECK-NEXT: %[[Y:.*]] = nn.reshape %[[T]] : (tensor<1x3x2x2x2xf32>) -> tensor<1x6x2x2xf32>
// CHECK-NEXT: func.return %[[Y]]
func.func @shuffled(%x: tensor<1x6x2x2xf32>) -> tensor<1x6x2x2xf32> {
  %q = sq.quantize %x : (tensor<1x6x2x2xf32>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %s = sq.shuffle_channels %q {groups = 2 : i64} : (tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %y = sq.dequantize %s : (tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x6x2x2xf32>
  func.return %y : tensor<1x6x2x2xf32>
}
