// RUN: edgec-opt %s -p plan-memory --split-input-file | filecheck %s

// In a chain every other buffer takes the place of one that is no longer read; the
// larger ones go first.

// CHECK: edgec.arena_bytes = 1536 : i64
// CHECK-SAME: edgec.live_bytes = 1536 : i64
// CHECK-LABEL: func.func @main(
// CHECK-NEXT: lane.buffer {offset = 1024 : i64} : memref<64xf32>
// CHECK-NEXT: lane.buffer {offset = 0 : i64} : memref<256xf32>
// CHECK-NEXT: lane.buffer {offset = 1024 : i64} : memref<128xf32>
func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
  %a = lane.buffer : memref<64xf32>
  %b = lane.buffer : memref<256xf32>
  %c = lane.buffer : memref<128xf32>
  lane.launch @k(%x, %a) : memref<64xf32>, memref<64xf32>
  lane.launch @k(%a, %b) : memref<64xf32>, memref<256xf32>
  lane.launch @k(%b, %c) : memref<256xf32>, memref<128xf32>
  lane.launch @k(%c, %y) : memref<128xf32>, memref<64xf32>
  func.return
}

// -----

// A buffer that a later launch reads again (a residual) keeps its place until then.

// CHECK-LABEL: func.func @main(
// CHECK-NEXT: lane.buffer {offset = 0 : i64} : memref<64xf32>
// CHECK-NEXT: lane.buffer {offset = 256 : i64} : memref<64xf32>
// CHECK-NEXT: lane.buffer {offset = 512 : i64} : memref<64xf32>
func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
  %a = lane.buffer : memref<64xf32>
  %b = lane.buffer : memref<64xf32>
  %c = lane.buffer : memref<64xf32>
  lane.launch @k(%x, %a) : memref<64xf32>, memref<64xf32>
  lane.launch @k(%a, %b) : memref<64xf32>, memref<64xf32>
  lane.launch @k(%b, %c) : memref<64xf32>, memref<64xf32>
  lane.launch @add(%a, %c, %y) : memref<64xf32>, memref<64xf32>, memref<64xf32>
  func.return
}

// -----

// Sizes are rounded up to cache lines, and an element counts with its own width.

// CHECK: edgec.arena_bytes = 320 : i64
// CHECK-LABEL: func.func @main(
// CHECK-NEXT: lane.buffer {offset = 192 : i64} : memref<17xf32>
// CHECK-NEXT: lane.buffer {offset = 0 : i64} : memref<17xi64>
func.func @main(%x: memref<17xf32>) {
  %a = lane.buffer : memref<17xf32>
  %b = lane.buffer : memref<17xi64>
  lane.launch @k(%x, %a, %b) : memref<17xf32>, memref<17xf32>, memref<17xi64>
  func.return
}

// -----

// Nothing to place: a launch from input to output.

// CHECK: edgec.arena_bytes = 0 : i64
// CHECK-LABEL: func.func @main(
// CHECK-NEXT: lane.launch
// CHECK-NEXT: func.return
func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
  lane.launch @k(%x, %y) : memref<64xf32>, memref<64xf32>
  func.return
}
