// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.conv' op input cannot be multiplied in integers: its integers are signed
func.func @signed(%x: tensor<1x4x2x2x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op input cannot be multiplied in integers: it has several scales
func.func @several(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = "s", zero_point = "z", axis = 1>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = "s", zero_point = "z", axis = 1>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op weight cannot be multiplied in integers: its integers are unsigned
func.func @unsigned(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op weight cannot be multiplied in integers: it has a zero point
func.func @moved(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 3>>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 3>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op weight cannot be multiplied in integers: it has scales along axis 1
func.func @axis(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 1>>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = "s", zero_point = "z", axis = 1>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op weight must hold !sq.quant, got f32
func.func @weight(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1xf32>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1xf32> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op bias must hold f32
func.func @bias(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>, %b: tensor<4xi32>) -> tensor<1x4x2x2xf32> {
  %y = sq.conv %x, %w bias(%b : tensor<4xi32>) {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>> -> tensor<1x4x2x2xf32>
  func.return %y : tensor<1x4x2x2xf32>
}

// -----

// CHECK: 'sq.conv' op result must hold f32 or unsigned bytes with one scale: its integers are signed
func.func @result(%x: tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>) -> tensor<1x4x2x2x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>> {
  %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = []} : tensor<1x4x2x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x1x1x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>> -> tensor<1x4x2x2x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>
  func.return %y : tensor<1x4x2x2x!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>>
}

// -----

// CHECK: 'sq.elementwise' op extra operand 0 must hold f32 or unsigned bytes with one scale: it is neither f32 nor quantized, got i64
func.func @extra(%x: tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %e: tensor<4xi64>) -> tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> {
  %y = sq.elementwise %x extras(%e : tensor<4xi64>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>> -> tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
  func.return %y : tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>
}

// -----

// CHECK: 'sq.linear' op weight must hold !sq.quant, got f32
func.func @linear_weight(%x: tensor<1x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<2x4xf32>) -> tensor<1x2xf32> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<1x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<2x4xf32> -> tensor<1x2xf32>
  func.return %y : tensor<1x2xf32>
}

// -----

// CHECK: 'sq.linear' op extra operand 0 must hold f32
func.func @linear_extra(%x: tensor<1x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<1x4xf32> {
  %y = sq.linear %x, %w extras(%x : tensor<1x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>) {epilogue = [#sq.step<"add", operand = 0>]} : tensor<1x4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<4x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<1x4xf32>
  func.return %y : tensor<1x4xf32>
}

// -----

// CHECK: input and weight must be [..., K] and [N, K], got (2, 8), (3, 4)
func.func @linear_flat(%x: tensor<2x4x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<3x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<2x3xf32> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<2x4x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<2x3xf32>
  func.return %y : tensor<2x3xf32>
}

// -----

// CHECK: rank must be at least 2, got (4,)
func.func @linear_rank(%x: tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, %w: tensor<3x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>>) -> tensor<3xf32> {
  %y = sq.linear %x, %w {epilogue = []} : tensor<4x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 128>>, tensor<3x4x!sq.quant<i8<-127:127>, scale = 0.25, zero_point = 0>> -> tensor<3xf32>
  func.return %y : tensor<3xf32>
}
