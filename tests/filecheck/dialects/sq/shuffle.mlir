// RUN: edgec-opt %s | edgec-opt | filecheck %s

// CHECK-LABEL: func.func @shuffle(
// CHECK-NEXT: sq.shuffle_channels %x {groups = 2 : i64} : (tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>
func.func @shuffle(%x: tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>> {
  %y = sq.shuffle_channels %x {groups = 2 : i64} : (tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>
  func.return %y : tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>
}
