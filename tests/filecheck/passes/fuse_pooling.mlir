// RUN: edgec-opt %s -p fuse-pooling | filecheck %s

// Windows side by side: one op, at the place of the pooling.

// CHECK-LABEL: func.func @apart(
// CHECK-NEXT: %z = nn.unary relu %x
// CHECK-NEXT: %p = sq.dispatch {
// CHECK-NEXT:   %y = sq.conv %x, %w
// CHECK-NEXT:   %[[P:.*]] = nn.pool max %y
// CHECK-NEXT:   sq.yield %[[P]] : tensor<1x2x2x2xf32>
// CHECK-NEXT: } : tensor<1x2x2x2xf32>
// CHECK-NEXT: func.return %p, %z
func.func @apart(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>) -> (tensor<1x2x2x2xf32>, tensor<1x2x4x4xf32>) {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense", {filters = 2, vectors = 1, chunk = 1}>} : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
  %z = nn.unary relu %x : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
  %p = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
  func.return %p, %z : tensor<1x2x2x2xf32>, tensor<1x2x4x4xf32>
}

// Who else reads the convolution needs all of it.

// CHECK-LABEL: func.func @read_twice(
// CHECK-NOT: sq.dispatch
// CHECK: nn.pool
func.func @read_twice(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>) -> (tensor<1x2x2x2xf32>, tensor<1x2x4x4xf32>) {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense", {filters = 2, vectors = 1, chunk = 1}>} : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
  %p = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
  func.return %p, %y : tensor<1x2x2x2xf32>, tensor<1x2x4x4xf32>
}

// A layout of the result with gaps stays the layout of the whole.

// CHECK-LABEL: func.func @gaps(
// CHECK: %p = sq.dispatch {
// CHECK: } : tensor<1x2x2x2xf32, #sq.lane<pitch = 3, plane = 16, origin = 16, phase = [1, 1]>>
func.func @gaps(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>) {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense", {filters = 2, vectors = 1, chunk = 1}>} : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
  %p = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32, #sq.lane<pitch = 3, plane = 16, origin = 16, phase = [1, 1]>>
  func.return
}
