// RUN: edgec-opt %s -p 'convert-to-lane{lanes=4}' --split-input-file --verify-diagnostics | filecheck %s

// CHECK: 'sq.dispatch' op must hold sq.conv and nn.pool, got nn.unary
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %y = sq.dispatch {
    %z = nn.unary relu %x : (tensor<2x4xf32>) -> tensor<2x4xf32>
    sq.yield %z : tensor<2x4xf32>
  } : tensor<2x4xf32>
  func.return %y : tensor<2x4xf32>
}

// -----

// CHECK: must hold an sq.conv with a kernel over flat positions (dense, columns, quads), got Depthwise
func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32> {
  %w = nn.constant dense<1.0> : tensor<2x1x1x1xf32>
  %p = sq.dispatch {
    %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64, epilogue = [], kernel = #sq.kernel<"depthwise", {vectors = 1}>} : tensor<1x2x4x4xf32>, tensor<2x1x1x1xf32> -> tensor<1x2x4x4xf32>
    %q = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
    sq.yield %q : tensor<1x2x2x2xf32>
  } : tensor<1x2x2x2xf32>
  func.return %p : tensor<1x2x2x2xf32>
}
