// RUN: python %S/Inputs/integer_weights.py %t.safetensors
// RUN: edgec-opt %s --weights %t.safetensors -p integer-layers | filecheck %s
// RUN: edgec-opt %s --weights %t.safetensors -p 'integer-layers{sparse=false}' | filecheck %s --check-prefix=ALWAYS

// A convolution of what is dequantized; signed bytes become unsigned ones, also for
// whoever else reads them.

// CHECK-LABEL: func.func @signed(
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %x : {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 131>>
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %[[Q]]
// CHECK-NEXT: %[[W:.*]] = nn.constant "w" : tensor<1x4x1x1x!sq.quant<i8<-127:127>
// CHECK-NEXT: %[[Y:.*]] = sq.conv %[[Q]], %[[W]] {nn.path = "first", {{.*}}epilogue = []} : {{.*}} -> tensor<1x1x2x2xf32>
// CHECK-NEXT: func.return %[[Y]], %[[A]]
func.func @signed(%x: tensor<1x4x2x2xf32>) -> (tensor<1x1x2x2xf32>, tensor<1x4x2x2xf32>) {
  %q = sq.quantize %x : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 3>>
  %a = sq.dequantize %q : (tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x2xf32>
  %c = nn.constant "w" : tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x4x1x1xf32>
  %y = nn.conv %a, %w {nn.path = "first", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %y, %a : tensor<1x1x2x2xf32>, tensor<1x4x2x2xf32>
}

// Layers without quantized weights are left alone.

// CHECK-LABEL: func.func @floats(
// CHECK: nn.conv
// CHECK-NOT: sq.why_float
// CHECK: func.return
func.func @floats(%x: tensor<1x4x2x2xf32>, %w: tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32> {
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %y : tensor<1x1x2x2xf32>
}

// A linear layer reads what is flattened as it is.

// CHECK-LABEL: func.func @linear(
// CHECK: %[[V:.*]] = nn.constant "v" : tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
// CHECK: sq.linear %x, %[[V]] {nn.path = "flat", epilogue = []} : tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x3xf32>
func.func @linear(%x: tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x3xf32> {
  %a = sq.dequantize %x : (tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x4x1x2xf32>
  %f = nn.reshape %a : (tensor<2x4x1x2xf32>) -> tensor<2x8xf32>
  %c = nn.constant "v" : tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<3x8xf32>
  %y = nn.linear %f, %w {nn.path = "flat"} : (tensor<2x8xf32>, tensor<3x8xf32>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// A depthwise layer runs on integers if its result is quantized, after steps or at once,
// and has one filter per channel.

// CHECK-LABEL: func.func @depthwise(
// CHECK: %[[W:.*]] = nn.constant "dw" : tensor<4x1x2x2x!sq.quant
// CHECK: %[[Y:.*]] = sq.conv %x, %[[W]] {nn.path = "bytes", {{.*}}groups = 4 : i64, epilogue = []}
// CHECK-NEXT: nn.unary relu %[[Y]]
// CHECK: nn.conv {{.*}}nn.path = "floats", sq.why_float = "float32: the result of a depthwise layer is not quantized"
// CHECK: nn.conv {{.*}}nn.path = "twice", sq.why_float = "float32: there is no integer kernel for 2 filters per channel"
func.func @depthwise(%x: tensor<1x4x3x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x4x2x2xf32>, tensor<1x8x2x2xf32>) {
  %a = sq.dequantize %x : (tensor<1x4x3x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x4x3x3xf32>
  %c = nn.constant "dw" : tensor<4x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<4x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<4x1x2x2xf32>
  %y = nn.conv %a, %w {nn.path = "bytes", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64} : (tensor<1x4x3x3xf32>, tensor<4x1x2x2xf32>) -> tensor<1x4x2x2xf32>
  %r = nn.unary relu %y : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32>
  %q = sq.quantize %r : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %z = nn.conv %a, %w {nn.path = "floats", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64} : (tensor<1x4x3x3xf32>, tensor<4x1x2x2xf32>) -> tensor<1x4x2x2xf32>
  %d = nn.constant "two" : tensor<8x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %v = sq.dequantize %d : (tensor<8x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<8x1x2x2xf32>
  %t = nn.conv %a, %v {nn.path = "twice", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64} : (tensor<1x4x3x3xf32>, tensor<8x1x2x2xf32>) -> tensor<1x8x2x2xf32>
  func.return %q, %z, %t : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<1x4x2x2xf32>, tensor<1x8x2x2xf32>
}

// Integers of 4 bits are as good as bytes.

// CHECK-LABEL: func.func @codes(
// CHECK: sq.linear %x, %{{.*}} {epilogue = []} : {{.*}}, tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>> -> tensor<1x3xf32>
func.func @codes(%x: tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x3xf32> {
  %a = sq.dequantize %x : (tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x8xf32>
  %c = nn.constant "int4" : tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<3x8xf32>
  %y = nn.linear %a, %w : (tensor<1x8xf32>, tensor<3x8xf32>) -> tensor<1x3xf32>
  func.return %y : tensor<1x3xf32>
}

// The rank of the input is the reason only where there is no other: `flatten-rows` makes
// matrices of those.

// CHECK-LABEL: func.func @ranks(
// CHECK: nn.linear {{.*}}nn.path = "stacked", sq.why_float = "float32: the input has rank 3, not 2"
// CHECK: nn.linear {{.*}}nn.path = "shifted", sq.why_float = "float32: the weight does not suit integer kernels: it has a zero point"
// CHECK: nn.linear {{.*}}nn.path = "floats", sq.why_float = "float32: the input is float32"
func.func @ranks(%x: tensor<1x2x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %f: tensor<1x2x8xf32>) -> (tensor<1x2x32xf32>, tensor<1x2x32xf32>, tensor<1x2x32xf32>) {
  %a = sq.dequantize %x : (tensor<1x2x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x2x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<32x8xf32>
  %d = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 2>>
  %v = sq.dequantize %d : (tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 2>>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w {nn.path = "stacked"} : (tensor<1x2x8xf32>, tensor<32x8xf32>) -> tensor<1x2x32xf32>
  %z = nn.linear %a, %v {nn.path = "shifted"} : (tensor<1x2x8xf32>, tensor<32x8xf32>) -> tensor<1x2x32xf32>
  %u = nn.linear %f, %w {nn.path = "floats"} : (tensor<1x2x8xf32>, tensor<32x8xf32>) -> tensor<1x2x32xf32>
  func.return %y, %z, %u : tensor<1x2x32xf32>, tensor<1x2x32xf32>, tensor<1x2x32xf32>
}

// Means of bytes: in bytes if they are quantized, else in float32; a reduction that
// drops its axes is reshaped.

// CHECK-LABEL: func.func @means(
// CHECK-NEXT: %[[G:.*]] = sq.average %x {nn.path = "mean", kernel = array<i64: 4, 6>, stride = array<i64: 4, 6>, padding = array<i64: 0, 0>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<2x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<2x5x1x1x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>
// CHECK-NEXT: %[[R:.*]] = nn.reshape %[[G]] {{.*}} -> tensor<2x5x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>
// CHECK-NEXT: %[[W:.*]] = sq.average %x {kernel = array<i64: 3, 3>, stride = array<i64: 2, 2>, padding = array<i64: 1, 1>, ceil_mode = true, count_include_pad = false, divisor = 0 : i64} : {{.*}} -> tensor<2x5x3x4xf32>
// CHECK-NEXT: %[[A:.*]] = sq.average %x {kernel = array<i64>, {{.*}}} : {{.*}} -> tensor<2x5x3x4xf32>
// CHECK-NEXT: func.return %[[R]], %[[W]], %[[A]]
func.func @means(%x: tensor<2x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> (tensor<2x5x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>, tensor<2x5x3x4xf32>, tensor<2x5x3x4xf32>) {
  %a = sq.dequantize %x : (tensor<2x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<2x5x4x6xf32>
  %m = nn.reduce mean %a {nn.path = "mean", axes = array<i64: 2, 3>, keep_dims = false} : (tensor<2x5x4x6xf32>) -> tensor<2x5xf32>
  %q = sq.quantize %m : (tensor<2x5xf32>) -> tensor<2x5x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>
  %w = nn.pool avg %a {kernel = array<i64: 3, 3>, stride = array<i64: 2, 2>, padding = array<i64: 1, 1>, dilation = array<i64: 1, 1>, ceil_mode = true, count_include_pad = false, divisor = 0 : i64} : (tensor<2x5x4x6xf32>) -> tensor<2x5x3x4xf32>
  %s = nn.adaptive_pool avg %a : (tensor<2x5x4x6xf32>) -> tensor<2x5x3x4xf32>
  func.return %q, %w, %s : tensor<2x5x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>, tensor<2x5x3x4xf32>, tensor<2x5x3x4xf32>
}

// In float32, and why: over channels, too large, of what no integer layer makes.

// CHECK-LABEL: func.func @other_means(
// CHECK: nn.reduce mean {{.*}}sq.why_float = "float32: it is over the axes (1,), not over planes"
// CHECK: nn.reduce mean {{.*}}sq.why_float = "float32: a window has more than 65793 positions"
// CHECK: nn.pool avg {{.*}}sq.why_float = "float32: no integer layer makes or reads the input"
func.func @other_means(%x: tensor<1x4x2x65793x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>, %y: tensor<1x4x2x2xf32>) -> (tensor<1x2x65793xf32>, tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) {
  %a = sq.dequantize %x : (tensor<1x4x2x65793x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x65793xf32>
  %c = nn.reduce mean %a {axes = array<i64: 1>, keep_dims = false} : (tensor<1x4x2x65793xf32>) -> tensor<1x2x65793xf32>
  %l = nn.reduce mean %a {axes = array<i64: 2, 3>, keep_dims = true} : (tensor<1x4x2x65793xf32>) -> tensor<1x4x1x1xf32>
  %q = sq.quantize %y : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>
  %b = sq.dequantize %q : (tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x2xf32>
  %p = nn.pool avg %b {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x2x2xf32>) -> tensor<1x4x1x1xf32>
  func.return %c, %l, %p : tensor<1x2x65793xf32>, tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>
}

// What else computes on bytes of integer layers, or moves them, says that it has no
// kernel; steps are left to `fuse`.

// CHECK-LABEL: func.func @others(
// CHECK: nn.softmax {{.*}}sq.why_float = "float32: there is no kernel of nn.softmax on these bytes"
// CHECK: nn.unary relu %{{.*}} : (tensor<1x2x2x2xf32>)
func.func @others(%x: tensor<1x2x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> (tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>) {
  %a = sq.dequantize %x : (tensor<1x2x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x2x2x2xf32>
  %r = nn.softmax %a {axis = 1 : i64, log = false} : (tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  %s = nn.unary relu %a : (tensor<1x2x2x2xf32>) -> tensor<1x2x2x2xf32>
  func.return %r, %s : tensor<1x2x2x2xf32>, tensor<1x2x2x2xf32>
}

// Bilinear resizing interpolates bytes, and what is quantized behind it is its result;
// signed ones become unsigned. Of what no integer layer makes it stays in float32.

// CHECK-LABEL: func.func @resizes(
// CHECK-NEXT: %[[Q:.*]] = sq.resize %x {nn.path = "up", scales = array<f64: 5.000000e-01, 5.000000e-01>, align_corners = false} : (tensor<1x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x5x8x12x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 128>>
// CHECK-NEXT: %[[R:.*]] = sq.resize %[[Q]] {scales = array<f64: 3.000000e+00, 2.000000e+00>, align_corners = true} : {{.*}} -> tensor<1x5x3x6xf32>
// CHECK: %[[F:.*]] = nn.resize bilinear %{{.*}} {sq.why_float = "float32: no integer layer makes or reads the input"
// CHECK-NEXT: func.return %[[R]], %[[F]]
func.func @resizes(%x: tensor<1x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>, %y: tensor<1x4x2x2xf32>) -> (tensor<1x5x3x6xf32>, tensor<1x4x4x4xf32>) {
  %a = sq.dequantize %x : (tensor<1x5x4x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x5x4x6xf32>
  %r = nn.resize bilinear %a {nn.path = "up", scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x5x4x6xf32>) -> tensor<1x5x8x12xf32>
  %q = sq.quantize %r : (tensor<1x5x8x12xf32>) -> tensor<1x5x8x12x!sq.quant<i8<-128:127>, scale = 0.25, zero_point = 0>>
  %b = sq.dequantize %q : (tensor<1x5x8x12x!sq.quant<i8<-128:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x5x8x12xf32>
  %s = nn.resize bilinear %b {scales = array<f64: 3.0, 2.0>, align_corners = true} : (tensor<1x5x8x12xf32>) -> tensor<1x5x3x6xf32>
  %p = sq.quantize %y : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>
  %c = sq.dequantize %p : (tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x2xf32>
  %t = nn.resize bilinear %c {scales = array<f64: 0.5, 0.5>, align_corners = false} : (tensor<1x4x2x2xf32>) -> tensor<1x4x4x4xf32>
  func.return %s, %t : tensor<1x5x3x6xf32>, tensor<1x4x4x4xf32>
}

// Of single weights, 2.5 % of all, sparse kernels in float32 are predicted to be faster,
// of a block of quads integers; both say so. That can be switched off.

// CHECK-LABEL: func.func @sparse(
// CHECK: nn.constant "single.float" : tensor<64x64x3x3xf32>
// CHECK: nn.conv {{.*}}sq.why_float = "float32: so sparse that it is faster, predicted float32 / integers = 0.{{[0-9]+}}"
// CHECK: sq.conv {{.*}}sq.why = "integers: predicted float32 / integers = {{[1-9][0-9]*}}.{{[0-9]+}}"
// ALWAYS-LABEL: func.func @sparse(
// ALWAYS: sq.conv
// ALWAYS-NOT: sq.why
// ALWAYS: sq.conv
func.func @sparse(%x: tensor<1x64x28x28x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %z: tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x64x28x28xf32>, tensor<1x8x6x6xf32>) {
  %a = sq.dequantize %x : (tensor<1x64x28x28x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x64x28x28xf32>
  %c = nn.constant "single" : tensor<64x64x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<64x64x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<64x64x3x3xf32>
  %y = nn.conv %a, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x64x28x28xf32>, tensor<64x64x3x3xf32>) -> tensor<1x64x28x28xf32>
  %d = sq.dequantize %z : (tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x8x6x6xf32>
  %k = nn.constant "kept" : tensor<8x8x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %v = sq.dequantize %k : (tensor<8x8x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<8x8x3x3xf32>
  %u = nn.conv %d, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x6x6xf32>, tensor<8x8x3x3xf32>) -> tensor<1x8x6x6xf32>
  func.return %y, %u : tensor<1x64x28x28xf32>, tensor<1x8x6x6xf32>
}

// Signed activations become unsigned ones, but for arguments and results of a function,
// which keep their types: they are converted, the one that nobody reads is not.

// CHECK-LABEL: func.func @signed_ends(
// CHECK-SAME: %q: tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
// CHECK-SAME: -> (tensor<1x1x2x2xf32>, tensor<1x4x1x1x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>, tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>)
// CHECK-NEXT: %[[U:.*]] = sq.requantize %q : {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 129>>
// CHECK: %[[P:.*]] = nn.pool max %[[U]] {{.*}} -> tensor<1x4x1x1x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 129>>
// CHECK: sq.conv %[[U]],
// CHECK: %[[S:.*]] = sq.requantize %[[P]] : {{.*}} -> tensor<1x4x1x1x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
// CHECK: %[[A:.*]] = sq.requantize %[[U]] : {{.*}} -> tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
// CHECK: func.return %{{.*}}, %[[S]], %[[A]]
func.func @signed_ends(%q: tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>, %unread: tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> (tensor<1x1x2x2xf32>, tensor<1x4x1x1x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>, tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) {
  %a = sq.dequantize %q : (tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x4x2x2xf32>
  %p = nn.pool max %q {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>) -> tensor<1x4x1x1x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
  %c = nn.constant "w" : tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x4x1x1xf32>
  %y = nn.conv %a, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %y, %p, %q : tensor<1x1x2x2xf32>, tensor<1x4x1x1x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>, tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 1>>
}

// Between integer layers: what has no integer kernel says so, the last softmax is not
// between any.

// CHECK-LABEL: func.func @attention(
// CHECK: nn.matmul {{.*}}sq.why_float = "float32: there is no integer kernel of nn.matmul"
// CHECK-NEXT: nn.softmax {{.*}}sq.why_float = "float32: there is no integer kernel of nn.softmax"
// CHECK: nn.softmax
// CHECK-NOT: sq.why_float
// CHECK: func.return
func.func @attention(%x: tensor<8x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<8x32xf32> {
  %a = sq.dequantize %x : (tensor<8x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<8x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w : (tensor<8x8xf32>, tensor<32x8xf32>) -> tensor<8x32xf32>
  %t = nn.transpose %y {permutation = array<i64: 1, 0>} : (tensor<8x32xf32>) -> tensor<32x8xf32>
  %m = nn.matmul %y, %t : (tensor<8x32xf32>, tensor<32x8xf32>) -> tensor<8x8xf32>
  %s = nn.softmax %m {axis = 1 : i64, log = false} : (tensor<8x8xf32>) -> tensor<8x8xf32>
  %q = sq.quantize %s : (tensor<8x8xf32>) -> tensor<8x8x!sq.quant<ui8<0:255>, scale = 0.004, zero_point = 0>>
  %b = sq.dequantize %q : (tensor<8x8x!sq.quant<ui8<0:255>, scale = 0.004, zero_point = 0>>) -> tensor<8x8xf32>
  %z = nn.linear %b, %w : (tensor<8x8xf32>, tensor<32x8xf32>) -> tensor<8x32xf32>
  %r = nn.softmax %z {axis = 1 : i64, log = false} : (tensor<8x32xf32>) -> tensor<8x32xf32>
  func.return %r : tensor<8x32xf32>
}

// A reshape back to tokens says nothing, its readers do.

// CHECK-LABEL: func.func @tokens(
// CHECK-NOT: nn.reshape {{.*}}sq.why_float
// CHECK: nn.layer_norm {{.*}}sq.why_float = "float32: there is no kernel of nn.layer_norm on these bytes"
func.func @tokens(%x: tensor<6x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %s: tensor<8xf32>) -> (tensor<2x3x8xf32>, tensor<6x32xf32>) {
  %a = sq.dequantize %x : (tensor<6x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<6x8xf32>
  %r = nn.reshape %a : (tensor<6x8xf32>) -> tensor<2x3x8xf32>
  %n = nn.layer_norm %r, %s, %s {eps = 1.0e-05 : f64, normalized_rank = 1 : i64} : (tensor<2x3x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<2x3x8xf32>
  %c = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<32x8xf32>
  %y = nn.linear %a, %w : (tensor<6x8xf32>, tensor<32x8xf32>) -> tensor<6x32xf32>
  func.return %n, %y : tensor<2x3x8xf32>, tensor<6x32xf32>
}
