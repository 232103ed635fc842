// RUN: edgec-opt %s -p cse,dce --statistics --print-ir-after-all 2>&1 | filecheck %s
// RUN: edgec-opt %s --pass-pipeline cse | filecheck %s --check-prefix=ALIAS
// RUN: not edgec-opt %s -p cs 2>&1 | filecheck %s --check-prefix=UNKNOWN
// RUN: edgec-opt --version | filecheck %s --check-prefix=VERSION

// The statistics come first, then the IR, for each pass.
// CHECK-LABEL: cse: {{[0-9.]+}} s
// CHECK: IR after cse
// CHECK: arith.constant 1
// CHECK-NOT: arith.constant 1
// CHECK: dce: {{[0-9.]+}} s
// CHECK: IR after dce
// CHECK: func.func @one_constant_is_enough

// ALIAS: func.func @one_constant_is_enough

// UNKNOWN: argument -p: no pass named 'cs'; did you mean 'cse'?

// VERSION: edgec-opt {{[0-9.]+}} (xdsl 0.74.{{[0-9]+}})

func.func @one_constant_is_enough() -> i32 {
  %a = arith.constant 1 : i32
  %b = arith.constant 1 : i32
  %c = arith.addi %a, %b : i32
  func.return %c : i32
}
