// RUN: edgec-opt %s -p encode-sparsity | filecheck %s
// RUN: edgec-opt %s -p 'encode-sparsity{ignore=true}' | filecheck %s --check-prefix=IGNORE
// RUN: edgec-opt %s -p 'encode-sparsity{max-density=0.1}' | filecheck %s --check-prefix=STRICT

// RUN: edgec-opt %s -p 'encode-sparsity{reorder=false}' | filecheck %s --check-prefix=ORDER

// IGNORE-NOT: sq.weight
// IGNORE: sq.why = "dense: sparsity is ignored"
// STRICT-NOT: sq.weight
// STRICT: sq.why = "dense: 22% of the weights are not zero"

// A weight that two convolutions share is stored once.

// CHECK-LABEL: func.func @shared(
// CHECK-NEXT: %[[W:.*]] = sq.weight {index = "w.fkw.index", offset = "w.fkw.offset", pattern = "w.fkw.pattern", reorder = "w.fkw.reorder", weight = "w.fkw.weight"} : tensor<1x1x3x3xf32, #sq.pattern<patterns = {{\[\[}}0, 4]], kernels = 1, ordered = false>>
// CHECK-NEXT: nn.conv %x, %[[W]] {sq.why = "pattern: 1 of 1 kernels kept, 1 patterns of 2 weights, density 0.222",
// CHECK-NEXT: nn.conv %{{.*}}, %[[W]] {sq.why = "pattern:
// CHECK-NEXT: func.return
func.func @shared(%x: tensor<1x1x5x5xf32>) -> tensor<1x1x1x1xf32> {
  %w = nn.constant dense<[[[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]]> : tensor<1x1x3x3xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x5x5xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x3x3xf32>
  %z = nn.conv %y, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x3x3xf32>, tensor<1x1x3x3xf32>) -> tensor<1x1x1x1xf32>
  func.return %z : tensor<1x1x1x1xf32>
}

// Nothing to do, each time for a reason that is written down.

// CHECK-LABEL: func.func @dense(
// CHECK: nn.constant
// CHECK: sq.why = "dense: 100% of the weights are not zero"
func.func @dense(%x: tensor<1x1x3x3xf32>) -> tensor<1x1x2x2xf32> {
  %w = nn.constant dense<1.0> : tensor<1x1x2x2xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x3x3xf32>, tensor<1x1x2x2xf32>) -> tensor<1x1x2x2xf32>
  func.return %y : tensor<1x1x2x2xf32>
}

// No patterns: three kernels of three shapes.

// CHECK-LABEL: func.func @uneven(
// CHECK-NEXT: %w = sq.weight {index = "w.columns.index", offset = "w.columns.offset", reorder = "w.columns.reorder", weight = "w.columns.weight"} : tensor<1x3x2x2xf32, #sq.columns<block = 1, columns = 5, reordered = false>>
// CHECK: sq.why = "columns: 5 kept in blocks of 1 filters, density 0.417, 0% filled"
func.func @uneven(%x: tensor<1x3x2x2xf32>) -> tensor<1x1x1x1xf32> {
  %w = nn.constant dense<[[[[1.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]]> : tensor<1x3x2x2xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x3x2x2xf32>, tensor<1x3x2x2xf32>) -> tensor<1x1x1x1xf32>
  func.return %y : tensor<1x1x1x1xf32>
}

// Blocks stay inside their group: two of two filters, though four are alike.

// CHECK-LABEL: func.func @grouped(
// CHECK: sq.weight {{.*}}tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, groups = 2, reordered = false>>
// CHECK: sq.why = "columns: 2 kept in blocks of 2 filters, density 0.500, 0% filled"
func.func @grouped(%x: tensor<1x4x1x1xf32>) -> tensor<1x4x1x1xf32> {
  %w = nn.constant dense<[[[[1.0]], [[0.0]]], [[[2.0]], [[0.0]]], [[[3.0]], [[0.0]]], [[[4.0]], [[0.0]]]]> : tensor<4x2x1x1xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x4x1x1xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x1x1xf32>
  func.return %y : tensor<1x4x1x1xf32>
}

// CHECK-LABEL: func.func @depthwise(
// CHECK: sq.why = "dense: it is depthwise"
func.func @depthwise(%x: tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32> {
  %w = nn.constant dense<0.0> : tensor<2x1x1x1xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x2x1x1xf32>, tensor<2x1x1x1xf32>) -> tensor<1x2x1x1xf32>
  func.return %y : tensor<1x2x1x1xf32>
}

// A window with depth has columns, whatever patterns its zeros have.

// CHECK-LABEL: func.func @volume(
// CHECK: sq.weight {{.*}}tensor<1x4x1x1x2xf32, #sq.columns<
// CHECK: sq.why = "columns:
func.func @volume(%x: tensor<1x4x1x1x2xf32>) -> tensor<1x1x1x1x1xf32> {
  %w = nn.constant dense<[[[[[1.0, 0.0]]], [[[0.0, 0.0]]], [[[0.0, 0.0]]], [[[2.0, 0.0]]]]]> : tensor<1x4x1x1x2xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1, 1>, padding_low = array<i64: 0, 0, 0>, padding_high = array<i64: 0, 0, 0>, dilation = array<i64: 1, 1, 1>, groups = 1 : i64} : (tensor<1x4x1x1x2xf32>, tensor<1x4x1x1x2xf32>) -> tensor<1x1x1x1x1xf32>
  func.return %y : tensor<1x1x1x1x1xf32>
}

