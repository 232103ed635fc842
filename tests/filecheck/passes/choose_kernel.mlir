// RUN: edgec-opt %s -p choose-kernel | filecheck %s
// RUN: edgec-opt %s -p 'choose-kernel{force=sparse}' | filecheck %s --check-prefix=FORCED

// One input channel per filter, with or without a multiplier.

// CHECK-LABEL: func.func @depthwise(
// CHECK: sq.conv {{.*}}kernel = #sq.kernel<"depthwise">
func.func @depthwise(%x: tensor<1x4x6x6xf32>) -> tensor<1x8x4x4xf32> {
  %w = nn.constant "dw" : tensor<8x1x3x3xf32>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64, epilogue = []} : tensor<1x4x6x6xf32>, tensor<8x1x3x3xf32> -> tensor<1x8x4x4xf32>
  func.return %y : tensor<1x8x4x4xf32>
}

// One group of one channel is an ordinary convolution, and so are several channels.

// CHECK-LABEL: func.func @dense(
// CHECK: sq.conv {{.*}}kernel = #sq.kernel<"dense">
// CHECK: sq.conv {{.*}}kernel = #sq.kernel<"dense">
func.func @dense(%x: tensor<1x1x6x6xf32>) -> tensor<1x8x4x4xf32> {
  %w = nn.constant "w" : tensor<8x1x3x3xf32>
  %v = nn.constant "v" : tensor<8x4x1x1xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x1x6x6xf32>, tensor<8x1x3x3xf32> -> tensor<1x8x4x4xf32>
  %1 = sq.conv %0, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64, epilogue = []} : tensor<1x8x4x4xf32>, tensor<8x4x1x1xf32> -> tensor<1x8x4x4xf32>
  func.return %1 : tensor<1x8x4x4xf32>
}

// Few kernels are kept: the sparse kernel wins and the encoding stays.

// CHECK-LABEL: func.func @sparse_wins(
// CHECK: %[[W:.*]] = sq.weight
// CHECK: sq.conv %{{.*}}, %[[W]] {sq.why = "pattern kernel: predicted dense / sparse = {{[0-9.]+}}"{{.*}}kernel = #sq.kernel<"pattern">
func.func @sparse_wins(%x: tensor<1x64x32x32xf32>) -> tensor<1x64x32x32xf32> {
  %w = sq.weight {index = "i", offset = "o", pattern = "p", reorder = "r", weight = "w"} : tensor<64x64x3x3xf32, #sq.pattern<patterns = [[0, 1, 3, 4]], kernels = 256, ordered = false>>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x64x32x32xf32>, tensor<64x64x3x3xf32, #sq.pattern<patterns = [[0, 1, 3, 4]], kernels = 256, ordered = false>> -> tensor<1x64x32x32xf32>
  func.return %y : tensor<1x64x32x32xf32>
}

// Nothing to do: a kernel that is chosen stays.

// CHECK-LABEL: func.func @leaves_alone(
// CHECK: sq.conv {{.*}}kernel = #sq.kernel<"dense", {chunk = 1, filters = 2, vectors = 1}>
// FORCED-LABEL: func.func @leaves_alone(
// FORCED: sq.conv {{.*}}kernel = #sq.kernel<"dense", {chunk = 1, filters = 2, vectors = 1}>
func.func @leaves_alone(%x: tensor<1x1x6x6xf32>) -> tensor<1x2x4x4xf32> {
  %w = nn.constant "w2" : tensor<2x1x3x3xf32>
  %0 = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [], kernel = #sq.kernel<"dense", {chunk = 1, filters = 2, vectors = 1}>} : tensor<1x1x6x6xf32>, tensor<2x1x3x3xf32> -> tensor<1x2x4x4xf32>
  func.return %0 : tensor<1x2x4x4xf32>
}
