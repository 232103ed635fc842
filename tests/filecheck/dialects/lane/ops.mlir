// RUN: edgec-opt %s | edgec-opt | filecheck %s
// RUN: edgec-opt %s --print-op-generic | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @memory
func.func @memory(%i: index, %x: memref<64xf32>, %bits: memref<8xi8>) {
  // CHECK-NEXT: %v = lane.load %x[%i] : memref<64xf32>, vector<16xf32>
  %v = lane.load %x[%i] : memref<64xf32>, vector<16xf32>
  // CHECK-NEXT: %s = lane.load %x[%i] {offset = 3 : i64} : memref<64xf32>, f32
  %s = lane.load %x[%i] {offset = 3 : i64} : memref<64xf32>, f32
  // CHECK-NEXT: %e = lane.load %x[%i] {stride = 2 : i64} : memref<64xf32>, vector<16xf32>
  %e = lane.load %x[%i] {stride = 2 : i64} : memref<64xf32>, vector<16xf32>
  // CHECK-NEXT: %b = lane.load_mask %bits[%i] {offset = 8 : i64} : memref<8xi8>, vector<16xi1>
  %b = lane.load_mask %bits[%i] {offset = 8 : i64} : memref<8xi8>, vector<16xi1>
  // CHECK-NEXT: %m = lane.tail_mask %i : vector<16xi1>
  %m = lane.tail_mask %i : vector<16xi1>
  // CHECK-NEXT: %p = lane.load %x[%i], %m : vector<16xi1> of : memref<64xf32>, vector<16xf32>
  %p = lane.load %x[%i], %m : vector<16xi1> of : memref<64xf32>, vector<16xf32>
  // CHECK-NEXT: lane.store %v, %x[%i] {offset = 16 : i64} : vector<16xf32>, memref<64xf32>
  lane.store %v, %x[%i] {offset = 16 : i64} : vector<16xf32>, memref<64xf32>
  // CHECK-NEXT: lane.store %p, %x[%i], %m : vector<16xi1> of : vector<16xf32>, memref<64xf32>
  lane.store %p, %x[%i], %m : vector<16xi1> of : vector<16xf32>, memref<64xf32>
  // CHECK-NEXT: lane.prefetch %x[%i] {offset = 32 : i64} : memref<64xf32>
  lane.prefetch %x[%i] {offset = 32 : i64} : memref<64xf32>
  // CHECK-NEXT: %t = lane.scratch {offset = 64 : i64} : memref<64xf32>
  %t = lane.scratch {offset = 64 : i64} : memref<64xf32>
  func.return
}

// CHECK-LABEL: func.func @values
func.func @values(%v: vector<8xf32>, %s: f32, %n: i32) {
  // CHECK-NEXT: %w = lane.splat %s : f32 to vector<8xf32>
  %w = lane.splat %s : f32 to vector<8xf32>
  // CHECK-NEXT: %c = lane.constant {value = array<f64: 5.000000e-01>} : vector<8xf32>
  %c = lane.constant {value = array<f64: 0.5>} : vector<8xf32>
  // CHECK-NEXT: %d = lane.dot %c, %v, %w : vector<8xf32>
  %d = lane.dot %c, %v, %w : vector<8xf32>
  // CHECK-NEXT: %u = lane.unary clamp %d {params = array<f64: 0.000000e+00, 6.000000e+00>} : vector<8xf32>
  %u = lane.unary clamp %d {params = array<f64: 0.0, 6.0>} : vector<8xf32>
  // CHECK-NEXT: %a = lane.binary add %u, %v : vector<8xf32>
  %a = lane.binary add %u, %v : vector<8xf32>
  // CHECK-NEXT: %g = lane.compare gt %a, %v : vector<8xf32> to vector<8xi1>
  %g = lane.compare gt %a, %v : vector<8xf32> to vector<8xi1>
  // CHECK-NEXT: %l = lane.select %g, %a, %v : vector<8xi1>, vector<8xf32>
  %l = lane.select %g, %a, %v : vector<8xi1>, vector<8xf32>
  // CHECK-NEXT: %cc = lane.concat %l, %a : vector<8xf32> to vector<16xf32>
  %cc = lane.concat %l, %a : vector<8xf32> to vector<16xf32>
  // CHECK-NEXT: %even, %odd = lane.deinterleave %l, %a : vector<8xf32>
  %even, %odd = lane.deinterleave %l, %a : vector<8xf32>
  // CHECK-NEXT: %sl = lane.slice %cc {first = 4 : i64} : vector<16xf32> to vector<8xf32>
  %sl = lane.slice %cc {first = 4 : i64} : vector<16xf32> to vector<8xf32>
  // CHECK-NEXT: %f = lane.fold max %l : vector<8xf32> to f32
  %f = lane.fold max %l : vector<8xf32> to f32
  // CHECK-NEXT: %q = lane.compare lt %f, %s : f32 to i1
  %q = lane.compare lt %f, %s : f32 to i1
  // CHECK-NEXT: %r = lane.select %q, %f, %s : i1, f32
  %r = lane.select %q, %f, %s : i1, f32
  // CHECK-NEXT: %k = lane.cast %l : vector<8xf32> to vector<8xi32>
  %k = lane.cast %l : vector<8xf32> to vector<8xi32>
  // CHECK-NEXT: %j = lane.index %n : i32
  %j = lane.index %n : i32
  func.return
}

