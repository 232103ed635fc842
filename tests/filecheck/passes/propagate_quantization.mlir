// RUN: edgec-opt %s -p propagate-quantization | filecheck %s

// Down through a slice and a concatenation of a multiple of four channels; the two ends
// cancel.

// CHECK-LABEL: func.func @down(
// CHECK-NEXT: %[[S:.*]] = nn.slice %x {{.*}} : (tensor<1x4x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>)
// CHECK-NEXT: %[[C:.*]] = nn.concat {{.*}} -> tensor<1x8x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: func.return %[[C]]
func.func @down(%x: tensor<1x4x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x8x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
  %a = sq.dequantize %x : (tensor<1x4x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x4x4x4xf32>
  %s = nn.slice %a {starts = array<i64: 0, 0, 0, 0>, steps = array<i64: 1, 1, 2, 2>} : (tensor<1x4x4x4xf32>) -> tensor<1x4x2x2xf32>
  %c = nn.concat %s, %s {axis = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x2x2xf32>) -> tensor<1x8x2x2xf32>
  %q = sq.quantize %c : (tensor<1x8x2x2xf32>) -> tensor<1x8x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q : tensor<1x8x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// Up through a reshape that keeps channels.

// CHECK-LABEL: func.func @up(
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %x {{.*}} -> tensor<1x3x1x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[Q]]
// CHECK-NEXT: func.return %[[R]]
func.func @up(%x: tensor<1x3x1x6xf32>) -> tensor<1x3x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
  %r = nn.reshape %x : (tensor<1x3x1x6xf32>) -> tensor<1x3x6xf32>
  %q = sq.quantize %r {nn.path = "a"} : (tensor<1x3x6xf32>) -> tensor<1x3x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q : tensor<1x3x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// Down through a maximum and nearest resizing; other numbers are a requantize.

// CHECK-LABEL: func.func @chooses(
// CHECK-NEXT: %[[P:.*]] = nn.pool max %x {{.*}} -> tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[S:.*]] = nn.resize nearest %[[P]] {{.*}} -> tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[Q:.*]] = sq.requantize %[[S]]
// CHECK-NEXT: func.return %[[Q]]
func.func @chooses(%x: tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>> {
  %a = sq.dequantize %x : (tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x4x4xf32>
  %p = nn.pool max %a {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x3x4x4xf32>) -> tensor<1x3x2x2xf32>
  %r = nn.resize nearest %p {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x3x2x2xf32>) -> tensor<1x3x4x4xf32>
  %q = sq.quantize %r : (tensor<1x3x4x4xf32>) -> tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  func.return %q : tensor<1x3x4x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
}

// Left alone: channels of which one is left out, a flattened plane, and an op that
// computes.

// CHECK-LABEL: func.func @stays(
// CHECK: nn.slice {{.*}} -> tensor<1x2x2x2xf32>
// CHECK: nn.reshape {{.*}} -> tensor<1x12xf32>
// CHECK: nn.unary relu {{.*}} -> tensor<1x3x2x2xf32>
// CHECK: sq.requantize %x
func.func @stays(%x: tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x2x2x2xf32>, tensor<1x12xf32>, tensor<1x3x2x2xf32>, tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) {
  %a = sq.dequantize %x : (tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x2x2xf32>
  %c = nn.slice %a {starts = array<i64: 0, 0, 0, 0>, steps = array<i64: 1, 2, 1, 1>} : (tensor<1x3x2x2xf32>) -> tensor<1x2x2x2xf32>
  %f = nn.reshape %a : (tensor<1x3x2x2xf32>) -> tensor<1x12xf32>
  %r = nn.unary relu %a : (tensor<1x3x2x2xf32>) -> tensor<1x3x2x2xf32>
  %q = sq.quantize %a : (tensor<1x3x2x2xf32>) -> tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  func.return %c, %f, %r, %q : tensor<1x2x2x2xf32>, tensor<1x12xf32>, tensor<1x3x2x2xf32>, tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
}

// Parts of a concatenation are quantized by themselves: with the same numbers that
// cancels, with others it is a requantize, and a layer may write bytes. Neighbouring
// channels are a slice of bytes.

// CHECK-LABEL: func.func @parts(
// CHECK-NEXT: %[[A:.*]] = sq.requantize %x {{.*}} -> tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK-NEXT: %[[B:.*]] = sq.quantize %y {{.*}} -> tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK-NEXT: %[[C:.*]] = nn.concat %[[A]], %z, %[[B]], %[[A]] {axis = 1 : i64} : {{.*}} -> tensor<1x11x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK-NEXT: %[[S:.*]] = nn.slice %[[C]] {{.*}} -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
// CHECK-NEXT: func.return %[[S]]
func.func @parts(%x: tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %y: tensor<1x3x2x2xf32>, %z: tensor<1x2x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>> {
  %a = sq.dequantize %x : (tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x2x2xf32>
  %b = sq.dequantize %z : (tensor<1x2x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) -> tensor<1x2x2x2xf32>
  %c = nn.concat %a, %b, %y, %a {axis = 1 : i64} : (tensor<1x3x2x2xf32>, tensor<1x2x2x2xf32>, tensor<1x3x2x2xf32>, tensor<1x3x2x2xf32>) -> tensor<1x11x2x2xf32>
  %q = sq.quantize %c : (tensor<1x11x2x2xf32>) -> tensor<1x11x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  %d = sq.dequantize %q : (tensor<1x11x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) -> tensor<1x11x2x2xf32>
  %s = nn.slice %d {starts = array<i64: 0, 2, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : (tensor<1x11x2x2xf32>) -> tensor<1x6x2x2xf32>
  %e = sq.quantize %s : (tensor<1x6x2x2xf32>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  func.return %e : tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
}

// Down through pads with what a byte stands for, or with values of the input, up through
// the same.

// CHECK-LABEL: func.func @pads(
// CHECK-NEXT: %[[A:.*]] = nn.pad constant %x {{.*}} value = -6.400000e+01{{.*}} -> tensor<1x12x3x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[B:.*]] = nn.pad reflect %[[A]] {{.*}} -> tensor<1x12x5x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[C:.*]] = sq.quantize %y {{.*}} -> tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[D:.*]] = nn.pad constant %[[C]]
// CHECK-NEXT: func.return %[[B]], %[[D]]
func.func @pads(%x: tensor<1x4x2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %y: tensor<1x3x2x2xf32>) -> (tensor<1x12x5x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x3x3x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {
  %a = sq.dequantize %x : (tensor<1x4x2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x4x2x3xf32>
  %p = nn.pad constant %a {low = array<i64: 0, 4, 0, 1>, high = array<i64: 0, 4, 1, 0>, value = -64.0 : f64} : (tensor<1x4x2x3xf32>) -> tensor<1x12x3x4xf32>
  %r = nn.pad reflect %p {low = array<i64: 0, 0, 1, 0>, high = array<i64: 0, 0, 1, 0>, value = 0.0 : f64} : (tensor<1x12x3x4xf32>) -> tensor<1x12x5x4xf32>
  %q = sq.quantize %r : (tensor<1x12x5x4xf32>) -> tensor<1x12x5x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %s = nn.pad constant %y {low = array<i64: 0, 0, 0, 0>, high = array<i64: 0, 0, 1, 0>, value = 0.0 : f64} : (tensor<1x3x2x2xf32>) -> tensor<1x3x3x2xf32>
  %t = sq.quantize %s : (tensor<1x3x3x2xf32>) -> tensor<1x3x3x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q, %t : tensor<1x12x5x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x3x3x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// Not through others: between two bytes, beyond the last, channels that share no quads.

// CHECK-LABEL: func.func @pads_of_numbers(
// CHECK-COUNT-3: nn.pad constant %{{.*}} : (tensor<1x3x2x2xf32>)
func.func @pads_of_numbers(%x: tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x3x3x2xf32>, tensor<1x3x3x2xf32>, tensor<1x4x2x2xf32>) {
  %a = sq.dequantize %x : (tensor<1x3x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x2x2xf32>
  %p = nn.pad constant %a {low = array<i64: 0, 0, 0, 0>, high = array<i64: 0, 0, 1, 0>, value = 0.3 : f64} : (tensor<1x3x2x2xf32>) -> tensor<1x3x3x2xf32>
  %q = nn.pad constant %a {low = array<i64: 0, 0, 0, 0>, high = array<i64: 0, 0, 1, 0>, value = 64.0 : f64} : (tensor<1x3x2x2xf32>) -> tensor<1x3x3x2xf32>
  %r = nn.pad constant %a {low = array<i64: 0, 0, 0, 0>, high = array<i64: 0, 1, 0, 0>, value = 0.0 : f64} : (tensor<1x3x2x2xf32>) -> tensor<1x4x2x2xf32>
  func.return %p, %q, %r : tensor<1x3x3x2xf32>, tensor<1x3x3x2xf32>, tensor<1x4x2x2xf32>
}

// Channels that are shuffled: one op on bytes, also before what is quantized later, where
// the parts of a concatenation are quantized then.

// CHECK-LABEL: func.func @shuffles(
// CHECK-NEXT: %[[A:.*]] = sq.shuffle_channels %x {{{.*}}groups = 2 : i64}
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %y
// CHECK-NEXT: %[[C:.*]] = nn.concat %[[Q]], %[[Q]]
// CHECK-NEXT: %[[B:.*]] = sq.shuffle_channels %[[C]] {groups = 3 : i64}
// CHECK-NEXT: func.return %[[A]], %[[B]]
func.func @shuffles(%x: tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %y: tensor<1x3x2x2xf32>) -> (tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {
  %a = sq.dequantize %x : (tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x6x2x2xf32>
  %b = nn.reshape %a : (tensor<1x6x2x2xf32>) -> tensor<1x2x3x2x2xf32>
  %c = nn.transpose %b {permutation = array<i64: 0, 2, 1, 3, 4>} : (tensor<1x2x3x2x2xf32>) -> tensor<1x3x2x2x2xf32>
  %d = nn.reshape %c {nn.path = "shuffle"} : (tensor<1x3x2x2x2xf32>) -> tensor<1x6x2x2xf32>
  %q = sq.quantize %d : (tensor<1x6x2x2xf32>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %e = nn.concat %y, %y {axis = 1 : i64} : (tensor<1x3x2x2xf32>, tensor<1x3x2x2xf32>) -> tensor<1x6x2x2xf32>
  %f = nn.reshape %e : (tensor<1x6x2x2xf32>) -> tensor<1x3x2x2x2xf32>
  %g = nn.transpose %f {permutation = array<i64: 0, 2, 1, 3, 4>} : (tensor<1x3x2x2x2xf32>) -> tensor<1x2x3x2x2xf32>
  %h = nn.reshape %g : (tensor<1x2x3x2x2xf32>) -> tensor<1x6x2x2xf32>
  %r = sq.quantize %h : (tensor<1x6x2x2xf32>) -> tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q, %r : tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// Not planes that are transposed, nor channels that are split otherwise after it.

// CHECK-LABEL: func.func @no_shuffles(
// CHECK-NOT: sq.shuffle_channels
// CHECK: func.return
func.func @no_shuffles(%x: tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x6x2x2xf32>, tensor<1x4x3x2xf32>) {
  %a = sq.dequantize %x : (tensor<1x6x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x6x2x2xf32>
  %b = nn.reshape %a : (tensor<1x6x2x2xf32>) -> tensor<1x2x3x2x2xf32>
  %c = nn.transpose %b {permutation = array<i64: 0, 2, 1, 4, 3>} : (tensor<1x2x3x2x2xf32>) -> tensor<1x3x2x2x2xf32>
  %d = nn.reshape %c : (tensor<1x3x2x2x2xf32>) -> tensor<1x6x2x2xf32>
  %e = nn.transpose %b {permutation = array<i64: 0, 2, 1, 3, 4>} : (tensor<1x2x3x2x2xf32>) -> tensor<1x3x2x2x2xf32>
  %f = nn.reshape %e : (tensor<1x3x2x2x2xf32>) -> tensor<1x4x3x2xf32>
  func.return %d, %f : tensor<1x6x2x2xf32>, tensor<1x4x3x2xf32>
}

// Heads that are merged before a layer: it is the layer that needs bytes. What others
// read between is quantized before it, as it was.

// CHECK-LABEL: func.func @heads(
// CHECK-NEXT: %[[T:.*]] = nn.transpose %x {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x2x3x4xf32>)
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[T]] : {{.*}} -> tensor<3x8xf32>
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %[[R]] : (tensor<3x8xf32>)
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %[[Q]]
// CHECK: nn.linear %[[A]],
// CHECK: sq.quantize %y
// CHECK-NEXT: %[[B:.*]] = sq.dequantize
// CHECK-NEXT: nn.softmax %[[B]]
// CHECK-NEXT: %[[C:.*]] = nn.transpose %[[B]]
// CHECK-NEXT: %[[P:.*]] = sq.quantize %[[C]]
// CHECK-NEXT: %[[D:.*]] = sq.dequantize %[[P]]
// CHECK-NEXT: nn.linear %[[D]],
func.func @heads(%x: tensor<1x2x3x4xf32>, %y: tensor<8x3xf32>) -> (tensor<3x2xf32>, tensor<8x3xf32>, tensor<3x2xf32>) {
  %q = sq.quantize %x : (tensor<1x2x3x4xf32>) -> tensor<1x2x3x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %a = sq.dequantize %q : (tensor<1x2x3x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x2x3x4xf32>
  %t = nn.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x2x3x4xf32>) -> tensor<1x3x2x4xf32>
  %p = sq.quantize %t : (tensor<1x3x2x4xf32>) -> tensor<1x3x2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %b = sq.dequantize %p : (tensor<1x3x2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3x2x4xf32>
  %r = nn.reshape %b : (tensor<1x3x2x4xf32>) -> tensor<3x8xf32>
  %o = sq.quantize %r : (tensor<3x8xf32>) -> tensor<3x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %c = sq.dequantize %o : (tensor<3x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<3x8xf32>
  %k = nn.constant "k" : tensor<2x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %k : (tensor<2x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<2x8xf32>
  %z = nn.linear %c, %w : (tensor<3x8xf32>, tensor<2x8xf32>) -> tensor<3x2xf32>
  %q1 = sq.quantize %y : (tensor<8x3xf32>) -> tensor<8x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %a1 = sq.dequantize %q1 : (tensor<8x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<8x3xf32>
  %s = nn.softmax %a1 {axis = 1 : i64, log = false} : (tensor<8x3xf32>) -> tensor<8x3xf32>
  %t1 = nn.transpose %a1 {permutation = array<i64: 1, 0>} : (tensor<8x3xf32>) -> tensor<3x8xf32>
  %p1 = sq.quantize %t1 : (tensor<3x8xf32>) -> tensor<3x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %b1 = sq.dequantize %p1 : (tensor<3x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<3x8xf32>
  %z1 = nn.linear %b1, %w : (tensor<3x8xf32>, tensor<2x8xf32>) -> tensor<3x2xf32>
  func.return %z, %s, %z1 : tensor<3x2xf32>, tensor<8x3xf32>, tensor<3x2xf32>
}
