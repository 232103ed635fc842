// RUN: edgec-opt %s -p 'convert-to-lane{lanes=4}' --split-input-file | filecheck %s

// Layers of one shape share a kernel; inputs and results are the caller's buffers.

// CHECK: func.func @main(%x: memref<8xf32>, %{{.*}}: memref<8xf32>) attributes {edgec.inputs = [tensor<2x4xf32>], edgec.outputs = [tensor<2x4xf32>]}
// CHECK-NEXT: %[[A:.*]] = lane.buffer : memref<[[#]]xf32>
// CHECK-NEXT: lane.launch @[[FIRST:.*]](%x, %[[A]]) {layer = "one"}
// CHECK-NEXT: %[[B:.*]] = lane.buffer
// CHECK-NEXT: lane.launch @[[KERNEL:.*]](%[[A]], %[[B]]) {layer = "two"}
// CHECK-NEXT: %[[C:.*]] = lane.buffer
// CHECK-NEXT: lane.launch @[[KERNEL]](%[[B]], %[[C]]) {layer = "three"}
func.func @main(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = nn.unary relu %x {nn.path = "one"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = nn.unary relu %0 {nn.path = "two"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %2 = nn.unary relu %1 {nn.path = "three"} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %3 = nn.unary relu %2 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  func.return %3 : tensor<2x4xf32>
}

// -----

// A reshape between two kernels is the same buffer.

// CHECK: func.func @main(%x: memref<8xf32>, %{{.*}}: memref<8xf32>)
// CHECK-NEXT: %[[A:.*]] = lane.buffer
// CHECK-NEXT: lane.launch @{{.*}}(%x, %[[A]])
// CHECK-NEXT: lane.launch @{{.*}}(%[[A]], %{{.*}})
// CHECK-NEXT: func.return
func.func @main(%x: tensor<2x4xf32>) -> tensor<8xf32> {
  %0 = nn.unary relu %x : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %1 = nn.reshape %0 : (tensor<2x4xf32>) -> tensor<8xf32>
  %2 = nn.unary neg %1 : (tensor<8xf32>) -> tensor<8xf32>
  func.return %2 : tensor<8xf32>
}

// -----

// A result that is an input, or used elsewhere too, is copied.

// CHECK: func.func @main(%x: memref<8xf32>, %[[R0:.*]]: memref<8xf32>, %[[R1:.*]]: memref<8xf32>, %[[R2:.*]]: memref<8xf32>)
// CHECK: lane.launch @{{.*}}(%x, %[[A:.*]]) {layer = "nn.unary"}
// CHECK: lane.launch @{{.*}}(%[[A]], %[[R2]]) {layer = "nn.unary"}
// CHECK: lane.launch @{{.*}}(%x, %[[R0]]) {layer = "result"}
// CHECK: lane.launch @{{.*}}(%[[A]], %[[R1]]) {layer = "result"}
func.func @main(%x: tensor<8xf32>) -> (tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) {
  %0 = nn.unary relu %x : (tensor<8xf32>) -> tensor<8xf32>
  %1 = nn.unary neg %0 : (tensor<8xf32>) -> tensor<8xf32>
  func.return %x, %0, %1 : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
}

// -----

// Nothing to do: converted before.

// CHECK: func.func @main
// CHECK-NEXT: lane.launch @k
// CHECK-NEXT: func.return
func.func @main(%x: memref<8xf32>, %y: memref<8xf32>) attributes {edgec.inputs = [tensor<8xf32>], edgec.outputs = [tensor<8xf32>]} {
  lane.launch @k(%x, %y) : memref<8xf32>, memref<8xf32>
  func.return
}

// -----

// An op with several results is one launch that writes all of them, used or not; the
// threads meet before each step but the first.

// CHECK: func.func @recurrent_0(%thread: index, %threads: index, %gates: memref<{{.*}}>, %w: memref<160000xf32>, %initial: memref<200xf32>, %cell: memref<200xf32>, %output: memref<[[#]]xf32>, %last: memref<[[#]]xf32>, %last_cell: memref<200xf32>)
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step
// CHECK: lane.barrier
// CHECK-NEXT: arith.
// CHECK: func.func @main(%g: memref<2400xf32>, %h: memref<200xf32>, %[[R:.*]]: memref<200xf32>)
// CHECK-NEXT: %[[Y:.*]] = lane.buffer
// CHECK-NEXT: %[[L:.*]] = lane.buffer
// CHECK-NEXT: %[[W:.*]] = lane.weights
// CHECK-NEXT: lane.launch @recurrent_0(%g, %[[W]], %h, %h, %[[Y]], %[[L]], %[[R]])
func.func @main(%g: tensor<3x1x800xf32>, %h: tensor<1x200xf32>) -> tensor<1x200xf32> {
  %w = nn.constant dense<0.5> : tensor<800x200xf32>
  %0, %1, %2 = nn.recurrent lstm %g, %w from %h, %h {reverse = false} : tensor<3x1x800xf32>, tensor<800x200xf32> from tensor<1x200xf32>, tensor<1x200xf32> -> tensor<3x1x200xf32>, tensor<1x200xf32>, tensor<1x200xf32>
  func.return %2 : tensor<1x200xf32>
}
