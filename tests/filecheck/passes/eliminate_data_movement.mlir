// RUN: edgec-opt %s -p eliminate-data-movement | filecheck %s

// Heads are split by readers and merged by the writer.

// CHECK-LABEL: func.func @attention(
// CHECK: nn.reshape %q : (tensor<1x3x4xf32>) -> tensor<1x3x2x2xf32, #sq.strided<strides = [12, 4, 2, 1], origin = 0, elements = 12>>
// CHECK-NEXT: %[[Q:.*]] = nn.transpose {{.*}} -> tensor<1x2x3x2xf32, #sq.strided<strides = [12, 2, 4, 1], origin = 0, elements = 12>>
// CHECK: %[[Y:.*]] = nn.matmul %[[Q]], %{{.*}} -> tensor<1x2x3x5xf32, #sq.strided<strides = [30, 5, 10, 1], origin = 0, elements = 94>>
// CHECK-NEXT: %[[M:.*]] = nn.transpose %[[Y]] {{.*}} -> tensor<1x3x2x5xf32>
// CHECK-NEXT: nn.reshape %[[M]] : (tensor<1x3x2x5xf32>) -> tensor<1x3x10xf32>
func.func @attention(%q: tensor<1x3x4xf32>, %v: tensor<2x5xf32>) -> tensor<1x3x10xf32> {
  %0 = nn.reshape %q : (tensor<1x3x4xf32>) -> tensor<1x3x2x2xf32>
  %1 = nn.transpose %0 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x3x2x2xf32>) -> tensor<1x2x3x2xf32>
  %2 = nn.matmul %1, %v : (tensor<1x2x3x2xf32>, tensor<2x5xf32>) -> tensor<1x2x3x5xf32>
  %3 = nn.transpose %2 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x2x3x5xf32>) -> tensor<1x3x2x5xf32>
  %4 = nn.reshape %3 : (tensor<1x3x2x5xf32>) -> tensor<1x3x10xf32>
  %5 = nn.unary relu %4 : (tensor<1x3x10xf32>) -> tensor<1x3x10xf32>
  func.return %5 : tensor<1x3x10xf32>
}

// A transpose, a reshape and a transpose are one copy, that of the reshape.

// CHECK-LABEL: func.func @one_copy(
// CHECK: %[[A:.*]] = nn.transpose %x {{.*}} -> tensor<3x2x5xf32, #sq.strided<strides = [5, 15, 1], origin = 0, elements = 30>>
// CHECK-NEXT: %[[B:.*]] = nn.reshape %[[A]] {{.*}} -> tensor<6x5xf32, #sq.strided<strides = [1, 6], origin = 0, elements = 94>>
// CHECK-NEXT: nn.transpose %[[B]] {{.*}} -> tensor<5x6xf32>
func.func @one_copy(%x: tensor<2x3x5xf32>) -> tensor<5x6xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 1, 0, 2>} : (tensor<2x3x5xf32>) -> tensor<3x2x5xf32>
  %1 = nn.reshape %0 : (tensor<3x2x5xf32>) -> tensor<6x5xf32>
  %2 = nn.transpose %1 {permutation = array<i64: 1, 0>} : (tensor<6x5xf32>) -> tensor<5x6xf32>
  %3 = nn.softmax %2 {axis = 0 : i64, log = false} : (tensor<5x6xf32>) -> tensor<5x6xf32>
  func.return %3 : tensor<5x6xf32>
}

// Parts of a concatenation are written where they belong, but for an argument.

// CHECK-LABEL: func.func @parts(
// CHECK: %[[A:.*]] = nn.unary relu %x : {{.*}} -> tensor<2x3xf32, #sq.strided<strides = [9, 1], origin = 0, elements = 18>>
// CHECK-NEXT: %[[B:.*]] = nn.unary tanh %x : {{.*}} -> tensor<2x3xf32, #sq.strided<strides = [9, 1], origin = 3, elements = 18>>
// CHECK-NEXT: nn.concat %[[A]], %[[B]], %x
func.func @parts(%x: tensor<2x3xf32>) -> tensor<2x9xf32> {
  %0 = nn.unary relu %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = nn.unary tanh %x : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %2 = nn.concat %0, %1, %x {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x9xf32>
  func.return %2 : tensor<2x9xf32>
}

// A slice is read in place, a repeated tensor is not where a product would read it
// (one-to-many before many-to-many), and what is returned stays as it is.

// CHECK-LABEL: func.func @kept(
// CHECK: nn.slice %x {{.*}} -> tensor<2x2xf32, #sq.strided<strides = [3, 1], origin = 1, elements = 6>>
// CHECK: nn.broadcast %{{.*}} -> tensor<4x2x2xf32>
// CHECK: nn.transpose %x {{.*}} -> tensor<3x2xf32>
func.func @kept(%x: tensor<2x3xf32>) -> (tensor<4x2x2xf32>, tensor<3x2xf32>) {
  %0 = nn.slice %x {starts = array<i64: 0, 1>, steps = array<i64: 1, 1>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  %1 = nn.unary relu %0 : (tensor<2x2xf32>) -> tensor<2x2xf32>
  %2 = nn.broadcast %1 : (tensor<2x2xf32>) -> tensor<4x2x2xf32>
  %3 = nn.matmul %2, %2 : (tensor<4x2x2xf32>, tensor<4x2x2xf32>) -> tensor<4x2x2xf32>
  %4 = nn.transpose %x {permutation = array<i64: 1, 0>} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  func.return %3, %4 : tensor<4x2x2xf32>, tensor<3x2xf32>
}
