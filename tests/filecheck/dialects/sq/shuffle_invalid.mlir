// RUN: edgec-opt %s --verify-diagnostics --split-input-file | filecheck %s

// CHECK: 'sq.shuffle_channels' op input must hold !sq.quant, got f32
func.func @numbers(%x: tensor<1x6x2xf32>) {
  %y = sq.shuffle_channels %x {groups = 2 : i64} : (tensor<1x6x2xf32>) -> tensor<1x6x2xf32>
  func.return
}

// -----

// CHECK: 'sq.shuffle_channels' op channels must be a multiple of the groups, got 4 groups of (1, 6, 2)
func.func @groups(%x: tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) {
  %y = sq.shuffle_channels %x {groups = 4 : i64} : (tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>
  func.return
}

// -----

// CHECK: 'sq.shuffle_channels' op {{.*}}scale = 0.25
func.func @types(%x: tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) {
  %y = sq.shuffle_channels %x {groups = 2 : i64} : (tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 1>>) -> tensor<1x6x2x!sq.quant<ui8<0:255>, scale = 0.25, zero_point = 1>>
  func.return
}