// Filters 0 and 2 keep nearly the same, and so do 1 and 3: each two are a block, in which
// what one of them lacks is a stored zero.

// CHECK-LABEL: func.func @similar(
// CHECK: sq.weight {{.*}}tensor<4x8x1x1xf32, #sq.columns<block = 2, columns = 8, reordered = true>>
// CHECK: sq.why = "columns: 8 kept in blocks of 2 filters, reordered, density 0.500, 14% filled"
// ORDER-LABEL: func.func @similar(
// ORDER: sq.why = "columns: 14 kept in blocks of 1 filters, density 0.438, 0% filled"
func.func @similar(%x: tensor<1x8x1x1xf32>) -> tensor<1x4x1x1xf32> {
  %w = nn.constant dense<[[[[1.0]], [[1.0]], [[1.0]], [[1.0]], [[0.0]], [[0.0]], [[0.0]], [[0.0]]], [[[0.0]], [[0.0]], [[0.0]], [[0.0]], [[1.0]], [[1.0]], [[1.0]], [[0.0]]], [[[1.0]], [[1.0]], [[1.0]], [[0.0]], [[0.0]], [[0.0]], [[0.0]], [[0.0]]], [[[0.0]], [[0.0]], [[0.0]], [[0.0]], [[1.0]], [[1.0]], [[1.0]], [[1.0]]]]> : tensor<4x8x1x1xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x1x1xf32>, tensor<4x8x1x1xf32>) -> tensor<1x4x1x1xf32>
  func.return %y : tensor<1x4x1x1xf32>
}

// The kernel of a linear layer on few rows writes neighbouring filters: their order stays.

// CHECK-LABEL: func.func @few_rows(
// CHECK: sq.why = "columns: 14 kept in blocks of 1 filters, density 0.438, 0% filled"
func.func @few_rows(%x: tensor<1x8xf32>) -> tensor<1x4xf32> {
  %w = nn.constant dense<[[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]]> : tensor<4x8xf32>
  %y = nn.linear %x, %w : (tensor<1x8xf32>, tensor<4x8xf32>) -> tensor<1x4xf32>
  func.return %y : tensor<1x4xf32>
}

// CHECK-LABEL: func.func @unfit(
// CHECK: sq.why = "dense: the weight has rank 3, not 4 or 5"
// CHECK: sq.why = "dense: the weight is computed"
// CHECK: sq.why = "dense: the weights are f64, not f32"
func.func @unfit(%x: tensor<1x1x1xf32>, %w2: tensor<1x1x1x1xf32>, %d: tensor<1x1x1x1xf64>) -> tensor<1x1x1xf32> {
  %w = nn.constant dense<0.0> : tensor<1x1x1xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1>, padding_low = array<i64: 0>, padding_high = array<i64: 0>, dilation = array<i64: 1>, groups = 1 : i64} : (tensor<1x1x1xf32>, tensor<1x1x1xf32>) -> tensor<1x1x1xf32>
  %0 = nn.conv %w2, %w2 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x1x1xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x1x1xf32>
  %wd = nn.constant dense<0.0> : tensor<1x1x1x1xf64>
  %1 = nn.conv %d, %wd {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x1x1x1xf64>, tensor<1x1x1x1xf64>) -> tensor<1x1x1x1xf64>
  func.return %y : tensor<1x1x1xf32>
}