// CHECK-LABEL: func.func @main
// CHECK-SAME: attributes {edgec.inputs = [tensor<4x16xf32>], edgec.outputs = [tensor<64xf32>]}
func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) attributes {edgec.inputs = [tensor<4x16xf32>], edgec.outputs = [tensor<64xf32>]} {
  // CHECK-NEXT: %b = lane.buffer : memref<64xf32>
  %b = lane.buffer : memref<64xf32>
  // CHECK-NEXT: %c = lane.buffer {offset = 256 : i64} : memref<64xf32>
  %c = lane.buffer {offset = 256 : i64} : memref<64xf32>
  // CHECK-NEXT: %w = lane.weights "conv.weight.packed" : memref<576xf32>
  %w = lane.weights "conv.weight.packed" : memref<576xf32>
  // CHECK-NEXT: lane.launch @kernel(%x, %w, %y) {layer = "conv"} : memref<64xf32>, memref<576xf32>, memref<64xf32>
  lane.launch @kernel(%x, %w, %y) {layer = "conv"} : memref<64xf32>, memref<576xf32>, memref<64xf32>
  func.return
}

// CHECK-LABEL: func.func @barrier
func.func @barrier(%thread: index, %threads: index) {
  // CHECK: lane.barrier
  lane.barrier
  %one = arith.constant 1 : index
  %steps = arith.constant 9 : index
  // CHECK: scf.for
  scf.for %i = %one to %steps step %one {
    // CHECK-NEXT: lane.barrier
    lane.barrier
  }
  func.return
}

// CHECK-LABEL: func.func @quads
func.func @quads(%acc: vector<16xi32>, %x: vector<16xi32>, %w: vector<16xi32>) {
  // CHECK-NEXT: lane.dot_quads %acc, %x, %w : vector<16xi32>
  %r = lane.dot_quads %acc, %x, %w : vector<16xi32>
  // CHECK-NEXT: %a, %b, %c, %d = lane.unpack_quads %x : vector<16xi32>
  %a, %b, %c, %d = lane.unpack_quads %x : vector<16xi32>
  // CHECK-NEXT: lane.pack_quads %a, %b, %c, %d {offset = 128 : i64} : vector<16xi32>
  %q = lane.pack_quads %a, %b, %c, %d {offset = 128 : i64} : vector<16xi32>
  // CHECK-NEXT: lane.pack_quads %a, %b, %c, %d : vector<16xi32>
  %p = lane.pack_quads %a, %b, %c, %d : vector<16xi32>
  // CHECK-NEXT: lane.max_quads %q, %p : vector<16xi32>
  %m = lane.max_quads %q, %p : vector<16xi32>
  // CHECK-NEXT: lane.pack_quads %a, %b, %c, %d {transposed} : vector<16xi32>
  %t = lane.pack_quads %a, %b, %c, %d {transposed} : vector<16xi32>
  // CHECK-NEXT: %e, %f, %g, %h = lane.transpose_quads %a, %b, %c, %d : vector<16xi32>
  %e, %f, %g, %h = lane.transpose_quads %a, %b, %c, %d : vector<16xi32>
  // CHECK-NEXT: lane.min_quads %q, %p : vector<16xi32>
  %n = lane.min_quads %q, %p : vector<16xi32>
  func.return
}

