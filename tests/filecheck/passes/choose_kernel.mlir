// RUN: python %S/Inputs/integer_weights.py %t.safetensors
// RUN: edgec-opt %s --weights %t.safetensors -p choose-kernel | filecheck %s
// RUN: edgec-opt %s --weights %t.safetensors -p 'choose-kernel{bounded=true}' | filecheck %s --check-prefix=BOUNDED
// RUN: edgec-opt %s --weights %t.safetensors -p 'choose-kernel{force=sparse}' | filecheck %s --check-prefix=FORCED
// RUN: edgec-opt %s --weights %t.safetensors -p 'choose-kernel{lanes=16 registers=32 pair-tiles=true}' | filecheck %s --check-prefix=TILES

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

// Layers on integers have one family each. A convolution says what blocks of filters
// keep: of 2 times 9 columns of 4 channels, one for the first 4 filters. Where pairs of
// products must fit 16 bits, it is a wide one: two weights of a pair sum to 200.

// CHECK-LABEL: func.func @integers(
// CHECK: sq.conv {{.*}}sq.kept_columns = {"4" = 1 : i64, "8" = 1 : i64, {{.*}}kernel = #sq.kernel<"quads">
// CHECK-NEXT: nn.constant "channels"
// CHECK-NOT: sq.kept_columns
// CHECK-NEXT: sq.conv {{.*}}sq.fits_32_bits, {{.*}}groups = 8 : i64, {{.*}}kernel = #sq.kernel<"quad_depthwise">
// BOUNDED-LABEL: func.func @integers(
// BOUNDED: sq.conv {{.*}}sq.kept_columns = {"4" = 1 : i64, "8" = 1 : i64, {{.*}}sq.bounded_pairs, sq.wide_columns = {"4" = 1 : i64, {{.*}}kernel = #sq.kernel<"quads">
// BOUNDED: sq.conv {{.*}}sq.bounded_pairs, {{.*}}kernel = #sq.kernel<"quad_depthwise">
func.func @integers(%x: tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x8x6x6xf32>, tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {
  %w = nn.constant "kept" : tensor<8x8x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<8x8x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x8x6x6xf32>
  %v = nn.constant "channels" : tensor<8x1x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %z = sq.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 8 : i64, epilogue = []} : tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<8x1x3x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %y, %z : tensor<1x8x6x6xf32>, tensor<1x8x6x6x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// A linear layer on integers reads codes: their bits are the fewest that the weight has
// values for, and bounded says that pairs of products fit 16 bits.

// CHECK-LABEL: func.func @codes(
// CHECK: sq.linear {{.*}}kernel = #sq.kernel<"codes", {bits = 4, bounded = 1, outputs = {{[0-9]+}}, steps = 0}>
// CHECK: sq.linear {{.*}}kernel = #sq.kernel<"codes", {bits = 2, bounded = 1,
// CHECK: sq.linear {{.*}}kernel = #sq.kernel<"codes", {bits = 8, bounded = 0,
func.func @codes(%x: tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x32xf32>, tensor<1x32xf32>, tensor<1x32x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {
  %w0 = nn.constant "codes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %y0 = sq.linear %x, %w0 {epilogue = []} : tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x32xf32>
  %w1 = nn.constant "few" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %y1 = sq.linear %x, %w1 {epilogue = []} : tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x32xf32>
  %w2 = nn.constant "bytes" : tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %y2 = sq.linear %x, %w2 {epilogue = []} : tensor<1x8x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<32x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x32x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %y0, %y1, %y2 : tensor<1x32xf32>, tensor<1x32xf32>, tensor<1x32x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// A linear layer of bfloat16 on many rows runs on tiles where the target multiplies
// them, as a convolution; else, and on one row, in the kernel that it has in float32.

// CHECK-LABEL: func.func @rows(
// CHECK-NOT: sq.kernel
// TILES-LABEL: func.func @rows(
// TILES: sq.linear {{.*}}sq.kept_groups = {{.*}}sq.why = "tiles kernel: predicted dense / tiles = {{[1-9][^;]*}}"{{.*}}kernel = #sq.kernel<"tiles">{{.*}} : tensor<64x512xbf16>
// TILES: sq.linear {{.*}}sq.why = "runs dense: predicted dense / tiles = 0.{{[0-9]+}}"{{.*}} : tensor<1x512xbf16>
func.func @rows(%x: tensor<64x512xbf16>, %z: tensor<1x512xbf16>) -> (tensor<64x512xf32>, tensor<1x512xf32>) {
  %w = nn.constant dense<0.3> : tensor<512x512xf32>
  %y = sq.linear %x, %w {epilogue = []} : tensor<64x512xbf16>, tensor<512x512xf32> -> tensor<64x512xf32>
  %u = sq.linear %z, %w {epilogue = []} : tensor<1x512xbf16>, tensor<512x512xf32> -> tensor<1x512xf32>
  func.return %y, %u : tensor<64x512xf32>, tensor<1x512xf32>
}
