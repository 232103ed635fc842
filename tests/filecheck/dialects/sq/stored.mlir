// RUN: edgec-opt %s | edgec-opt | filecheck %s

// Weights in integers next to float32 numbers.

// CHECK-LABEL: func.func @linear
func.func @linear(%x: tensor<1x4xf32>, %w: tensor<2x4x!sq.quant<i8<-7:7>, scale = "s", zero_point = "z", axis = 0, group = 2>>, %b: tensor<2xf32>) -> tensor<1x2xf32> {
  // CHECK-NEXT: sq.linear %x, %w bias(%b : tensor<2xf32>) {epilogue = []} : tensor<1x4xf32>, tensor<2x4x!sq.quant<i8<-7:7>, scale = "s", zero_point = "z", axis = 0, group = 2>> -> tensor<1x2xf32>
  %y = sq.linear %x, %w bias(%b : tensor<2xf32>) {epilogue = []} : tensor<1x4xf32>, tensor<2x4x!sq.quant<i8<-7:7>, scale = "s", zero_point = "z", axis = 0, group = 2>> -> tensor<1x2xf32>
  func.return %y : tensor<1x2xf32>
}

// CHECK-LABEL: func.func @recurrent
func.func @recurrent(%g: tensor<3x1x2xf32>, %h: tensor<1x2xf32>, %w: tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>>) -> tensor<1x2xf32> {
  // CHECK-NEXT: nn.recurrent rnn_relu %g, %w from %h {reverse = false} : tensor<3x1x2xf32>, tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> from tensor<1x2xf32> -> tensor<3x1x2xf32>, tensor<1x2xf32>
  %y, %l = nn.recurrent rnn_relu %g, %w from %h {reverse = false} : tensor<3x1x2xf32>, tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> from tensor<1x2xf32> -> tensor<3x1x2xf32>, tensor<1x2xf32>
  func.return %l : tensor<1x2xf32>
}
