// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: #sq.pattern patterns must be distinct and of one length, got [(0, 1), (0, 1)]
func.func private @same_patterns(tensor<2x2x3x3xf32, #sq.pattern<patterns = [[0, 1], [0, 1]], kernels = 3, ordered = true>>)

// -----

// CHECK: #sq.columns needs block >= 1, columns >= 0 and groups >= 1, got 0, 3 and 1
func.func private @no_block(tensor<2x2x3x3xf32, #sq.columns<block = 0, columns = 3, reordered = false>>)

// -----

// CHECK: 'sq.conv' op has 2 groups, but its weight is encoded in 1
func.func @groups(%x: tensor<1x4x3x3xf32>, %w: tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 3, reordered = false>>) {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64, epilogue = []} : tensor<1x4x3x3xf32>, tensor<4x2x3x3xf32, #sq.columns<block = 2, columns = 3, reordered = false>> -> tensor<1x4x1x1xf32>
  func.return
}

// -----

// CHECK: #sq.pattern positions must rise from 0, got [(1, 0)]
func.func private @pattern_order(tensor<2x2x3x3xf32, #sq.pattern<patterns = [[1, 0]], kernels = 3, ordered = true>>)

// -----

// CHECK: #sq.lane needs 1 <= pitch <= plane and origin >= 0, got [9, 8, 0]
func.func private @plane(tensor<1x1x1x8xf32, #sq.lane<pitch = 9, plane = 8, origin = 0, phase = [1, 1]>>)

// -----

// CHECK: #sq.lane phase must be two positive numbers without a slab, got (1,)
func.func private @phase(tensor<1x1x1x8xf32, #sq.lane<pitch = 9, plane = 9, origin = 0, phase = [1]>>)

// -----

// CHECK: #sq.lane phase must be three positive numbers with a slab, got (1, 1)
func.func private @slab_phase(tensor<1x1x1x1x8xf32, #sq.lane<pitch = 9, slab = 1, plane = 9, origin = 0, phase = [1, 1]>>)

// -----

// CHECK: #sq.lane slab must be positive, got 0
func.func private @slab(tensor<1x1x1x1x8xf32, #sq.lane<pitch = 9, slab = 0, plane = 9, origin = 0, phase = [1, 1, 1]>>)

// -----

// CHECK: 'sq.convert_layout' op layout of a tensor of rank 5 must have a slab if the rank is 5 and none if it is 4, got #sq.lane<pitch = 9, plane = 9, origin = 0, phase = [1, 1]>
func.func @layout_rank(%x: tensor<1x1x1x1x8xf32>) {
  %y = sq.convert_layout %x : (tensor<1x1x1x1x8xf32>) -> tensor<1x1x1x1x8xf32, #sq.lane<pitch = 9, plane = 9, origin = 0, phase = [1, 1]>>
  func.return
}

// -----

// CHECK: 'sq.weight' op result must carry a weight encoding such as #sq.pattern, got tensor<2x2x3x3xf32>
func.func @no_encoding() {
  %w = sq.weight {weight = "w"} : tensor<2x2x3x3xf32>
  func.return
}

// -----

// CHECK: 'sq.weight' op arrays must be ['index', 'offset', 'pattern', 'reorder', 'weight'], got ['weight']
func.func @arrays() {
  %w = sq.weight {weight = "w"} : tensor<2x2x3x3xf32, #sq.pattern<patterns = [[0, 1]], kernels = 3, ordered = false>>
  func.return
}

// -----

// CHECK: #sq.step kind must be one of
// CHECK-SAME: got 'add'
func.func @step_kind(%x: tensor<4xf32>) {
  %y = sq.elementwise %x {epilogue = [#sq.step<"add">]} : tensor<4xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: #sq.step clamp takes 2 params, got (0.0,)
func.func @step_params(%x: tensor<4xf32>) {
  %y = sq.elementwise %x {epilogue = [#sq.step<"clamp", params = [0.0]>]} : tensor<4xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.elementwise' op epilogue must hold #sq.step, got 1 : i64
func.func @not_a_step(%x: tensor<4xf32>) {
  %y = sq.elementwise %x {epilogue = [1 : i64]} : tensor<4xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.elementwise' op epilogue names extra operand 0, but there are 0
func.func @no_extra(%x: tensor<4xf32>) {
  %y = sq.elementwise %x {epilogue = [#sq.step<"add", operand = 0>]} : tensor<4xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.elementwise' op extra operand 0 is used by no step
func.func @unused_extra(%x: tensor<4xf32>) {
  %y = sq.elementwise %x extras(%x : tensor<4xf32>) {epilogue = []} : tensor<4xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: 'sq.elementwise' op extra operand 0 must broadcast to (1, 4), got (3, 4)
func.func @extra_shape(%x: tensor<1x4xf32>, %r: tensor<3x4xf32>) {
  %y = sq.elementwise %x extras(%r : tensor<3x4xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<1x4xf32> -> tensor<1x4xf32>
  func.return
}

// -----

// CHECK: 'sq.matmul' op result must have shape (2, 5), got (2, 4)
func.func @matmul_result(%a: tensor<2x3xf32>, %b: tensor<3x5xf32>) {
  %y = sq.matmul %a, %b {epilogue = []} : tensor<2x3xf32>, tensor<3x5xf32> -> tensor<2x4xf32>
  func.return
}

// -----

// CHECK: 'sq.matmul' op extra operand 0 must broadcast to (2, 5), got (4, 2, 5)
func.func @matmul_extra(%a: tensor<2x3xf32>, %b: tensor<3x5xf32>, %m: tensor<4x2x5xf32>) {
  %y = sq.matmul %a, %b extras(%m : tensor<4x2x5xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x3xf32>, tensor<3x5xf32> -> tensor<2x5xf32>
  func.return
}

// -----

// CHECK: #sq.strided needs strides and origin >= 0 and elements >= 1, got [-1], 0, 4
func.func private @backwards(tensor<4xf32, #sq.strided<strides = [-1], origin = 0, elements = 4>>)

// -----

// CHECK: Operation nn.unary terminates block in single-block region but is not a terminator
func.func @no_yield(%a: tensor<2x3xf32>) {
  %y = sq.dispatch {
    %r = nn.unary relu %a : (tensor<2x3xf32>) -> tensor<2x3xf32>
  } : tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'sq.dispatch' op must yield tensor<3x2xf32>, got tensor<2x3xf32>
func.func @other_yield(%a: tensor<2x3xf32>) {
  %y = sq.dispatch {
    sq.yield %a : tensor<2x3xf32>
  } : tensor<3x2xf32>
  func.return
}

// -----

// CHECK: 'sq.yield' expects parent op 'sq.dispatch'
func.func @stray_yield(%a: tensor<2x3xf32>) {
  sq.yield %a : tensor<2x3xf32>
}
