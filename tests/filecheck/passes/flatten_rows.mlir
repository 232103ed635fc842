// RUN: python %S/Inputs/integer_weights.py %t.safetensors
// RUN: edgec-opt %s --weights %t.safetensors -p flatten-rows | filecheck %s
// RUN: edgec-opt %s --weights %t.safetensors -p flatten-rows,flatten-rows | filecheck %s

!x = !sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>
!y = !sq.quant<ui8<0:255>, scale = 0.25, zero_point = 3>
!w = !sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>

// A chain: bytes between two layers are matrices, and so are a step, numbers for each
// column, and a residual. The last result has its shape back.

// CHECK-LABEL: func.func @chain(
// CHECK-NEXT: %[[X:.*]] = nn.reshape %x : (tensor<2x5x8xf32>) -> tensor<10x8xf32>
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %[[X]] : (tensor<10x8xf32>) -> tensor<10x8x!sq.quant
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %[[Q]]
// CHECK: %[[Y:.*]] = nn.linear %[[A]], %{{.*}} {nn.path = "up"} : (tensor<10x8xf32>, tensor<32x8xf32>) -> tensor<10x32xf32>
// CHECK: %[[S:.*]] = nn.binary mul %[[Y]], %g : (tensor<10x32xf32>, tensor<32xf32>) -> tensor<10x32xf32>
// CHECK-NEXT: %[[R:.*]] = nn.unary gelu %[[S]] : (tensor<10x32xf32>) -> tensor<10x32xf32>
// CHECK-NEXT: %[[P:.*]] = sq.quantize %[[R]] : (tensor<10x32xf32>) -> tensor<10x32x!sq.quant
// CHECK-NEXT: %[[B:.*]] = sq.dequantize %[[P]]
// CHECK: %[[Z:.*]] = nn.linear %[[B]], %{{.*}} {nn.path = "down"} : (tensor<10x32xf32>, tensor<8x32xf32>) -> tensor<10x8xf32>
// CHECK-NEXT: %[[T:.*]] = nn.binary add %[[A]], %[[Z]] : (tensor<10x8xf32>, tensor<10x8xf32>) -> tensor<10x8xf32>
// CHECK-NEXT: %[[V:.*]] = nn.reshape %[[T]] : (tensor<10x8xf32>) -> tensor<2x5x8xf32>
// CHECK-NEXT: func.return %[[V]]
func.func @chain(%x: tensor<2x5x8xf32>, %g: tensor<32xf32>) -> tensor<2x5x8xf32> {
  %q = sq.quantize %x : (tensor<2x5x8xf32>) -> tensor<2x5x8x!x>
  %a = sq.dequantize %q : (tensor<2x5x8x!x>) -> tensor<2x5x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!w>
  %w = sq.dequantize %c : (tensor<32x8x!w>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w {nn.path = "up"} : (tensor<2x5x8xf32>, tensor<32x8xf32>) -> tensor<2x5x32xf32>
  %s = nn.binary mul %y, %g : (tensor<2x5x32xf32>, tensor<32xf32>) -> tensor<2x5x32xf32>
  %r = nn.unary gelu %s : (tensor<2x5x32xf32>) -> tensor<2x5x32xf32>
  %p = sq.quantize %r : (tensor<2x5x32xf32>) -> tensor<2x5x32x!y>
  %b = sq.dequantize %p : (tensor<2x5x32x!y>) -> tensor<2x5x32xf32>
  %d = nn.constant "down" : tensor<8x32x!w>
  %v = sq.dequantize %d : (tensor<8x32x!w>) -> tensor<8x32xf32>
  %z = nn.linear %b, %v {nn.path = "down"} : (tensor<2x5x32xf32>, tensor<8x32xf32>) -> tensor<2x5x8xf32>
  %t = nn.binary add %a, %z : (tensor<2x5x8xf32>, tensor<2x5x8xf32>) -> tensor<2x5x8xf32>
  func.return %t : tensor<2x5x8xf32>
}

// Layers that read the same bytes share them; others find numbers of the old shape, and
// a vector is a row. What depends on the position otherwise stays as it is.

// CHECK-LABEL: func.func @shared(
// CHECK: %[[V:.*]] = nn.reshape %v : (tensor<8xf32>) -> tensor<1x8xf32>
// CHECK: %[[Q:.*]] = sq.quantize %{{.*}} : (tensor<12x8xf32>) -> tensor<12x8x!sq.quant
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %[[Q]]
// CHECK-NEXT: %[[O:.*]] = nn.reshape %[[A]] : (tensor<12x8xf32>) -> tensor<2x3x2x8xf32>
// CHECK: nn.linear %[[A]],
// CHECK: %[[Z:.*]] = nn.linear %[[A]],
// CHECK-NEXT: %[[B:.*]] = nn.reshape %[[Z]] : (tensor<12x32xf32>) -> tensor<2x3x2x32xf32>
// CHECK-NEXT: nn.softmax %[[O]]
// CHECK: nn.binary add %[[B]], %p : (tensor<2x3x2x32xf32>, tensor<3x1x1xf32>) -> tensor<2x3x2x32xf32>
// CHECK-NEXT: sq.quantize %[[V]]
// CHECK: nn.linear {{.*}} -> tensor<1x32xf32>
// CHECK-NEXT: nn.reshape {{.*}} -> tensor<32xf32>
func.func @shared(%x: tensor<2x3x2x8xf32>, %p: tensor<3x1x1xf32>, %v: tensor<8xf32>) -> (tensor<2x3x2x32xf32>, tensor<2x3x2x8xf32>, tensor<2x3x2x32xf32>, tensor<32xf32>) {
  %q = sq.quantize %x : (tensor<2x3x2x8xf32>) -> tensor<2x3x2x8x!x>
  %a = sq.dequantize %q : (tensor<2x3x2x8x!x>) -> tensor<2x3x2x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!w>
  %w = sq.dequantize %c : (tensor<32x8x!w>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w : (tensor<2x3x2x8xf32>, tensor<32x8xf32>) -> tensor<2x3x2x32xf32>
  %z = nn.linear %a, %w : (tensor<2x3x2x8xf32>, tensor<32x8xf32>) -> tensor<2x3x2x32xf32>
  %s = nn.softmax %a {axis = 3 : i64, log = false} : (tensor<2x3x2x8xf32>) -> tensor<2x3x2x8xf32>
  %t = nn.binary add %z, %p : (tensor<2x3x2x32xf32>, tensor<3x1x1xf32>) -> tensor<2x3x2x32xf32>
  %r = sq.quantize %v : (tensor<8xf32>) -> tensor<8x!x>
  %b = sq.dequantize %r : (tensor<8x!x>) -> tensor<8xf32>
  %u = nn.linear %b, %w : (tensor<8xf32>, tensor<32x8xf32>) -> tensor<32xf32>
  func.return %y, %s, %t, %u : tensor<2x3x2x32xf32>, tensor<2x3x2x8xf32>, tensor<2x3x2x32xf32>, tensor<32xf32>
}

// Bytes that the function gets are quads of axis 1: they are quantized again, in rows.

// CHECK-LABEL: func.func @bytes(
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %x
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[A]] : (tensor<2x5x8xf32>) -> tensor<10x8xf32>
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %[[R]] : (tensor<10x8xf32>) -> tensor<10x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[B:.*]] = sq.dequantize %[[Q]]
// CHECK: nn.linear %[[B]],
func.func @bytes(%x: tensor<2x5x8x!x>) -> tensor<2x5x32xf32> {
  %a = sq.dequantize %x : (tensor<2x5x8x!x>) -> tensor<2x5x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!w>
  %w = sq.dequantize %c : (tensor<32x8x!w>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w : (tensor<2x5x8xf32>, tensor<32x8xf32>) -> tensor<2x5x32xf32>
  func.return %y : tensor<2x5x32xf32>
}

// Left alone: layers in float32, on matrices, and with weights that no kernel reads.

// CHECK-LABEL: func.func @others(
// CHECK-NOT: nn.reshape
// CHECK: func.return
func.func @others(%x: tensor<2x5x8xf32>, %m: tensor<10x8xf32>, %f: tensor<32x8xf32>) -> (tensor<2x5x32xf32>, tensor<2x5x32xf32>, tensor<10x32xf32>, tensor<2x5x32xf32>) {
  %q = sq.quantize %x : (tensor<2x5x8xf32>) -> tensor<2x5x8x!x>
  %a = sq.dequantize %q : (tensor<2x5x8x!x>) -> tensor<2x5x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!w>
  %w = sq.dequantize %c : (tensor<32x8x!w>) -> tensor<32x8xf32>
  %e = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>
  %z = sq.dequantize %e : (tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 1>>) -> tensor<32x8xf32>
  %0 = nn.linear %x, %w : (tensor<2x5x8xf32>, tensor<32x8xf32>) -> tensor<2x5x32xf32>
  %1 = nn.linear %a, %f : (tensor<2x5x8xf32>, tensor<32x8xf32>) -> tensor<2x5x32xf32>
  %2 = nn.linear %m, %w : (tensor<10x8xf32>, tensor<32x8xf32>) -> tensor<10x32xf32>
  %3 = nn.linear %a, %z : (tensor<2x5x8xf32>, tensor<32x8xf32>) -> tensor<2x5x32xf32>
  func.return %0, %1, %2, %3 : tensor<2x5x32xf32>, tensor<2x5x32xf32>, tensor<10x32xf32>, tensor<2x5x32xf32>
}