// CHECK-LABEL: func.func @codes
func.func @codes(%codes: vector<16xi32>, %table: vector<16xi32>) {
  // CHECK-NEXT: lane.decode_quads %codes, %table {part = 1 : i64} : vector<16xi32>
  %q = lane.decode_quads %codes, %table {part = 1} : vector<16xi32>
  // CHECK-NEXT: %a, %b, %c, %d = lane.unpack_quads %q {signed} : vector<16xi32>
  %a, %b, %c, %d = lane.unpack_quads %q {signed} : vector<16xi32>
  // CHECK-NEXT: %e, %f, %g, %h = lane.unpack_quads %q {in_order} : vector<16xi32>
  %e, %f, %g, %h = lane.unpack_quads %q {in_order} : vector<16xi32>
  func.return
}

// CHECK-LABEL: func.func @byte_table
func.func @byte_table(%q: vector<16xi32>, %table: memref<64xi32>) {
  // CHECK-NEXT: lane.look_up_bytes %q, %table : vector<16xi32>, memref<64xi32>
  %r = lane.look_up_bytes %q, %table : vector<16xi32>, memref<64xi32>
  func.return
}

// CHECK-LABEL: func.func @bounded_quads
func.func @bounded_quads(%acc: vector<16xi32>, %x: vector<16xi32>) {
  // CHECK-NEXT: lane.dot_quads %acc, %x, %x {bounded} : vector<16xi32>
  %r = lane.dot_quads %acc, %x, %x {bounded} : vector<16xi32>
  func.return
}

// CHECK-LABEL: func.func @words
func.func @words(%acc: vector<8xi32>, %x: vector<8xi32>, %a: i32) {
  // CHECK-NEXT: lane.dot_words %acc, %x, %x : vector<8xi32>
  %r = lane.dot_words %acc, %x, %x : vector<8xi32>
  // CHECK-NEXT: lane.dot_words %acc, %x, %x {odd} : vector<8xi32>
  %s = lane.dot_words %acc, %x, %x {odd} : vector<8xi32>
  // CHECK-NEXT: lane.dot_words %a, %a, %a {odd} : i32
  %t = lane.dot_words %a, %a, %a {odd} : i32
  func.return
}

// CHECK-LABEL: func.func @pairs
func.func @pairs(%acc: vector<16xf32>, %x: vector<16xi32>, %w: vector<16xi32>) {
  // CHECK-NEXT: lane.dot_pairs %acc, %x, %w : vector<16xf32>, vector<16xi32>
  %r = lane.dot_pairs %acc, %x, %w : vector<16xf32>, vector<16xi32>
  // CHECK-NEXT: %a, %b = lane.unpack_pairs %x : vector<16xi32> -> vector<16xf32>
  %a, %b = lane.unpack_pairs %x : vector<16xi32> -> vector<16xf32>
  // CHECK-NEXT: lane.pack_pairs %a, %b : vector<16xf32> -> vector<16xi32>
  %p = lane.pack_pairs %a, %b : vector<16xf32> -> vector<16xi32>
  // CHECK-NEXT: lane.pack_pairs %a, %b {in_order} : vector<16xf32> -> vector<16xi32>
  %o = lane.pack_pairs %a, %b {in_order} : vector<16xf32> -> vector<16xi32>
  func.return
}
