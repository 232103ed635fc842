// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'lane.load' op must access a flat buffer of f32, got memref<64xi32>
func.func @element_type(%i: index, %x: memref<64xi32>) {
  %v = lane.load %x[%i] : memref<64xi32>, vector<16xf32>
  func.return
}

// -----

// CHECK: 'lane.store' op must access a flat buffer of f32, got memref<8x8xf32>
func.func @rank(%i: index, %v: f32, %x: memref<8x8xf32>) {
  lane.store %v, %x[%i] : f32, memref<8x8xf32>
  func.return
}

// -----

// CHECK: 'lane.load' op mask must be vector<16xi1>, got vector<8xi1>
func.func @mask(%i: index, %m: vector<8xi1>, %x: memref<64xf32>) {
  %v = lane.load %x[%i], %m : vector<8xi1> of : memref<64xf32>, vector<16xf32>
  func.return
}

// -----

// CHECK: 'lane.load_mask' op offset must be a multiple of 8 bits, got 4
func.func @mask_offset(%i: index, %x: memref<64xi8>) {
  %v = lane.load_mask %x[%i] {offset = 4 : i64} : memref<64xi8>, vector<16xi1>
  func.return
}

// -----

// CHECK: 'lane.prefetch' op must access a flat buffer of f32, got memref<8x8xf32>
func.func @prefetch(%i: index, %x: memref<8x8xf32>) {
  lane.prefetch %x[%i] : memref<8x8xf32>
  func.return
}

// -----

// CHECK: 'lane.tail_mask' op mask must be vector<4xi1>, got vector<4xf32>
func.func @tail(%n: index) {
  %m = lane.tail_mask %n : vector<4xf32>
  func.return
}

// -----

// CHECK: 'lane.splat' op result must be a vector of f32, got vector<8xi32>
func.func @splat(%s: f32) {
  %v = lane.splat %s : f32 to vector<8xi32>
  func.return
}

// -----

// CHECK: 'lane.constant' op must give one number in lanes of f32, got 2 for vector<8xf32>
func.func @constant() {
  %v = lane.constant {value = array<f64: 0.5, 1.0>} : vector<8xf32>
  func.return
}

// -----

// CHECK: 'lane.unary' op clamp takes 2 params, got ()
func.func @params(%v: vector<8xf32>) {
  %u = lane.unary clamp %v : vector<8xf32>
  func.return
}

// -----

// CHECK: 'lane.select' op mask must be vector<8xi1>, got vector<4xi1>
func.func @select(%m: vector<4xi1>, %v: vector<8xf32>) {
  %u = lane.select %m, %v, %v : vector<4xi1>, vector<8xf32>
  func.return
}

// -----

// CHECK: 'lane.concat' op result must be vector<16xf32>, got vector<12xf32>
func.func @concat_result(%v: vector<8xf32>) {
  %u = lane.concat %v, %v : vector<8xf32> to vector<12xf32>
  func.return
}

// -----

// CHECK: 'lane.slice' op must take lanes 0 to 7 of vector<8xf32>, got vector<4xf32> from lane 5
func.func @slice_range(%v: vector<8xf32>) {
  %u = lane.slice %v {first = 5 : i64} : vector<8xf32> to vector<4xf32>
  func.return
}

// -----

// CHECK: 'lane.slice' op must take lanes 0 to 7 of vector<8xf32>, got vector<4xi32> from lane 0
func.func @slice_element(%v: vector<8xf32>) {
  %u = lane.slice %v {first = 0 : i64} : vector<8xf32> to vector<4xi32>
  func.return
}

// -----

// CHECK: 'lane.fold' op lanes must be a power of two, got 6
func.func @fold_lanes(%v: vector<6xf32>) {
  %u = lane.fold add %v : vector<6xf32> to f32
  func.return
}

// -----

// CHECK: 'lane.fold' op result must be f32, got i32
func.func @fold_result(%v: vector<8xf32>) {
  %u = lane.fold add %v : vector<8xf32> to i32
  func.return
}

// -----

// CHECK: 'lane.compare' op result must be vector<8xi1>, got i1
func.func @compare(%v: vector<8xf32>) {
  %u = lane.compare eq %v, %v : vector<8xf32> to i1
  func.return
}

// -----

// CHECK: 'lane.cast' op must keep the number of lanes, got vector<8xf32> to vector<4xi32>
func.func @cast(%v: vector<8xf32>) {
  %u = lane.cast %v : vector<8xf32> to vector<4xi32>
  func.return
}

// -----

// CHECK: 'lane.barrier' op must stand in the kernel itself or in scf.for, got scf.if
func.func @barrier_of_some_threads(%c: i1) {
  scf.if %c {
    lane.barrier
  }
  func.return
}

// -----

// CHECK: 'lane.barrier' op must stand in the kernel itself or in scf.for, got lane.for_units
func.func @barrier_in_a_unit(%thread: index, %threads: index, %total: index) {
  lane.for_units %thread, %threads, %total {
  ^bb0(%unit: index):
    lane.barrier
  }
  func.return
}

