// RUN: edgec-opt %s -p encode-sparsity,propagate-permutation | filecheck %s
// RUN: edgec-opt %s -p propagate-permutation | filecheck %s --check-prefix=ALONE

// Weights that are not encoded ask for no order.

// ALONE-LABEL: func.func @chain(
// ALONE-NEXT: %v = nn.constant dense<
// ALONE-NEXT: %d = nn.constant dense<[{{\[\[}}{{\[}}1.000000e+00]]], {{\[\[}}{{\[}}2.000000e+00]]], {{\[\[}}{{\[}}3.000000e+00]]], {{\[\[}}{{\[}}4.000000e+00]]]]>

// Filters 0 and 2 are a block, and so are 1 and 3. The channels take that order: in the
// depthwise weight, in the constant, and in the columns of the layer that reads them. Its own
// result goes to the caller, and has the order that it had.

// CHECK-LABEL: func.func @chain(
// CHECK-NEXT: %v = sq.weight {index = "v.columns.index", offset = "v.columns.offset", reorder = "v.columns.reorder.permuted", weight = "v.columns.weight"} : tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, reordered = false>>
// CHECK-NEXT: nn.conv %x, %v
// CHECK-NEXT: %d = nn.constant "d.permuted"
// CHECK-NEXT: nn.conv {{.*}}, %d
// CHECK-NEXT: %s = nn.constant "s.permuted"
// CHECK-NEXT: nn.binary mul {{.*}}, %s
// CHECK-NEXT: %w = sq.weight {index = "w.columns.index.permuted", offset = "w.columns.offset", reorder = "w.columns.reorder", weight = "w.columns.weight{{.*}}"} : tensor<4x4x1x1xf32, #sq.columns<block = 2, columns = 4, reordered = true>>
// CHECK-NEXT: nn.conv {{.*}}, %w
func.func @chain(%x: tensor<1x2x2x2xf32>) -> tensor<1x4x2x2xf32> {
  %v = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]], [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]]]> : tensor<4x2x1x1xf32>
  %d = nn.constant dense<[[[[1.0]]], [[[2.0]]], [[[3.0]]], [[[4.0]]]]> : tensor<4x1x1x1xf32>
  %s = nn.constant dense<[[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]> : tensor<1x4x1x1xf32>
  %w = nn.constant dense<[[[[1.0]], [[2.0]], [[0.0]], [[0.0]]], [[[0.0]], [[0.0]], [[3.0]], [[4.0]]], [[[5.0]], [[6.0]], [[0.0]], [[0.0]]], [[[0.0]], [[0.0]], [[7.0]], [[8.0]]]]> : tensor<4x4x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x2x2xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x2x2xf32>
  %1 = nn.conv %0, %d {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 4 : i64} : (tensor<1x4x2x2xf32>, tensor<4x1x1x1xf32>) -> tensor<1x4x2x2xf32>
  %2 = nn.binary mul %1, %s : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  %3 = nn.conv %2, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32>
  func.return %3 : tensor<1x4x2x2xf32>
}

// Both sides of a sum ask for an order: the one with more work gets it, and the other says
// which of the new channels its rows are.

// CHECK-LABEL: func.func @sum(
// CHECK: sq.weight {{.*}}tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, reordered = true>>
// CHECK: sq.weight {{.*}}tensor<4x4x1x1xf32, #sq.columns<block = 2, columns = 4, reordered = false>>
func.func @sum(%x: tensor<1x2x1x1xf32>, %y: tensor<1x4x1x1xf32>) -> tensor<1x1x1x1xf32> {
  %v = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]], [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]]]> : tensor<4x2x1x1xf32>
  %w = nn.constant dense<[[[[1.0]], [[2.0]], [[0.0]], [[0.0]]], [[[0.0]], [[0.0]], [[3.0]], [[4.0]]], [[[0.0]], [[0.0]], [[5.0]], [[6.0]]], [[[7.0]], [[8.0]], [[0.0]], [[0.0]]]]> : tensor<4x4x1x1xf32>
  %r = nn.constant dense<[[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]> : tensor<1x4x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x1x1xf32>
  %1 = nn.conv %y, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x1x1xf32>, tensor<4x4x1x1xf32>) -> tensor<1x4x1x1xf32>
  %2 = nn.binary add %0, %1 : (tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) -> tensor<1x4x1x1xf32>
  %3 = nn.conv %2, %r {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x1x1xf32>
  func.return %3 : tensor<1x1x1x1xf32>
}

// The groups of the second convolution are channels 0 and 1, and 2 and 3: channels cannot leave
// them.

// CHECK-LABEL: func.func @grouped(
// CHECK: sq.weight {{.*}}tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, reordered = true>>
// CHECK: %d = nn.constant dense<
func.func @grouped(%x: tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32> {
  %v = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]], [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]]]> : tensor<4x2x1x1xf32>
  %d = nn.constant dense<[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]> : tensor<2x2x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x1x1xf32>
  %1 = nn.conv %0, %d {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x4x1x1xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x1x1xf32>
  func.return %1 : tensor<1x2x1x1xf32>
}

// The channels of both parts of a concatenation move, each in its part; those of a sum
// with it cannot, as its blocks hold channels of both.

// CHECK-LABEL: func.func @parts(
// CHECK: %v = sq.weight {{.*}}tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, reordered = false>>
// CHECK: nn.concat
// CHECK: %u = sq.weight {{.*}}tensor<8x2x1x1xf32, #sq.columns<block = 4, columns = 2, reordered = true>>
func.func @parts(%x: tensor<1x2x1x1xf32>, %y: tensor<1x2x1x1xf32>) -> tensor<1x1x1x1xf32> {
  %v = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]], [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]]]> : tensor<4x2x1x1xf32>
  %0 = nn.conv %x, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x1x1xf32>
  %1 = nn.conv %y, %v {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<4x2x1x1xf32>) -> tensor<1x4x1x1xf32>
  %2 = nn.concat %0, %1 {axis = 1 : i64} : (tensor<1x4x1x1xf32>, tensor<1x4x1x1xf32>) -> tensor<1x8x1x1xf32>
  %u = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]], [[[0.0]], [[4.0]]], [[[0.0]], [[2.0]]], [[[3.0]], [[0.0]]], [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]], [[[5.0]], [[0.0]]]]> : tensor<8x2x1x1xf32>
  %3 = nn.conv %y, %u {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x1xf32>, tensor<8x2x1x1xf32>) -> tensor<1x8x1x1xf32>
  %4 = nn.binary add %2, %3 : (tensor<1x8x1x1xf32>, tensor<1x8x1x1xf32>) -> tensor<1x8x1x1xf32>
  %r = nn.constant dense<2.0> : tensor<1x8x1x1xf32>
  %5 = nn.conv %4, %r {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x8x1x1xf32>, tensor<1x8x1x1xf32>) -> tensor<1x1x1x1xf32>
  func.return %5 : tensor<1x1x1x1xf32>
}
