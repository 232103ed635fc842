// RUN: edgec-opt %s -p fuse | filecheck %s

// Where two products end in a sum, the later one takes it and the rest of the chain.

// CHECK-LABEL: func.func @residual_block(
// CHECK: %[[SHORT:.*]] = sq.linear %{{.*}}, %{{.*}} {nn.path = "short", epilogue = []}
// CHECK-NEXT: %[[Y:.*]] = sq.linear %{{.*}}, %{{.*}} extras(%[[SHORT]] : tensor<3x4xf32>) {nn.path = "main", epilogue = [#sq.step<"add", operand = 0, swap>, #sq.step<"relu">]}
// CHECK-NEXT: func.return %[[Y]]
func.func @residual_block(%x: tensor<3x4xf32>, %w: tensor<4x4xf32>) -> tensor<3x4xf32> {
  %a = nn.linear %x, %w {nn.path = "short"} : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  %b = nn.linear %x, %w {nn.path = "main"} : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  %s = nn.binary add %a, %b : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %r = nn.unary relu %s : (tensor<3x4xf32>) -> tensor<3x4xf32>
  func.return %r : tensor<3x4xf32>
}

// Extra operands per channel are brought to one form, and the reason that an earlier
// pass left on the convolution stays there.

// CHECK-LABEL: func.func @per_channel(
// CHECK: %[[S:.*]] = nn.constant dense<{{\[\[\[\[}}1.000000e+00]], {{\[\[}}2.000000e+00]]]]> : tensor<1x2x1x1xf32>
// CHECK: %[[T:.*]] = nn.constant dense<3.000000e+00> : tensor<1x2x1x1xf32>
// CHECK: sq.conv %{{.*}}, %{{.*}} bias(%{{.*}} : tensor<2xf32>) extras(%[[S]], %[[T]] : tensor<1x2x1x1xf32>, tensor<1x2x1x1xf32>) {sq.why = "dense", {{.*}}epilogue = [#sq.step<"mul", operand = 0, swap>, #sq.step<"sub", operand = 1>, #sq.step<"clamp", params = [0.0, 6.0]>]}
// CHECK-NEXT: func.return
func.func @per_channel(%x: tensor<1x2x4x4xf32>, %w: tensor<2x1x1x1xf32>, %b: tensor<2xf32>) -> tensor<1x2x4x4xf32> {
  %s = nn.constant dense<[[[1.0]], [[2.0]]]> : tensor<2x1x1xf32>
  %t = nn.constant dense<3.0> : tensor<f32>
  %y = nn.conv %x, %w, %b {sq.why = "dense", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x2x4x4xf32>, tensor<2x1x1x1xf32>, tensor<2xf32>) -> tensor<1x2x4x4xf32>
  %0 = nn.binary mul %s, %y : (tensor<2x1x1xf32>, tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %1 = nn.binary sub %0, %t : (tensor<1x2x4x4xf32>, tensor<f32>) -> tensor<1x2x4x4xf32>
  %2 = nn.unary clamp %1 {params = array<f64: 0.0, 6.0>} : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  func.return %2 : tensor<1x2x4x4xf32>
}

// A number per column of a linear layer; one that is computed is broadcast.

// CHECK-LABEL: func.func @per_column(
// CHECK: %[[R:.*]] = nn.reshape %a : (tensor<1x1xf32>) -> tensor<1xf32>
// CHECK: %[[B:.*]] = nn.broadcast %[[R]] : (tensor<1xf32>) -> tensor<5xf32>
// CHECK: sq.linear %{{.*}}, %{{.*}} extras(%[[B]] : tensor<5xf32>)
func.func @per_column(%x: tensor<3x4xf32>, %w: tensor<5x4xf32>, %a: tensor<1x1xf32>) -> tensor<3x5xf32> {
  %y = nn.linear %x, %w : (tensor<3x4xf32>, tensor<5x4xf32>) -> tensor<3x5xf32>
  %z = nn.binary max %y, %a : (tensor<3x5xf32>, tensor<1x1xf32>) -> tensor<3x5xf32>
  func.return %z : tensor<3x5xf32>
}

// A value per position is no channel: the sum is an op of its own.

// CHECK-LABEL: func.func @per_position(
// CHECK: %[[Y:.*]] = sq.conv {{.*}}epilogue = []
// CHECK: sq.elementwise %[[Y]] extras(%{{.*}} : tensor<4x4xf32>) {epilogue = [#sq.step<"add", operand = 0>]}
func.func @per_position(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>, %p: tensor<4x4xf32>) -> tensor<1x2x4x4xf32> {
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x4x4xf32>
  %z = nn.binary add %y, %p : (tensor<1x2x4x4xf32>, tensor<4x4xf32>) -> tensor<1x2x4x4xf32>
  func.return %z : tensor<1x2x4x4xf32>
}

// The gate of squeeze-and-excitation: its input is read twice, so it is a value.

// CHECK-LABEL: func.func @gate(
// CHECK: %[[X:.*]] = sq.conv
// CHECK: %[[P:.*]] = nn.reduce mean %[[X]]
// CHECK: %[[G:.*]] = sq.conv %[[P]]{{.*}}epilogue = [#sq.step<"sigmoid">]
// CHECK: sq.elementwise %[[X]] extras(%[[G]] : tensor<1x2x1x1xf32>) {epilogue = [#sq.step<"mul", operand = 0>]}
func.func @gate(%i: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>) -> tensor<1x2x4x4xf32> {
  %x = nn.conv %i, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x4x4xf32>
  %p = nn.reduce mean %x {axes = array<i64: 2, 3>, keep_dims = true} : (tensor<1x2x4x4xf32>) -> tensor<1x2x1x1xf32>
  %c = nn.conv %p, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  %g = nn.unary sigmoid %c : (tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  %y = nn.binary mul %x, %g : (tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32>) -> tensor<1x2x4x4xf32>
  func.return %y : tensor<1x2x4x4xf32>
}

// Without a product: one op, the same value as both operands, a broadcast of both.

// CHECK-LABEL: func.func @elementwise(
// CHECK-NEXT: %[[A:.*]] = sq.elementwise %x extras(%x : tensor<3x1xf32>) {epilogue = [#sq.step<"mul", operand = 0>, #sq.step<"exp">]}
// CHECK-NEXT: sq.elementwise %[[A]] extras(%y : tensor<1x4xf32>) {epilogue = [#sq.step<"pow", operand = 0>]} : tensor<3x1xf32> -> tensor<3x4xf32>
func.func @elementwise(%x: tensor<3x1xf32>, %y: tensor<1x4xf32>) -> tensor<3x4xf32> {
  %0 = nn.binary mul %x, %x : (tensor<3x1xf32>, tensor<3x1xf32>) -> tensor<3x1xf32>
  %1 = nn.unary exp %0 : (tensor<3x1xf32>) -> tensor<3x1xf32>
  %2 = nn.binary pow %1, %y : (tensor<3x1xf32>, tensor<1x4xf32>) -> tensor<3x4xf32>
  func.return %2 : tensor<3x4xf32>
}

// Nothing to do: integers.

// CHECK-LABEL: func.func @integers(
// CHECK-NEXT: nn.binary add
// CHECK-NEXT: func.return
func.func @integers(%x: tensor<3xi64>) -> tensor<3xi64> {
  %0 = nn.binary add %x, %x : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>
  func.return %0 : tensor<3xi64>
}

// A scale and a mask after a matrix product; the softmax takes many elements for each
// of its own and stays.

// CHECK-LABEL: func.func @attention(
// CHECK: %[[S:.*]] = nn.constant dense<5.000000e-01> : tensor<f32>
// CHECK-NEXT: %[[P:.*]] = sq.matmul %q, %k extras(%[[S]], %m : tensor<f32>, tensor<3x3xf32>) {epilogue = [#sq.step<"mul", operand = 0>, #sq.step<"add", operand = 1>]}
// CHECK-NEXT: %[[W:.*]] = nn.softmax %[[P]]
// CHECK-NEXT: sq.matmul %[[W]], %v {epilogue = []}
func.func @attention(%q: tensor<2x3x4xf32>, %k: tensor<2x4x3xf32>, %v: tensor<2x3x4xf32>, %m: tensor<3x3xf32>) -> tensor<2x3x4xf32> {
  %s = nn.constant dense<0.5> : tensor<f32>
  %0 = nn.matmul %q, %k : (tensor<2x3x4xf32>, tensor<2x4x3xf32>) -> tensor<2x3x3xf32>
  %1 = nn.binary mul %0, %s : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %2 = nn.binary add %1, %m : (tensor<2x3x3xf32>, tensor<3x3xf32>) -> tensor<2x3x3xf32>
  %3 = nn.softmax %2 {axis = 2 : i64, log = false} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %4 = nn.matmul %3, %v : (tensor<2x3x3xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  func.return %4 : tensor<2x3x4xf32>
}

// A linear layer on integers ends in bytes, and reads extra operands in bytes then.

// CHECK-LABEL: func.func @integer_linear(
// CHECK-NEXT: %[[Y:.*]] = sq.linear %x, %w extras(%x : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {epilogue = [#sq.step<"add", operand = 0>, #sq.step<"relu">]} : {{.*}} -> tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK: func.return %[[Y]]
func.func @integer_linear(%x: tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x4xf32>
  %e = sq.dequantize %x : (tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x4xf32>
  %s = nn.binary add %y, %e : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %r = nn.unary relu %s : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %q = sq.quantize %r : (tensor<2x4xf32>) -> tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// If its result stays float32, so do they.

// CHECK-LABEL: func.func @linear_to_float(
// CHECK-NEXT: %[[E:.*]] = sq.dequantize %x
// CHECK-NEXT: sq.linear %x, %w extras(%[[E]] : tensor<2x4xf32>) {epilogue = [#sq.step<"add", operand = 0>]}
func.func @linear_to_float(%x: tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<2x4xf32> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x4xf32>
  %e = sq.dequantize %x : (tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x4xf32>
  %s = nn.binary add %y, %e : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %s : tensor<2x4xf32>
}

// Steps on matrices read bytes if they make bytes, else numbers.

// CHECK-LABEL: func.func @matrices(
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %x
// CHECK-NEXT: %[[S:.*]] = sq.elementwise %x extras(%z : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) {epilogue = [#sq.step<"add", operand = 0>, #sq.step<"relu">]} : {{.*}} -> tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: %[[T:.*]] = sq.elementwise %[[A]] {epilogue = [#sq.step<"tanh">]} : tensor<2x4xf32> -> tensor<2x4xf32>
func.func @matrices(%x: tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %z: tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) -> (tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<2x4xf32>) {
  %a = sq.dequantize %x : (tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x4xf32>
  %b = sq.dequantize %z : (tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) -> tensor<2x4xf32>
  %s = nn.binary add %a, %b : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
  %r = nn.unary relu %s : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %q = sq.quantize %r : (tensor<2x4xf32>) -> tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %t = nn.unary tanh %a : (tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %q, %t : tensor<2x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<2x4xf32>
}

// A depthwise layer on integers takes its steps, and the bytes after them.

// CHECK-LABEL: func.func @integer_depthwise(
// CHECK-NEXT: %[[Y:.*]] = sq.conv %x, %w {nn.path = "dw", {{.*}}groups = 4 : i64, epilogue = [#sq.step<"relu">]} : {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK-NEXT: func.return %[[Y]]
func.func @integer_depthwise(%x: tensor<1x4x3x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
  %y = sq.conv %x, %w {nn.path = "dw", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64, epilogue = []} : tensor<1x4x3x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x1x2x2x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x4x2x2xf32>
  %r = nn.unary relu %y : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32>
  %q = sq.quantize %r : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %q : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// So does a linear layer whose weight is integers of 4 bits next to float32 numbers, but
// its result stays float32.

// CHECK-LABEL: func.func @weight_only(
// CHECK-NEXT: %[[Y:.*]] = sq.linear %x, %w {{.*}}epilogue = [#sq.step<"relu">]} : tensor<1x8xf32>, tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>> -> tensor<1x3xf32>
// CHECK-NEXT: func.return %[[Y]]
func.func @weight_only(%x: tensor<1x8xf32>, %w: tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<1x3xf32> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<1x8xf32>, tensor<3x8x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>> -> tensor<1x3xf32>
  %r = nn.unary relu %y : (tensor<1x3xf32>) -> tensor<1x3xf32>
  func.return %r : tensor<1x3xf32>
}
