// RUN: edgec-opt %s --split-input-file --verify-diagnostics | filecheck %s

// CHECK: 'sq.linear' op result must hold f32, got i64
func.func @result(%x: tensor<1x4xf32>, %w: tensor<2x4x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>>) {
  %y = sq.linear %x, %w {epilogue = []} : tensor<1x4xf32>, tensor<2x4x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> -> tensor<1x2xi64>
  func.return
}

// -----

// CHECK: 'sq.linear' op operand besides a quantized weight must hold f32, got i64
func.func @input(%x: tensor<1x4xi64>, %w: tensor<2x4x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>>) {
  %y = sq.linear %x, %w {epilogue = []} : tensor<1x4xi64>, tensor<2x4x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> -> tensor<1x2xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op operands must have one element type, got f32, !sq.quant
func.func @state(%g: tensor<3x1x2xf32>, %h: tensor<1x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>>, %w: tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>>) {
  %y, %l = nn.recurrent rnn_relu %g, %w from %h {reverse = false} : tensor<3x1x2xf32>, tensor<2x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> from tensor<1x2x!sq.quant<i8<-7:7>, scale = 0.5, zero_point = 0>> -> tensor<3x1x2xf32>, tensor<1x2xf32>
  func.return
}
