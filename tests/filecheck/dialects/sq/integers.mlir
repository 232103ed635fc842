// RUN: edgec-opt %s | edgec-opt | filecheck %s

// Products of bytes: the result in float32, and in bytes with a residual of bytes.

// CHECK-LABEL: func.func @products(
// CHECK: sq.conv {{.*}} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 0>> -> tensor<1x4x2x2xf32>
// CHECK: sq.conv {{.*}} extras(%x : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK: sq.elementwise {{.*}} -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
func.func @products(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> (tensor<1x4x2x2xf32>, tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>) {
  %w = nn.constant "w" : tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 0>>
  %b = nn.constant "b" : tensor<4xf32>
  %f = sq.conv %x, %w bias(%b : tensor<4xf32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 0>> -> tensor<1x4x2x2xf32>
  %q = sq.conv %x, %w extras(%x : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0>]} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 0>> -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %e = sq.elementwise %q {epilogue = [#sq.step<"relu">]} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> -> tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
  func.return %f, %e : tensor<1x4x2x2xf32>, tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 0>>
}

// Linear layers read rows of bytes, or flatten what has more dimensions.

// CHECK-LABEL: func.func @linear(
// CHECK: sq.linear {{.*}} : tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
// CHECK: sq.linear {{.*}} extras(%e : tensor<5xf32>) {{.*}} -> tensor<2x5xf32>
func.func @linear(%x: tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %e: tensor<5xf32>) -> tensor<2x5xf32> {
  %v = nn.constant "v" : tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %w = nn.constant "w" : tensor<5x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>
  %q = sq.linear %x, %v {epilogue = []} : tensor<2x4x1x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x8x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  %y = sq.linear %q, %w extras(%e : tensor<5xf32>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<2x3x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<5x3x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x5xf32>
  func.return %y : tensor<2x5xf32>
}