// -----

// CHECK: 'lane.barrier' op must stand in loops with constant bounds only
func.func @barrier_as_often_as_the_number_of_the_thread(%thread: index, %threads: index) {
  %one = arith.constant 1 : index
  scf.for %i = %one to %thread step %one {
    lane.barrier
  }
  func.return
}

// -----

// CHECK: 'lane.dot_quads' op takes lanes of i32, got vector<16xi8>
func.func @quads_of_bytes(%x: vector<16xi8>) {
  %r = lane.dot_quads %x, %x, %x : vector<16xi8>
  func.return
}

// -----

// CHECK: 'lane.dot_words' op takes lanes of i32, got vector<16xi16>
func.func @words_of_halves(%x: vector<16xi16>) {
  %r = lane.dot_words %x, %x, %x {odd} : vector<16xi16>
  func.return
}

// -----

// CHECK: 'lane.transpose_quads' op takes a multiple of 4 lanes, got vector<2xi32>
func.func @half_a_block(%x: vector<2xi32>) {
  %a, %b, %c, %d = lane.transpose_quads %x, %x, %x, %x : vector<2xi32>
  func.return
}

// -----

// CHECK: 'lane.pack_quads' op takes a multiple of 4 lanes, got vector<2xi32>
func.func @half_a_block_packed(%x: vector<2xi32>) {
  %r = lane.pack_quads %x, %x, %x, %x {transposed} : vector<2xi32>
  func.return
}

// -----

// CHECK: 'lane.unpack_quads' op must be signed or in order, got both
func.func @signed_in_order(%x: vector<16xi32>) {
  %a, %b, %c, %d = lane.unpack_quads %x {signed, in_order} : vector<16xi32>
  func.return
}

// -----

// CHECK: 'lane.min_quads' op takes lanes of i32, got vector<16xi8>
func.func @smaller_bytes(%x: vector<16xi8>) {
  %r = lane.min_quads %x, %x : vector<16xi8>
  func.return
}

// -----

// CHECK: 'lane.pack_quads' op offset must be in 0..255, got 256
func.func @quad_offset(%x: vector<16xi32>) {
  %r = lane.pack_quads %x, %x, %x, %x {offset = 256 : i64} : vector<16xi32>
  func.return
}

// -----

// CHECK: 'lane.decode_quads' op takes vectors of i32 with a multiple of 4 lanes, got vector<2xi32>
func.func @short_table(%x: vector<2xi32>) {
  %r = lane.decode_quads %x, %x {part = 0} : vector<2xi32>
  func.return
}

// -----

// CHECK: 'lane.decode_quads' op part must be 0 or 1, got 2
func.func @code_part(%x: vector<16xi32>) {
  %r = lane.decode_quads %x, %x {part = 2} : vector<16xi32>
  func.return
}

// -----

// CHECK: 'lane.look_up_bytes' op takes lanes of i32, got vector<16xf32>
func.func @looked_up_numbers(%x: vector<16xf32>, %table: memref<64xi32>) {
  %r = lane.look_up_bytes %x, %table : vector<16xf32>, memref<64xi32>
  func.return
}

// -----

// CHECK: 'lane.look_up_bytes' op table must be memref<64xi32>, got memref<16xi32>
func.func @part_of_a_table(%x: vector<16xi32>, %table: memref<16xi32>) {
  %r = lane.look_up_bytes %x, %table : vector<16xi32>, memref<16xi32>
  func.return
}

// -----

// CHECK: 'lane.dot_pairs' op takes lanes of f32 and pairs of i32, got vector<16xi32> and vector<16xi32>
func.func @pairs_of_integers(%x: vector<16xi32>) {
  %r = lane.dot_pairs %x, %x, %x : vector<16xi32>, vector<16xi32>
  func.return
}

// -----

// CHECK: 'lane.dot_pairs' op takes as many lanes of f32 as of i32, got vector<16xf32> and vector<8xi32>
func.func @too_few_pairs(%acc: vector<16xf32>, %x: vector<8xi32>) {
  %r = lane.dot_pairs %acc, %x, %x : vector<16xf32>, vector<8xi32>
  func.return
}

// -----

// CHECK: 'lane.pack_pairs' op takes lanes of f32 and pairs of i32, got vector<16xf32> and vector<16xf32>
func.func @packed_floats(%x: vector<16xf32>) {
  %r = lane.pack_pairs %x, %x : vector<16xf32> -> vector<16xf32>
  func.return
}

// -----

// CHECK: 'lane.unpack_pairs' op takes as many lanes of f32 as of i32, got vector<8xf32> and vector<16xi32>
func.func @half_unpacked(%x: vector<16xi32>) {
  %a, %b = lane.unpack_pairs %x : vector<16xi32> -> vector<8xf32>
  func.return
}
