// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @tiles
func.func @tiles(%i: index, %step: index, %x: memref<512xi32>,
    %y: memref<512xf32>) {
  // CHECK-NEXT: lane.tile_configure
  lane.tile_configure
  // CHECK-NEXT: lane.tile_zero {tile = 0 : i64}
  lane.tile_zero {tile = 0}
  // CHECK-NEXT: lane.tile_load %x[%i] by %step {tile = 4 : i64} : memref<512xi32>
  lane.tile_load %x[%i] by %step {tile = 4} : memref<512xi32>
  // CHECK-NEXT: lane.tile_load %x[%i] by %step {tile = 7 : i64, offset = 16 : i64} : memref<512xi32>
  lane.tile_load %x[%i] by %step {tile = 7, offset = 16 : i64} : memref<512xi32>
  // CHECK-NEXT: lane.tile_dot {acc = 0 : i64, lhs = 4 : i64, rhs = 7 : i64}
  lane.tile_dot {acc = 0, lhs = 4, rhs = 7}
  // CHECK-NEXT: lane.tile_dot_pairs {acc = 0 : i64, lhs = 4 : i64, rhs = 7 : i64}
  lane.tile_dot_pairs {acc = 0, lhs = 4, rhs = 7}
  // CHECK-NEXT: lane.tile_store %x[%i] by %step {tile = 0 : i64} : memref<512xi32>
  lane.tile_store %x[%i] by %step {tile = 0} : memref<512xi32>
  // CHECK-NEXT: lane.tile_store %y[%i] by %step {tile = 1 : i64} : memref<512xf32>
  lane.tile_store %y[%i] by %step {tile = 1} : memref<512xf32>
  // CHECK-NEXT: lane.tile_release
  lane.tile_release
  func.return
}
