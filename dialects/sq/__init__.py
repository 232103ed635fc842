"""`sq`: compressed weights, memory layouts and fused ops.

Made by `encode-sparsity` (weights), `fuse` (ops with an epilogue), `layout-tuning` and
`eliminate-data-movement` (layouts); left by `convert-to-lane`. Encodings are attributes
of a tensor type, so every op of `nn` works on encoded tensors as it is: an encoding
says how values are stored, never what they are. A weight encoding (`#sq.pattern`,
`#sq.columns`, and later codebooks) is a subclass of `WeightEncoding`; `#sq.lane` and
`#sq.strided` are layouts of activations. `!sq.quant` is an element type: integers that
stand for numbers; `sq.quantize` and `sq.dequantize` go there and back,
`sq.average` is the mean of such integers, `sq.resize` interpolates them.

    %w = sq.weight {reorder = "w.reorder", …} : tensor<8x4x3x3xf32, #sq.pattern<…>>
    %y = sq.conv %x, %w bias(%b : …) extras(%r : …) {stride = …, epilogue =
      [#sq.step<"add", operand = 0>, #sq.step<"relu">]}
      : …, … -> tensor<1x8x8x8xf32, #sq.lane<pitch = 9, …>>
"""

from __future__ import annotations

from xdsl.ir import Dialect

from edgec.dialects.sq.attrs import (
    KernelAttr,
    LaneAttr,
    Step,
    StepAttr,
)
from edgec.dialects.sq.average import (
    MOST_POSITIONS,
    AverageOp,
    adaptive_positions,
)
from edgec.dialects.sq.dispatch import DispatchOp, YieldOp
from edgec.dialects.sq.encodings import ColumnsAttr, PatternAttr, WeightEncoding
from edgec.dialects.sq.halves import has_bf16
from edgec.dialects.sq.integers import (
    byte_of,
    has_integers,
    why_no_activation,
    why_no_weight,
)
from edgec.dialects.sq.ops import (
    ConvOp,
    ElementwiseOp,
    LinearOp,
    MatmulOp,
    addable_types,
)
from edgec.dialects.sq.quant import (
    DequantizeOp,
    QuantizeOp,
    QuantType,
    RequantizeOp,
    quant_type,
)
from edgec.dialects.sq.quant_dynamic import (
    KINDS,
    ChooseQparamsOp,
    DequantizeDynamicOp,
    QuantizeDynamicOp,
)
from edgec.dialects.sq.resize import ResizeOp
from edgec.dialects.sq.shuffle import ShuffleChannelsOp
from edgec.dialects.sq.storage import ConvertLayoutOp, WeightOp, layout_of
from edgec.dialects.sq.strided import StridedAttr

__all__ = [
    "KINDS",
    "MOST_POSITIONS",
    "SQ",
    "AverageOp",
    "ChooseQparamsOp",
    "ColumnsAttr",
    "ConvOp",
    "ConvertLayoutOp",
    "DequantizeDynamicOp",
    "DequantizeOp",
    "DispatchOp",
    "ElementwiseOp",
    "KernelAttr",
    "LaneAttr",
    "LinearOp",
    "MatmulOp",
    "PatternAttr",
    "QuantType",
    "QuantizeDynamicOp",
    "QuantizeOp",
    "RequantizeOp",
    "ResizeOp",
    "ShuffleChannelsOp",
    "Step",
    "StepAttr",
    "StridedAttr",
    "WeightEncoding",
    "WeightOp",
    "YieldOp",
    "adaptive_positions",
    "addable_types",
    "byte_of",
    "has_bf16",
    "has_integers",
    "layout_of",
    "quant_type",
    "why_no_activation",
    "why_no_weight",
]

SQ = Dialect(
    "sq",
    [
        WeightOp,
        ConvOp,
        LinearOp,
        MatmulOp,
        ElementwiseOp,
        ConvertLayoutOp,
        QuantizeOp,
        DequantizeOp,
        RequantizeOp,
        AverageOp,
        ResizeOp,
        ShuffleChannelsOp,
        ChooseQparamsOp,
        QuantizeDynamicOp,
        DequantizeDynamicOp,
        DispatchOp,
        YieldOp,
    ],
    [PatternAttr, ColumnsAttr, LaneAttr, StridedAttr, StepAttr, KernelAttr, QuantType],
)
