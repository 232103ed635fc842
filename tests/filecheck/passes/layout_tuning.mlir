// RUN: edgec-opt %s -p 'layout-tuning{lanes=16 registers=32}' --split-input-file | filecheck %s
// RUN: edgec-opt %s -p 'layout-tuning{lanes=16 registers=32 separate=false}' --split-input-file | filecheck %s --check-prefix=TIED

// Rows end in one zero column, which is the left padding of the next row too. The
// caller's input is copied into that layout, the result back out of it.

// CHECK-LABEL: func.func @padding_lies_in_the_gaps(
// CHECK: %[[X:.*]] = sq.convert_layout %x : (tensor<1x2x7x7xf32>) -> tensor<1x2x7x7xf32, #sq.lane<pitch = 8, plane = 80, origin = 16, phase = [1, 1]>>
// CHECK: %[[Y:.*]] = sq.conv %[[X]], %{{.*}}kernel = #sq.kernel<"dense", {chunk = {{[0-9]+}}, filters = {{[0-9]+}}, vectors = {{[0-9]+}}}>{{.*}} -> tensor<1x4x7x7xf32, #sq.lane<pitch = 8, plane = 64, origin = 0, phase = [1, 1]>>
// CHECK: %[[R:.*]] = sq.convert_layout %[[Y]] : {{.*}} -> tensor<1x4x7x7xf32>
// CHECK: func.return %[[R]]
func.func @padding_lies_in_the_gaps(%x: tensor<1x2x7x7xf32>) -> tensor<1x4x7x7xf32> {
  %w = nn.constant "w" : tensor<4x2x3x3xf32>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x7x7xf32>, tensor<4x2x3x3xf32> -> tensor<1x4x7x7xf32>
  func.return %y : tensor<1x4x7x7xf32>
}

// -----

// A residual and both convolutions around it share the longest pitch (5 + 2).

// CHECK-LABEL: func.func @one_pitch_per_group(
// CHECK: sq.conv {{.*}} -> tensor<1x2x5x5xf32, #sq.lane<pitch = 7, {{.*}}>>
// CHECK: sq.conv {{.*}}extras(%{{.*}} : tensor<1x2x5x5xf32, #sq.lane<pitch = 7, {{.*}} -> tensor<1x2x5x5xf32, #sq.lane<pitch = 7, {{.*}}>>
func.func @one_pitch_per_group(%x: tensor<1x2x5x5xf32>) -> tensor<1x2x5x5xf32> {
  %w = nn.constant "w" : tensor<2x2x1x1xf32>
  %v = nn.constant "v" : tensor<2x2x5x5xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x5x5xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x5x5xf32>
  %1 = sq.conv %0, %v extras(%0 : tensor<1x2x5x5xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 2, 2>, padding_high = array<i64: 2, 2>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0>], kernel = #sq.kernel<"dense">} : tensor<1x2x5x5xf32>, tensor<2x2x5x5xf32> -> tensor<1x2x5x5xf32>
  func.return %1 : tensor<1x2x5x5xf32>
}

// -----

// A stride reads phases, split from the caller's input in one copy that two convolutions
// share.

// CHECK-LABEL: func.func @phases(
// CHECK-NEXT: %[[P:.*]] = sq.convert_layout %x : {{.*}}phase = [2, 2]>>
// CHECK-NOT: sq.convert_layout %x
// CHECK: sq.conv %[[P]], %{{.*}}stride = array<i64: 2, 2>
// CHECK: sq.conv %[[P]], %{{.*}}stride = array<i64: 2, 2>
func.func @phases(%x: tensor<1x2x8x8xf32>) -> (tensor<1x2x4x4xf32>, tensor<1x2x4x4xf32>) {
  %w = nn.constant "w" : tensor<2x2x3x3xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 2, 2>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32> -> tensor<1x2x4x4xf32>
  %1 = sq.conv %x, %w {stride = array<i64: 2, 2>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"relu">], kernel = #sq.kernel<"dense">} : tensor<1x2x8x8xf32>, tensor<2x2x3x3xf32> -> tensor<1x2x4x4xf32>
  func.return %0, %1 : tensor<1x2x4x4xf32>, tensor<1x2x4x4xf32>
}

