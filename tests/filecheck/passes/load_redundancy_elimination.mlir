// RUN: edgec-opt %s -p load-redundancy-elimination | filecheck %s

// Filters of a register block read the same input; the weights differ.

// CHECK-LABEL: func.func @filters_share_a_column(
// CHECK: %[[X:.*]] = lane.load %x[%zero] {filter = 0 : i64}
// CHECK-NEXT: lane.dot %z, %[[X]], %a
// CHECK-NEXT: lane.dot %z, %[[X]], %b
// CHECK-NOT: lane.load
func.func @filters_share_a_column(%thread: index, %threads: index, %x: memref<8xf32>, %y: memref<16xf32>, %z: vector<8xf32>, %a: vector<8xf32>, %b: vector<8xf32>) {
  %zero = arith.constant 0 : index
  %0 = lane.load %x[%zero] {filter = 0 : i64} : memref<8xf32>, vector<8xf32>
  %1 = lane.dot %z, %0, %a : vector<8xf32>
  %2 = lane.load %x[%zero] {filter = 1 : i64} : memref<8xf32>, vector<8xf32>
  %3 = lane.dot %z, %2, %b : vector<8xf32>
  lane.store %1, %y[%zero] : vector<8xf32>, memref<16xf32>
  lane.store %3, %y[%zero] {offset = 8 : i64} : vector<8xf32>, memref<16xf32>
  func.return
}

// A store forgets its own buffer, and no other.

// CHECK-LABEL: func.func @a_store_forgets(
// CHECK: %[[X:.*]] = lane.load %x
// CHECK: lane.load %y
// CHECK: lane.store
// CHECK-NEXT: %[[Y:.*]] = lane.load %y
// CHECK-NEXT: lane.binary add %[[X]], %[[Y]]
// CHECK-NOT: lane.load
func.func @a_store_forgets(%thread: index, %threads: index, %x: memref<8xf32>, %y: memref<8xf32>) {
  %zero = arith.constant 0 : index
  %0 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  %1 = lane.load %y[%zero] : memref<8xf32>, vector<8xf32>
  %2 = lane.binary add %0, %1 : vector<8xf32>
  lane.store %2, %y[%zero] : vector<8xf32>, memref<8xf32>
  %3 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  %4 = lane.load %y[%zero] : memref<8xf32>, vector<8xf32>
  %5 = lane.binary add %3, %4 : vector<8xf32>
  lane.store %5, %y[%zero] : vector<8xf32>, memref<8xf32>
  func.return
}

// A loop sees what stands before it, except what its own body writes. What it loads is
// not known after it: it may not have run.

// CHECK-LABEL: func.func @loops(
// CHECK: %[[X:.*]] = lane.load %x[%zero]
// CHECK: scf.for
// CHECK-NEXT: %[[Y:.*]] = lane.load %y[%zero]
// CHECK-NEXT: lane.load %w[%zero]
// CHECK-NEXT: lane.binary add %[[X]], %[[Y]]
// CHECK: }
// CHECK-NEXT: lane.load %w[%zero]
func.func @loops(%thread: index, %threads: index, %x: memref<8xf32>, %w: memref<8xf32>, %y: memref<8xf32>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %0 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  %1 = lane.load %y[%zero] : memref<8xf32>, vector<8xf32>
  scf.for %i = %zero to %threads step %one {
    %2 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
    %3 = lane.load %y[%zero] : memref<8xf32>, vector<8xf32>
    %4 = lane.load %w[%zero] : memref<8xf32>, vector<8xf32>
    %5 = lane.binary add %2, %3 : vector<8xf32>
    %6 = lane.binary add %5, %4 : vector<8xf32>
    lane.store %6, %y[%zero] : vector<8xf32>, memref<8xf32>
    scf.yield
  }
  %7 = lane.load %w[%zero] : memref<8xf32>, vector<8xf32>
  lane.store %7, %y[%zero] : vector<8xf32>, memref<8xf32>
  func.return
}

// Both sides of a branch see what stands before it, and not each other.

// CHECK-LABEL: func.func @branches(
// CHECK: %[[X:.*]] = lane.load %x
// CHECK: scf.if
// CHECK-NEXT: lane.store %[[X]], %y
// CHECK-NEXT: lane.load %w[%zero]
// CHECK: else
// CHECK-NEXT: lane.load %w[%zero]
func.func @branches(%thread: index, %threads: index, %x: memref<8xf32>, %w: memref<8xf32>, %y: memref<8xf32>, %c: i1) {
  %zero = arith.constant 0 : index
  %0 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  scf.if %c {
    %1 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
    lane.store %1, %y[%zero] : vector<8xf32>, memref<8xf32>
    %2 = lane.load %w[%zero] : memref<8xf32>, vector<8xf32>
    lane.store %2, %y[%zero] : vector<8xf32>, memref<8xf32>
  } else {
    %3 = lane.load %w[%zero] : memref<8xf32>, vector<8xf32>
    lane.store %3, %y[%zero] : vector<8xf32>, memref<8xf32>
  }
  func.return
}

// Nothing to do: other offset, stride, mask, width or index.

// CHECK-LABEL: func.func @addresses_differ(
// CHECK-COUNT-6: lane.load
func.func @addresses_differ(%thread: index, %threads: index, %x: memref<64xf32>, %y: memref<64xf32>, %m: vector<8xi1>) {
  %zero = arith.constant 0 : index
  %0 = lane.load %x[%zero] : memref<64xf32>, vector<8xf32>
  %1 = lane.load %x[%zero] {offset = 1 : i64} : memref<64xf32>, vector<8xf32>
  %2 = lane.load %x[%zero] {stride = 2 : i64} : memref<64xf32>, vector<8xf32>
  %3 = lane.load %x[%zero], %m : vector<8xi1> of : memref<64xf32>, vector<8xf32>
  %4 = lane.load %x[%thread] : memref<64xf32>, vector<8xf32>
  %5 = lane.load %x[%zero] : memref<64xf32>, f32
  func.return
}

// At a barrier other threads may have written anything, also at that of the turn before.

// CHECK-LABEL: func.func @barrier(
// CHECK-COUNT-4: lane.load
// CHECK-NOT: lane.load
func.func @barrier(%thread: index, %threads: index, %x: memref<8xf32>, %y: memref<8xf32>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %two = arith.constant 2 : index
  %0 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  lane.barrier
  %1 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  %2 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  scf.for %i = %zero to %two step %one {
    %3 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
    lane.barrier
    %4 = lane.load %x[%zero] : memref<8xf32>, vector<8xf32>
  }
  func.return
}
