// RUN: edgec-opt %s -p rewrite-algebra | filecheck %s

// The scale of the scores goes into the query's weight; zeros stay zero.

// CHECK-LABEL: func.func @scaled_scores(
// CHECK: nn.constant dense<{{\[\[}}5.000000e-01, 0.000000e+00]]> : tensor<1x2xf32>
// CHECK-NEXT: nn.constant dense<2.000000e+00> : tensor<1xf32>
// CHECK-NEXT: nn.linear
// CHECK-NEXT: nn.transpose
// CHECK-NEXT: nn.matmul
// CHECK-NEXT: func.return
func.func @scaled_scores(%x: tensor<3x2xf32>, %k: tensor<3x1xf32>) -> tensor<1x1xf32> {
  %w = nn.constant dense<[[2.0, 0.0]]> : tensor<1x2xf32>
  %b = nn.constant dense<8.0> : tensor<1xf32>
  %c = nn.constant dense<0.25> : tensor<f32>
  %q = nn.linear %x, %w, %b : (tensor<3x2xf32>, tensor<1x2xf32>, tensor<1xf32>) -> tensor<3x1xf32>
  %t = nn.transpose %q {permutation = array<i64: 1, 0>} : (tensor<3x1xf32>) -> tensor<1x3xf32>
  %s = nn.matmul %t, %k : (tensor<1x3xf32>, tensor<3x1xf32>) -> tensor<1x1xf32>
  %y = nn.binary mul %s, %c : (tensor<1x1xf32>, tensor<f32>) -> tensor<1x1xf32>
  func.return %y : tensor<1x1xf32>
}

// A common factor, and steps in a row.

// CHECK-LABEL: func.func @sum_of_products(
// CHECK-SAME: %[[A:.*]]: tensor<4xf32>, %[[B:.*]]: tensor<4xf32>, %[[C:.*]]: tensor<4xf32>)
// CHECK-NEXT: %[[S:.*]] = nn.binary add %[[A]], %[[B]]
// CHECK-NEXT: %[[P:.*]] = nn.binary mul %[[S]], %[[C]]
// CHECK-NEXT: %[[K:.*]] = nn.constant dense<6.000000e+00> : tensor<f32>
// CHECK-NEXT: nn.binary mul %[[P]], %[[K]]
// CHECK-NEXT: func.return
func.func @sum_of_products(%a: tensor<4xf32>, %b: tensor<4xf32>, %c: tensor<4xf32>) -> tensor<4xf32> {
  %two = nn.constant dense<2.0> : tensor<f32>
  %three = nn.constant dense<3.0> : tensor<f32>
  %l = nn.binary mul %a, %c : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %r = nn.binary mul %c, %b : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %s = nn.binary add %l, %r : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %t = nn.binary mul %s, %two : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %y = nn.binary mul %t, %three : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  func.return %y : tensor<4xf32>
}

// exp(log(x)) is x only where x is not negative.

// CHECK-LABEL: func.func @logarithms(
// CHECK-NEXT: nn.unary abs
// CHECK-NEXT: nn.unary log
// CHECK-NEXT: nn.unary exp
// CHECK-NEXT: func.return
func.func @logarithms(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %a = nn.unary abs %x : (tensor<4xf32>) -> tensor<4xf32>
  %l = nn.unary log %a : (tensor<4xf32>) -> tensor<4xf32>
  %e = nn.unary exp %l : (tensor<4xf32>) -> tensor<4xf32>
  %m = nn.unary log %x : (tensor<4xf32>) -> tensor<4xf32>
  %f = nn.unary exp %m : (tensor<4xf32>) -> tensor<4xf32>
  func.return %e, %f : tensor<4xf32>, tensor<4xf32>
}

// Integers are left alone.

// CHECK-LABEL: func.func @integers(
// CHECK: nn.binary add
func.func @integers(%x: tensor<4xi64>) -> tensor<4xi64> {
  %zero = nn.constant dense<0> : tensor<i64>
  %y = nn.binary add %x, %zero : (tensor<4xi64>, tensor<i64>) -> tensor<4xi64>
  func.return %y : tensor<4xi64>
}
