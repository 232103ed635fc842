// RUN: edgec-opt %s --split-input-file -p weight-only | filecheck %s

// A few rows: the constant is read as it is, whatever follows.
// CHECK-LABEL: func.func @main
// CHECK: %[[C:.*]] = nn.constant
// CHECK-NOT: sq.dequantize
// CHECK: sq.linear %{{.*}}, %[[C]] {{.*}}sq.why = "integer weights; float32 inputs"
func.func @main(%x: tensor<8x2xf32>) -> tensor<8x2xf32> {
  %c = nn.constant "w" : tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<2x2xf32>
  %y = nn.linear %x, %w : (tensor<8x2xf32>, tensor<2x2xf32>) -> tensor<8x2xf32>
  func.return %y : tensor<8x2xf32>
}

// -----

// Recurrent layers have few rows in each step.
// CHECK-LABEL: func.func @main
// CHECK-NOT: sq.dequantize
// CHECK: nn.recurrent rnn_tanh {{.*}}sq.why = "integer weights; float32 inputs"
func.func @main(%g: tensor<3x9x2xf32>, %h: tensor<9x2xf32>) -> tensor<9x2xf32> {
  %c = nn.constant "w" : tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<2x2xf32>
  %y, %l = nn.recurrent rnn_tanh %g, %w from %h {reverse = false}
    : tensor<3x9x2xf32>, tensor<2x2xf32> from tensor<9x2xf32>
    -> tensor<3x9x2xf32>, tensor<9x2xf32>
  func.return %l : tensor<9x2xf32>
}

// -----

// Too many rows.
// CHECK-LABEL: func.func @main
// CHECK: sq.dequantize
// CHECK: nn.linear
func.func @main(%x: tensor<9x2xf32>) -> tensor<9x2xf32> {
  %c = nn.constant "w" : tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<2x2xf32>
  %y = nn.linear %x, %w : (tensor<9x2xf32>, tensor<2x2xf32>) -> tensor<9x2xf32>
  func.return %y : tensor<9x2xf32>
}

// -----

// The zero point is not 0, and the integers are not known.
// CHECK-LABEL: func.func @main
// CHECK: sq.dequantize
// CHECK: nn.linear
func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
  %c = nn.constant "w" : tensor<2x2x!sq.quant<i8<-128:127>, scale = 0.25, zero_point = -100>>
  %w = sq.dequantize %c : (tensor<2x2x!sq.quant<i8<-128:127>, scale = 0.25, zero_point = -100>>) -> tensor<2x2xf32>
  %y = nn.linear %x, %w : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  func.return %y : tensor<1x2xf32>
}

// -----

// Both are integers: not weights only.
// CHECK-LABEL: func.func @main
// CHECK: nn.linear
func.func @main(%x: tensor<1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x2xf32> {
  %a = sq.dequantize %x : (tensor<1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x2xf32>
  %c = nn.constant "w" : tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>>) -> tensor<2x2xf32>
  %y = nn.linear %a, %w : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
  func.return %y : tensor<1x2xf32>
}
