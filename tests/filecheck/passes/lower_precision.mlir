// RUN: edgec-opt %s -p lower-precision | filecheck %s
// RUN: edgec-opt %s -p 'lower-precision{precision=auto}' | filecheck %s --check-prefix=AUTO

// Between two layers, and through a maximum, tensors hold bf16; a residual is read so.
// A layer without a kernel stays in float32. Nothing of it is faster here.

// CHECK-LABEL: func.func @chain(
// CHECK: %[[X:.*]] = nn.cast %x : (tensor<1x4x4x4xf32>) -> tensor<1x4x4x4xbf16>
// CHECK: %[[Y:.*]] = sq.conv %[[X]], %w {{.*}}nn.path = "first"{{.*}}sq.why_precision = "bfloat16: predicted {{.*}} times as fast, error {{.*}}"{{.*}} -> tensor<1x4x4x4xbf16>
// CHECK: %[[P:.*]] = nn.pool max %[[Y]] {{.*}} : (tensor<1x4x4x4xbf16>) -> tensor<1x4x4x4xbf16>
// CHECK: %[[Z:.*]] = sq.conv %[[P]], %w extras(%[[Y]] : tensor<1x4x4x4xbf16>) {{.*}} -> tensor<1x4x4x4xf32>
// CHECK: sq.conv %[[Z]], %d {{.*}}sq.why_precision = "float32: grouped convolutions have no kernel in bfloat16"
// AUTO-LABEL: func.func @chain(
// AUTO-NOT: bf16
// AUTO: sq.why_precision = "float32: bfloat16 predicted {{.*}} times as fast, before casts"
// AUTO-NOT: bf16
// AUTO: func.return
func.func @chain(%x: tensor<1x4x4x4xf32>) -> tensor<1x4x4x4xf32> {
  %w = nn.constant dense<0.3> : tensor<4x4x1x1xf32>
  %d = nn.constant dense<0.3> : tensor<4x1x1x1xf32>
  %y = sq.conv %x, %w {nn.path = "first", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"relu">]} : tensor<1x4x4x4xf32>, tensor<4x4x1x1xf32> -> tensor<1x4x4x4xf32>
  %p = nn.pool max %y {kernel = array<i64: 3, 3>, stride = array<i64: 1, 1>, padding = array<i64: 1, 1>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x4x4xf32>) -> tensor<1x4x4x4xf32>
  %z = sq.conv %p, %w extras(%y : tensor<1x4x4x4xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0>]} : tensor<1x4x4x4xf32>, tensor<4x4x1x1xf32> -> tensor<1x4x4x4xf32>
  %r = sq.conv %z, %d {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64, epilogue = []} : tensor<1x4x4x4xf32>, tensor<4x1x1x1xf32> -> tensor<1x4x4x4xf32>
  func.return %r : tensor<1x4x4x4xf32>
}

// A slice of positions is read in bf16, one of channels is not.

