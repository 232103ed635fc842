// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @columns
func.func @columns() -> tensor<4x2x3x3xf32, #sq.columns<block = 4, columns = 5, reordered = false>> {
  // CHECK: %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x2x3x3xf32, #sq.columns<block = 4, columns = 5, reordered = false>>
  %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x2x3x3xf32, #sq.columns<block = 4, columns = 5, reordered = false>>
  func.return %w : tensor<4x2x3x3xf32, #sq.columns<block = 4, columns = 5, reordered = false>>
}

func.func @groups() -> tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 5, groups = 2, reordered = false>> {
  // CHECK: %w = sq.weight {{.*}} : tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 5, groups = 2, reordered = false>>
  %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 5, groups = 2, reordered = false>>
  func.return %w : tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 5, groups = 2, reordered = false>>
}

// CHECK-LABEL: func.func @weight()
func.func @weight() -> tensor<2x2x3x3xf32, #sq.pattern<patterns = [[0, 1, 3, 4], [1, 2, 4, 5]], kernels = 3, ordered = true>> {
  // CHECK-NEXT: %w = sq.weight {index = "w.index", offset = "w.offset", pattern = "w.pattern", reorder = "w.reorder", stride = "w.stride", weight = "w.weight"}
  // CHECK-SAME: #sq.pattern<patterns = {{\[\[}}0, 1, 3, 4], [1, 2, 4, 5]], kernels = 3, ordered = true>
  %w = sq.weight {index = "w.index", offset = "w.offset", pattern = "w.pattern", reorder = "w.reorder", stride = "w.stride", weight = "w.weight"} : tensor<2x2x3x3xf32, #sq.pattern<patterns = [[0, 1, 3, 4], [1, 2, 4, 5]], kernels = 3, ordered = true>>
  func.return %w : tensor<2x2x3x3xf32, #sq.pattern<patterns = [[0, 1, 3, 4], [1, 2, 4, 5]], kernels = 3, ordered = true>>
}

// CHECK-LABEL: func.func @layout
func.func @layout(%x: tensor<1x4x8x8xf32>) {
  // CHECK-NEXT: %y = sq.convert_layout %x : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32, #sq.lane<pitch = 9, plane = 96, origin = 10, phase = [1, 1]>>
  %y = sq.convert_layout %x : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32, #sq.lane<pitch = 9, plane = 96, origin = 10, phase = [1, 1]>>
  func.return
}

// CHECK-LABEL: func.func @volume
func.func @volume(%x: tensor<1x4x5x8x8xf32>) {
  // CHECK-NEXT: %y = sq.convert_layout %x : (tensor<1x4x5x8x8xf32>) -> tensor<1x4x5x8x8xf32, #sq.lane<pitch = 9, slab = 9, plane = 416, origin = 10, phase = [1, 1, 1]>>
  %y = sq.convert_layout %x : (tensor<1x4x5x8x8xf32>) -> tensor<1x4x5x8x8xf32, #sq.lane<pitch = 9, slab = 9, plane = 416, origin = 10, phase = [1, 1, 1]>>
  func.return
}

// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<1x4x8x8xf32>, %w: tensor<6x4x3x3xf32>, %b: tensor<6xf32>, %r: tensor<1x6x8x8xf32>) {
  // CHECK-NEXT: %y = sq.conv %x, %w bias(%b : tensor<6xf32>) extras(%r : tensor<1x6x8x8xf32>)
  // CHECK-SAME: epilogue = [#sq.step<"add", operand = 0, swap>, #sq.step<"clamp", params = [0.0, 6.0]>]
  // CHECK-SAME: kernel = #sq.kernel<"conv-lanes", {filters = 6, vectors = 2}>
  %y = sq.conv %x, %w bias(%b : tensor<6xf32>) extras(%r : tensor<1x6x8x8xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>, padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0, swap>, #sq.step<"clamp", params = [0.0, 6.0]>], kernel = #sq.kernel<"conv-lanes", {filters = 6, vectors = 2}>} : tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32> -> tensor<1x6x8x8xf32>
  // CHECK-NEXT: %e = sq.elementwise %y extras(%r : tensor<1x6x8x8xf32>) {epilogue = [#sq.step<"mul", operand = 0>]} : tensor<1x6x8x8xf32> -> tensor<1x6x8x8xf32>
  %e = sq.elementwise %y extras(%r : tensor<1x6x8x8xf32>) {epilogue = [#sq.step<"mul", operand = 0>]} : tensor<1x6x8x8xf32> -> tensor<1x6x8x8xf32>
  func.return
}

// CHECK-LABEL: func.func @linear
func.func @linear(%x: tensor<1x4xf32>, %w: tensor<6x4xf32>) {
  // CHECK-NEXT: %y = sq.linear %x, %w {epilogue = [#sq.step<"relu">]} : tensor<1x4xf32>, tensor<6x4xf32> -> tensor<1x6xf32>
  %y = sq.linear %x, %w {epilogue = [#sq.step<"relu">]} : tensor<1x4xf32>, tensor<6x4xf32> -> tensor<1x6xf32>
  func.return
}

// CHECK-LABEL: func.func @matmul
func.func @matmul(%a: tensor<2x3x4xf32>, %b: tensor<4x5xf32>, %m: tensor<3x5xf32>) {
  // CHECK-NEXT: %y = sq.matmul %a, %b extras(%m : tensor<3x5xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x3x4xf32>, tensor<4x5xf32> -> tensor<2x3x5xf32>
  %y = sq.matmul %a, %b extras(%m : tensor<3x5xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x3x4xf32>, tensor<4x5xf32> -> tensor<2x3x5xf32>
  // CHECK-NEXT: %z = sq.matmul %a, %b {epilogue = []} : tensor<2x3x4xf32>, tensor<4x5xf32> -> tensor<2x3x5xf32>
  %z = sq.matmul %a, %b {epilogue = []} : tensor<2x3x4xf32>, tensor<4x5xf32> -> tensor<2x3x5xf32>
  func.return
}

// CHECK-LABEL: func.func @strided
func.func @strided(%x: tensor<2x3xf32>) {
  // CHECK-NEXT: %y = nn.transpose %x {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32, #sq.strided<strides = [1, 3], origin = 0, elements = 6>>
  %y = nn.transpose %x {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32, #sq.strided<strides = [1, 3], origin = 0, elements = 6>>
  func.return
}

// CHECK-LABEL: func.func @dispatch
func.func @dispatch(%a: tensor<2x3xf32>) {
  // CHECK-NEXT: %y = sq.dispatch {
  // CHECK-NEXT:   %r = nn.unary relu %a : (tensor<2x3xf32>) -> tensor<2x3xf32>
  // CHECK-NEXT:   sq.yield %r : tensor<2x3xf32>
  // CHECK-NEXT: } : tensor<2x3xf32>
  %y = sq.dispatch {
    %r = nn.unary relu %a : (tensor<2x3xf32>) -> tensor<2x3xf32>
    sq.yield %r : tensor<2x3xf32>
  } : tensor<2x3xf32>
  func.return
}
