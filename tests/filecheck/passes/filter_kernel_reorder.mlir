// RUN: edgec-opt %s -p filter-kernel-reorder | filecheck %s --check-prefix=ALONE
// RUN: edgec-opt %s -p encode-sparsity,filter-kernel-reorder | filecheck %s

// Weights that are not encoded have no order to change.

// ALONE-LABEL: func.func @two_filters(
// ALONE-NEXT: nn.constant
// ALONE-NEXT: nn.conv
// ALONE-NEXT: func.return

// The arrays get new names: those of the old order may be in use elsewhere.

// CHECK-LABEL: func.func @two_filters(
// CHECK-NEXT: %[[W:.*]] = sq.weight {index = "w.fkw.index.ordered", offset = "w.fkw.offset.ordered", pattern = "w.fkw.pattern.ordered", reorder = "w.fkw.reorder.ordered", stride = "w.fkw.stride.ordered", weight = "w.fkw.weight.ordered"} : tensor<2x2x1x2xf32, #sq.pattern<patterns = {{\[\[0\], \[1\]\]}}, kernels = 3, ordered = true>>
// CHECK-NEXT: nn.conv %x, %[[W]]
// CHECK-NEXT: func.return
func.func @two_filters(%x: tensor<1x2x1x2xf32>) -> tensor<1x2x1x1xf32> {
  %w = nn.constant dense<[[[[0.0, 1.0]], [[0.0, 0.0]]], [[[0.0, 2.0]], [[3.0, 0.0]]]]> : tensor<2x2x1x2xf32>
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x2x1x2xf32>, tensor<2x2x1x2xf32>) -> tensor<1x2x1x1xf32>
  func.return %y : tensor<1x2x1x1xf32>
}