// CHECK-LABEL: func.func @slices(
// CHECK: %[[Y:.*]] = sq.conv %{{.*}} -> tensor<1x4x4x4xbf16>
// CHECK: %[[S:.*]] = nn.slice %[[Y]] {{.*}} -> tensor<1x4x2x2xbf16>
// CHECK: sq.conv %[[S]], %w
// CHECK: %[[F:.*]] = nn.slice %{{.*}} : (tensor<1x4x4x4xf32>) -> tensor<1x2x4x4xf32>
// CHECK: nn.cast %[[F]]
func.func @slices(%x: tensor<1x4x4x4xf32>) -> (tensor<1x4x2x2xf32>, tensor<1x4x4x4xf32>) {
  %w = nn.constant dense<0.3> : tensor<4x4x1x1xf32>
  %v = nn.constant dense<0.3> : tensor<4x2x1x1xf32>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x4x4xf32>, tensor<4x4x1x1xf32> -> tensor<1x4x4x4xf32>
  %s = nn.slice %y {starts = array<i64: 0, 0, 0, 0>, steps = array<i64: 1, 1, 2, 2>} : (tensor<1x4x4x4xf32>) -> tensor<1x4x2x2xf32>
  %z = sq.conv %s, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xf32>
  %f = nn.slice %y {starts = array<i64: 0, 1, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : (tensor<1x4x4x4xf32>) -> tensor<1x2x4x4xf32>
  %r = sq.conv %f, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x2x4x4xf32>, tensor<4x2x1x1xf32> -> tensor<1x4x4x4xf32>
  func.return %z, %r : tensor<1x4x2x2xf32>, tensor<1x4x4x4xf32>
}

// Layers side by side share the cast of their input, and their results stand side by
// side in bf16 if all but the last have pairs of channels. An odd result is float32.

// CHECK-LABEL: func.func @branches(
// CHECK: %[[X:.*]] = nn.cast %x
// CHECK-NOT: nn.cast %x
// CHECK: %[[Y:.*]] = sq.conv %[[X]], %w {{.*}} -> tensor<1x2x4x4xbf16>
// CHECK: %[[Z:.*]] = sq.conv %[[X]], %w {{.*}} -> tensor<1x2x4x4xbf16>
// CHECK: %[[C:.*]] = nn.concat %[[Y]], %[[Z]] {{.*}} -> tensor<1x4x4x4xbf16>
// CHECK: sq.conv %[[C]], %v {{.*}} -> tensor<1x3x4x4xf32>
func.func @branches(%x: tensor<1x4x4x4xf32>) -> tensor<1x3x4x4xf32> {
  %w = nn.constant dense<0.3> : tensor<2x4x1x1xf32>
  %v = nn.constant dense<0.3> : tensor<3x4x1x1xf32>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x4x4xf32>, tensor<2x4x1x1xf32> -> tensor<1x2x4x4xf32>
  %z = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x4x4xf32>, tensor<2x4x1x1xf32> -> tensor<1x2x4x4xf32>
  %c = nn.concat %y, %z {axis = 1 : i64} : (tensor<1x2x4x4xf32>, tensor<1x2x4x4xf32>) -> tensor<1x4x4x4xf32>
  %r = sq.conv %c, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x4x4xf32>, tensor<3x4x1x1xf32> -> tensor<1x3x4x4xf32>
  func.return %r : tensor<1x3x4x4xf32>
}

// Linear layers have their rows in one dimension, and bf16 between them; so has an extra
// operand. A result of an odd size is float32.

// CHECK-LABEL: func.func @rows(
// CHECK: %[[R:.*]] = nn.reshape %x : (tensor<2x3x4xf32>) -> tensor<6x4xf32>
// CHECK: %[[X:.*]] = nn.cast %[[R]] : (tensor<6x4xf32>) -> tensor<6x4xbf16>
// CHECK: %[[Y:.*]] = sq.linear %[[X]], %w {{.*}}nn.path = "first"{{.*}}sq.why_precision = "bfloat16: predicted {{.*}} times as fast, error {{.*}}"{{.*}} : tensor<6x4xbf16>, tensor<4x4xf32> -> tensor<6x4xbf16>
// CHECK: %[[E:.*]] = nn.reshape %x : (tensor<2x3x4xf32>) -> tensor<6x4xf32>
// CHECK: %[[Z:.*]] = sq.linear %[[Y]], %w extras(%s, %[[E]] : tensor<4xf32>, tensor<6x4xf32>) {{.*}} -> tensor<6x4xbf16>
// CHECK: %[[V:.*]] = sq.linear %[[Z]], %v {{.*}} : tensor<6x4xbf16>, tensor<3x4xf32> -> tensor<6x3xf32>
// CHECK: nn.reshape %[[V]] : (tensor<6x3xf32>) -> tensor<2x3x3xf32>
func.func @rows(%x: tensor<2x3x4xf32>, %s: tensor<4xf32>) -> tensor<2x3x3xf32> {
  %w = nn.constant dense<0.3> : tensor<4x4xf32>
  %v = nn.constant dense<0.3> : tensor<3x4xf32>
  %y = sq.linear %x, %w {nn.path = "first", epilogue = [#sq.step<"relu">]} : tensor<2x3x4xf32>, tensor<4x4xf32> -> tensor<2x3x4xf32>
  %z = sq.linear %y, %w extras(%s, %x : tensor<4xf32>, tensor<2x3x4xf32>) {epilogue = [#sq.step<"mul", operand = 0>, #sq.step<"add", operand = 1>]} : tensor<2x3x4xf32>, tensor<4x4xf32> -> tensor<2x3x4xf32>
  %r = sq.linear %z, %v {epilogue = []} : tensor<2x3x4xf32>, tensor<3x4xf32> -> tensor<2x3x3xf32>
  func.return %r : tensor<2x3x3xf32>
}

// What follows a layer by itself reads float32; these have no kernel.

// CHECK-LABEL: func.func @float_rows(
// CHECK: sq.linear {{.*}} : tensor<6x4xbf16>, tensor<4x4xf32> -> tensor<6x4xf32>
// CHECK: sq.linear {{.*}}sq.why_precision = "float32: an extra operand has a number for several rows"
// CHECK: sq.linear {{.*}}sq.why_precision = "float32: its weight is computed"
func.func @float_rows(%x: tensor<2x3x4xf32>, %e: tensor<2x1x4xf32>, %u: tensor<4x4xf32>) -> tensor<2x3x4xf32> {
  %w = nn.constant dense<0.3> : tensor<4x4xf32>
  %y = sq.linear %x, %w {epilogue = []} : tensor<2x3x4xf32>, tensor<4x4xf32> -> tensor<2x3x4xf32>
  %z = sq.linear %y, %w extras(%e : tensor<2x1x4xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x3x4xf32>, tensor<4x4xf32> -> tensor<2x3x4xf32>
  %r = sq.linear %z, %u {epilogue = []} : tensor<2x3x4xf32>, tensor<4x4xf32> -> tensor<2x3x4xf32>
  func.return %r : tensor<2x3x4xf32>
}