// -----

// A depthwise convolution reads every second input itself.

// CHECK-LABEL: func.func @depthwise_is_not_split(
// CHECK-NOT: phase = [2, 2]
// CHECK: kernel = #sq.kernel<"depthwise", {vectors = 4}>
func.func @depthwise_is_not_split(%x: tensor<1x2x8x8xf32>) -> tensor<1x2x4x4xf32> {
  %w = nn.constant "w" : tensor<2x1x3x3xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 2, 2>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 2 : i64, epilogue = [], kernel = #sq.kernel<"depthwise">} : tensor<1x2x8x8xf32>, tensor<2x1x3x3xf32> -> tensor<1x2x4x4xf32>
  func.return %0 : tensor<1x2x4x4xf32>
}

// -----

// Without padding rows need no gaps: the result goes to the caller as it is.

// CHECK-LABEL: func.func @pointwise(
// CHECK: sq.conv {{.*}} -> tensor<1x2x4x4xf32>
// CHECK-NEXT: func.return
func.func @pointwise(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %w = nn.constant "w" : tensor<2x2x1x1xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
  func.return %0 : tensor<1x2x4x4xf32>
}

// -----

// Nothing to do: no convolution, or one of another rank.

// CHECK-LABEL: func.func @nothing(
// CHECK-NEXT: nn.unary relu
// CHECK-NEXT: nn.constant
// CHECK-NEXT: sq.conv {{.*}}epilogue = []}
// CHECK-NEXT: func.return
func.func @nothing(%x: tensor<1x2x4x4xf32>, %z: tensor<1x1x6xf32>) -> (tensor<1x2x4x4xf32>, tensor<1x2x4xf32>) {
  %0 = nn.unary relu %x : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %v = nn.constant "v" : tensor<2x1x3xf32>
  %1 = sq.conv %z, %v {stride = array<i64: 1>, padding_low = array<i64: 0>, padding_high = array<i64: 0>, dilation = array<i64: 1>, groups = 1 : i64, epilogue = []} : tensor<1x1x6xf32>, tensor<2x1x3xf32> -> tensor<1x2x4xf32>
  func.return %0, %1 : tensor<1x2x4x4xf32>, tensor<1x2x4xf32>
}

// -----

// Rows of 4 in rows of 8: the gaps are closed before the reshape.

