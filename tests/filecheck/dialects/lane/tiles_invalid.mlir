// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'lane.tile_zero' op tile must be in 0..7, got 8
func.func @number() {
  lane.tile_zero {tile = 8}
  func.return
}

// -----

// CHECK: 'lane.tile_load' op tile must be in 0..7, got -1
func.func @negative(%i: index, %x: memref<512xi32>) {
  lane.tile_load %x[%i] by %i {tile = -1} : memref<512xi32>
  func.return
}

// -----

// CHECK: 'lane.tile_load' op must access a flat buffer of i32 or f32, got memref<512xi8>
func.func @element(%i: index, %x: memref<512xi8>) {
  lane.tile_load %x[%i] by %i {tile = 0} : memref<512xi8>
  func.return
}

// -----

// CHECK: 'lane.tile_store' op must access a flat buffer of i32 or f32, got memref<16x16xi32>
func.func @rank(%i: index, %x: memref<16x16xi32>) {
  lane.tile_store %x[%i] by %i {tile = 0} : memref<16x16xi32>
  func.return
}

// -----

// CHECK: 'lane.tile_dot' op must name three different tiles, got [0, 4, 0]
func.func @same() {
  lane.tile_dot {acc = 0, lhs = 4, rhs = 0}
  func.return
}

// -----

// CHECK: 'lane.tile_configure' op must stand in a function, not in a loop or branch
func.func @loop(%i: index) {
  scf.for %k = %i to %i step %i {
    lane.tile_configure
  }
  func.return
}

// -----

// CHECK: 'lane.tile_dot_pairs' op must name three different tiles, got [0, 4, 4]
func.func @same_pairs() {
  lane.tile_dot_pairs {acc = 0, lhs = 4, rhs = 4}
  func.return
}

// -----

// CHECK: 'lane.tile_dot_pairs' op tile must be in 0..7, got 9
func.func @number_pairs() {
  lane.tile_dot_pairs {acc = 9, lhs = 4, rhs = 5}
  func.return
}
