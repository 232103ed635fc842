"""`nn`: one op per inference operator, on tensors, with named weights.

Made by `edgec.importer`; left by `convert-to-lane`. Spatial tensors are `[N, C, *S]`,
weights are as torch stores them. A tensor type may carry an encoding (`#sq.…`): it says
how the tensor lies in memory or how its values are stored, never what they are, so no
op here looks at it.

    func.func @main(%x: tensor<1x3x8x8xf32>) -> tensor<1x4x8x8xf32> {
      %w = nn.constant "conv.weight" : tensor<4x3x3x3xf32>
      %y = nn.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>,
        padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x3x8x8xf32>, tensor<4x3x3x3xf32>) -> tensor<1x4x8x8xf32>
      %z = nn.unary relu %y : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
      func.return %z : tensor<1x4x8x8xf32>
    }
"""

from __future__ import annotations

from xdsl.ir import Dialect

from edgec.dialects.nn.attrs import (
    UNARY_PARAMS,
    BinaryKind,
    BinaryKindAttr,
    PadKind,
    PadKindAttr,
    PoolKind,
    PoolKindAttr,
    RecurrentKind,
    RecurrentKindAttr,
    ReduceKind,
    ReduceKindAttr,
    ResizeKind,
    ResizeKindAttr,
    UnaryKind,
    UnaryKindAttr,
    float_array,
    float_attr,
    int_array,
    int_attr,
)
from edgec.dialects.nn.base import (
    AnyTensor,
    NNOperation,
    check_bias,
    check_rank,
    floats,
    ints,
    like,
    shape_of,
    tensor,
    tensor_type,
)
from edgec.dialects.nn.compute import (
    ConvOp,
    ConvTransposeOp,
    LinearOp,
    MatmulOp,
)
from edgec.dialects.nn.elementwise import (
    BinaryOp,
    CastOp,
    ConstantOp,
    UnaryOp,
)
from edgec.dialects.nn.norms import (
    BatchNormOp,
    GroupNormOp,
    LayerNormOp,
    SoftmaxOp,
)
from edgec.dialects.nn.pooling import (
    AdaptivePoolOp,
    PoolOp,
    ReduceOp,
    ResizeOp,
)
from edgec.dialects.nn.recurrent import RecurrentOp
from edgec.dialects.nn.shape_ops import (
    BroadcastOp,
    ConcatOp,
    PadOp,
    ReshapeOp,
    SliceOp,
    TransposeOp,
)

NN = Dialect(
    "nn",
    [
        ConstantOp,
        ConvOp,
        ConvTransposeOp,
        BatchNormOp,
        LinearOp,
        MatmulOp,
        RecurrentOp,
        UnaryOp,
        BinaryOp,
        SoftmaxOp,
        LayerNormOp,
        GroupNormOp,
        PoolOp,
        AdaptivePoolOp,
        ReduceOp,
        ReshapeOp,
        TransposeOp,
        ConcatOp,
        SliceOp,
        PadOp,
        BroadcastOp,
        ResizeOp,
        CastOp,
    ],
    [
        UnaryKindAttr,
        BinaryKindAttr,
        PoolKindAttr,
        ReduceKindAttr,
        PadKindAttr,
        ResizeKindAttr,
        RecurrentKindAttr,
    ],
)

__all__ = [
    "NN",
    "UNARY_PARAMS",
    "AdaptivePoolOp",
    "AnyTensor",
    "BatchNormOp",
    "BinaryKind",
    "BinaryKindAttr",
    "BinaryOp",
    "BroadcastOp",
    "CastOp",
    "ConcatOp",
    "ConstantOp",
    "ConvOp",
    "ConvTransposeOp",
    "GroupNormOp",
    "LayerNormOp",
    "LinearOp",
    "MatmulOp",
    "NNOperation",
    "PadKind",
    "PadKindAttr",
    "PadOp",
    "PoolKind",
    "PoolKindAttr",
    "PoolOp",
    "RecurrentKind",
    "RecurrentKindAttr",
    "RecurrentOp",
    "ReduceKind",
    "ReduceKindAttr",
    "ReduceOp",
    "ReshapeOp",
    "ResizeKind",
    "ResizeKindAttr",
    "ResizeOp",
    "SliceOp",
    "SoftmaxOp",
    "TransposeOp",
    "UnaryKind",
    "UnaryKindAttr",
    "UnaryOp",
    "check_bias",
    "check_rank",
    "float_array",
    "float_attr",
    "floats",
    "int_array",
    "int_attr",
    "ints",
    "like",
    "shape_of",
    "tensor",
    "tensor_type",
]