// CHECK-LABEL: func.func @reshape_between_gaps(
// CHECK: %[[Y:.*]] = sq.conv {{.*}} -> tensor<1x2x4x4xf32, #sq.lane<{{.*}}>>
// CHECK: %[[P:.*]] = sq.convert_layout %[[Y]] : {{.*}} -> tensor<1x2x4x4xf32>
// CHECK: nn.reshape %[[P]] : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x8xf32, #sq.lane<{{.*}}>>
func.func @reshape_between_gaps(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x8xf32> {
  %w = nn.constant "w" : tensor<2x2x3x3xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x4x4xf32>, tensor<2x2x3x3xf32> -> tensor<1x2x4x4xf32>
  %1 = nn.reshape %0 : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x8xf32>
  %2 = sq.conv %1, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x2x8xf32>, tensor<2x2x3x3xf32> -> tensor<1x2x2x8xf32>
  func.return %2 : tensor<1x2x2x8xf32>
}

// -----

// Slices end in one zero row, which is the upper padding of the next slice too; zero
// slices before the first plane and after each one are the padding in depth. With 5x6x7
// elements, the plane is (4 * 7 + 6 + 8) rows of 8 and 1 element, in whole cache lines.

// CHECK-LABEL: func.func @slabs(
// CHECK: %[[X:.*]] = sq.convert_layout %x : {{.*}} -> tensor<1x2x5x6x7xf32, #sq.lane<pitch = 8, slab = 7, plane = 352, origin = 80, phase = [1, 1, 1]>>
// CHECK: %[[Y:.*]] = sq.conv %[[X]], {{.*}} -> tensor<1x4x5x6x7xf32, #sq.lane<pitch = 8, slab = 7, plane = 272, origin = 0, phase = [1, 1, 1]>>
func.func @slabs(%x: tensor<1x2x5x6x7xf32>) -> tensor<1x4x5x6x7xf32> {
  %w = nn.constant "w" : tensor<4x2x3x3x3xf32>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1, 1>, padding_low = array<i64: 1, 1, 1>, padding_high = array<i64: 1, 1, 1>, dilation = array<i64: 1, 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x2x5x6x7xf32>, tensor<4x2x3x3x3xf32> -> tensor<1x4x5x6x7xf32>
  func.return %y : tensor<1x4x5x6x7xf32>
}

// -----

// A stride in time only splits slices; a depthwise convolution with depth is split too.

// CHECK-LABEL: func.func @phases_with_depth(
// CHECK: sq.convert_layout %x : {{.*}}phase = [2, 1, 1]>>
// CHECK: kernel = #sq.kernel<"depthwise", {vectors = 4}>
func.func @phases_with_depth(%x: tensor<1x2x6x4x4xf32>) -> tensor<1x2x3x4x4xf32> {
  %w = nn.constant "w" : tensor<2x1x3x1x1xf32>
  %y = sq.conv %x, %w {stride = array<i64: 2, 1, 1>, padding_low = array<i64: 1, 0, 0>, padding_high = array<i64: 1, 0, 0>, dilation = array<i64: 1, 1, 1>, groups = 2 : i64, epilogue = [], kernel = #sq.kernel<"depthwise">} : tensor<1x2x6x4x4xf32>, tensor<2x1x3x1x1xf32> -> tensor<1x2x3x4x4xf32>
  func.return %y : tensor<1x2x3x4x4xf32>
}

// -----

// The last convolution needs 3 zeros after each row. It reads a copy with a pitch of 10,
// since 43 % more positions would cost the others more; they keep rows of 7.

// CHECK-LABEL: func.func @pitches_of_their_own(
// CHECK: %[[A:.*]] = sq.conv {{.*}} -> tensor<1x512x7x7xf32>
// CHECK: %[[B:.*]] = sq.conv %[[A]], {{.*}} -> tensor<1x8x7x7xf32>
// CHECK: %[[C:.*]] = sq.convert_layout %[[B]] : {{.*}} -> tensor<1x8x7x7xf32, #sq.lane<pitch = 10, {{.*}}>>
// CHECK: sq.conv %[[C]], {{.*}} -> tensor<1x8x7x7xf32, #sq.lane<pitch = 10, {{.*}}>>
// TIED-LABEL: func.func @pitches_of_their_own(
// TIED: sq.conv {{.*}} -> tensor<1x512x7x7xf32, #sq.lane<pitch = 10, {{.*}}>>
// TIED-NEXT: sq.conv {{.*}} -> tensor<1x8x7x7xf32, #sq.lane<pitch = 10, {{.*}}>>
// TIED-NEXT: sq.conv {{.*}} -> tensor<1x8x7x7xf32, #sq.lane<pitch = 10, {{.*}}>>
func.func @pitches_of_their_own(%x: tensor<1x512x7x7xf32>) -> tensor<1x8x7x7xf32> {
  %u = nn.constant "u" : tensor<512x512x1x1xf32>
  %v = nn.constant "v" : tensor<8x512x1x1xf32>
  %w = nn.constant "w" : tensor<8x8x3x3xf32>
  %0 = sq.conv %x, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x512x7x7xf32>, tensor<512x512x1x1xf32> -> tensor<1x512x7x7xf32>
  %1 = sq.conv %0, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x512x7x7xf32>, tensor<8x512x1x1xf32> -> tensor<1x8x7x7xf32>
  %2 = sq.conv %1, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 3, 3>, padding_high = array<i64: 3, 3>, dilation = array<i64: 3, 3>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense">} : tensor<1x8x7x7xf32>, tensor<8x8x3x3xf32> -> tensor<1x8x7x7xf32>
  func.return %2 : tensor<1x8x7x7xf32>
}
