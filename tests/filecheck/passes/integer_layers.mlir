// RUN: edgec-opt %s -p integer-layers | filecheck %s

// A convolution of what is dequantized; signed bytes become unsigned ones, also for
// whoever else reads them.

// CHECK-LABEL: func.func @signed(
// CHECK-NEXT: %[[Q:.*]] = sq.quantize %x : {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 131>>
// CHECK-NEXT: %[[A:.*]] = sq.dequantize %[[Q]]
// CHECK-NEXT: %[[W:.*]] = nn.constant "w" : tensor<1x4x1x1x!sq.quant<i8<-127:127>
// CHECK-NEXT: %[[Y:.*]] = sq.conv %[[Q]], %[[W]] {nn.path = "first", {{.*}}epilogue = []} : {{.*}} -> tensor<1x1x2x2xf32>
// CHECK-NEXT: func.return %[[Y]], %[[A]]
func.func @signed(%x: tensor<1x4x2x2xf32>) -> (tensor<1x1x2x2xf32>, tensor<1x4x2x2xf32>) {
  %q = sq.quantize %x : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 3>>
  %a = sq.dequantize %q : (tensor<1x4x2x2x!sq.quant<i8<-128:127>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x2xf32>
  %c = nn.constant "w" : tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<1x4x1x1x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x4x1x1xf32>
  %y = nn.conv %a, %w {nn.path = "first", stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %y, %a : tensor<1x1x2x2xf32>, tensor<1x4x2x2xf32>
}

// Layers without quantized weights are left alone.

// CHECK-LABEL: func.func @floats(
// CHECK: nn.conv
// CHECK-NOT: sq.why_float
// CHECK: func.return
func.func @floats(%x: tensor<1x4x2x2xf32>, %w: tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32> {
  %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
  func.return %y : tensor<1x1x2x2xf32>
}

// A linear layer reads what is flattened as it is.

// CHECK-LABEL: func.func @linear(
// CHECK: %[[V:.*]] = nn.constant "v" : tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
// CHECK: sq.linear %x, %[[V]] {nn.path = "flat", epilogue = []} : tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x3xf32>
func.func @linear(%x: tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x3xf32> {
  %a = sq.dequantize %x : (tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<2x4x1x2xf32>
  %f = nn.reshape %a : (tensor<2x4x1x2xf32>) -> tensor<2x8xf32>
  %c = nn.constant "v" : tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = sq.dequantize %c : (tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<3x8xf32>
  %y = nn.linear %f, %w {nn.path = "flat"} : (tensor<2x8xf32>, tensor<3x8xf32>) -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}
