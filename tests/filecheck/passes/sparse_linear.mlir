// RUN: edgec-opt %s -p sparse-linear | filecheck %s

// Rows of all leading dimensions are positions; a number per filter stays one, an extra
// operand of the result's shape is turned too.

// CHECK-LABEL: func.func @extras(
// CHECK-NEXT: %{{.*}} = sq.weight {{.*}} : tensor<4x6x1x1xf32, #sq.columns<block = 4, columns = 3, reordered = true>>
// CHECK-NEXT: %{{.*}} = nn.reshape %v : (tensor<4xf32>) -> tensor<1x4x1x1xf32>
// CHECK-NEXT: nn.reshape %r : (tensor<2x5x4xf32>) -> tensor<10x4x1x1xf32>
// CHECK-NEXT: nn.transpose {{.*}} -> tensor<1x4x1x10xf32>
// CHECK-NEXT: nn.reshape %x : (tensor<2x5x6xf32>) -> tensor<10x6x1x1xf32>
// CHECK-NEXT: nn.transpose {{.*}} -> tensor<1x6x1x10xf32>
// CHECK-NEXT: sq.conv {{.*}} bias(%b : tensor<4xf32>) extras(
// CHECK-SAME: kernel = #sq.kernel<"columns">
// CHECK-NEXT: nn.transpose {{.*}} -> tensor<10x4x1x1xf32>
// CHECK-NEXT: nn.reshape {{.*}} -> tensor<2x5x4xf32>
// CHECK-NEXT: func.return
func.func @extras(%x: tensor<2x5x6xf32>, %b: tensor<4xf32>, %v: tensor<4xf32>, %r: tensor<2x5x4xf32>) -> tensor<2x5x4xf32> {
  %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = true>>
  %y = sq.linear %x, %w bias(%b : tensor<4xf32>) extras(%v, %r : tensor<4xf32>, tensor<2x5x4xf32>) {epilogue = [#sq.step<"mul", operand = 0>, #sq.step<"add", operand = 1>], kernel = #sq.kernel<"conv">} : tensor<2x5x6xf32>, tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = true>> -> tensor<2x5x4xf32>
  func.return %y : tensor<2x5x4xf32>
}

// Another family stays.

// CHECK-LABEL: func.func @few_rows(
// CHECK: sq.linear
// CHECK-SAME: kernel = #sq.kernel<"columns">
func.func @few_rows(%x: tensor<1x6xf32>) -> tensor<1x4xf32> {
  %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = false>>
  %y = sq.linear %x, %w {epilogue = [], kernel = #sq.kernel<"columns">} : tensor<1x6xf32>, tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = false>> -> tensor<1x4xf32>
  func.return %y : tensor<1x4xf32>
}

// Between two of them nothing is turned back and forth.

// CHECK-LABEL: func.func @stack(
// CHECK: nn.transpose {{.*}} -> tensor<1x6x1x32xf32>
// CHECK-NEXT: %[[C:.*]] = sq.conv
// CHECK-NEXT: sq.weight
// CHECK-NEXT: %[[D:.*]] = sq.conv %[[C]],
// CHECK-NEXT: nn.transpose %[[D]]
// CHECK-NEXT: nn.reshape
// CHECK-NEXT: func.return
func.func @stack(%x: tensor<32x6xf32>) -> tensor<32x4xf32> {
  %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder", weight = "w.weight"} : tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = false>>
  %y = sq.linear %x, %w {epilogue = [], kernel = #sq.kernel<"conv">} : tensor<32x6xf32>, tensor<4x6xf32, #sq.columns<block = 4, columns = 3, reordered = false>> -> tensor<32x4xf32>
  %v = sq.weight {index = "v.index", offset = "v.offset", reorder = "v.reorder", weight = "v.weight"} : tensor<4x4xf32, #sq.columns<block = 4, columns = 3, reordered = false>>
  %z = sq.linear %y, %v {epilogue = [], kernel = #sq.kernel<"conv">} : tensor<32x4xf32>, tensor<4x4xf32, #sq.columns<block = 4, columns = 3, reordered = false>> -> tensor<32x4xf32>
  func.return %z : tensor<32x4xf32>
}

// Layers on tiles too: pairs of columns, or quads of them, stay together.

// CHECK-LABEL: func.func @pairs(
// CHECK-NEXT: nn.constant "w.pointwise" : tensor<4x6x1x1xf32>
// CHECK-NEXT: nn.reshape %x : (tensor<32x6xbf16>) -> tensor<32x6x1x1xbf16>
// CHECK-NEXT: nn.transpose {{.*}} -> tensor<1x6x1x32xbf16>
// CHECK-NEXT: sq.conv {{.*}}kernel = #sq.kernel<"tiles", {filters = 16}>{{.*}} : tensor<1x6x1x32xbf16>, tensor<4x6x1x1xf32> -> tensor<1x4x1x32xbf16>
// CHECK-NEXT: nn.transpose {{.*}}permutation = array<i64: 3, 1, 0, 2>{{.*}} -> tensor<32x4x1x1xbf16>
// CHECK-NEXT: nn.reshape {{.*}} -> tensor<32x4xbf16>
func.func @pairs(%x: tensor<32x6xbf16>) -> tensor<32x4xbf16> {
  %w = nn.constant dense<0.3> : tensor<4x6xf32>
  %y = sq.linear %x, %w {epilogue = [], kernel = #sq.kernel<"tiles", {filters = 16}>} : tensor<32x6xbf16>, tensor<4x6xf32> -> tensor<32x4xbf16>
  func.return %y : tensor<32x4xbf16>
}
