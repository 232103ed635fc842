"""Leave weights in integers where the layer is bound by reading them.

What: a linear layer with float32 inputs and few rows, or a recurrent layer, whose
weight is `sq.dequantize` of a constant reads the constant itself. The linear layer
becomes an `sq.linear`.

Why: with few rows each weight is used a few times only, so that the time is that of
reading them. Integers take a quarter of the bytes, and codes, where a weight has at
most 16 or 4 values, an eighth or a sixteenth.

How: asks the kernels in codes (`edgec.kernels.linear.stored`) whether they take the
weight: integers that less their zero points are signed bytes, with one scale, one for
each row, or one for each group of a row. The choice of bits is lossless, and `sq.why`
says it. All other layers are left as they are, for `integer-layers` and
`decompose-quantization`.

Invariants: needs `nn` and `sq`; runs before `integer-layers`, which gives the weights
that are left float32 numbers. Inputs, sums and results are float32 as before, but a sum
is multiplied by the scale, not each weight: results differ in rounding only.

Source: Frantar et al., "GPTQ" (ICLR 2023), section 4: with few rows, kernels that
dequantize a weight when they read it are faster by what they do not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput
from edgec.kernels.linear.stored import StoredWeight, stored_weight
from edgec.kernels.linear.weight_only import code_bits
from edgec.passes.analysis.linear_inputs import quantized_rows
from edgec.passes.base import ReportingPass
from edgec.passes.constants import constant_name
from edgec.passes.patterns.rewriting import erase_dead, producer

MOST_ROWS = 8
"""Rows of a linear layer up to which decoding weights costs less than it saves."""


@dataclass(frozen=True)
class WeightOnly(ReportingPass):
    """Leave weights in integers where the layer is bound by reading them.

    **Before**

    ```mlir
    !w = !sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>
    func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
      %c = nn.constant "w" : tensor<2x2x!w>
      %w = sq.dequantize %c : (tensor<2x2x!w>) -> tensor<2x2xf32>
      %y = nn.linear %x, %w : (tensor<1x2xf32>, tensor<2x2xf32>) -> tensor<1x2xf32>
      func.return %y : tensor<1x2xf32>
    }
    ```

    **After**

    ```mlir
    !w = !sq.quant<i8<-7:7>, scale = 0.25, zero_point = 0>
    func.func @main(%x: tensor<1x2xf32>) -> tensor<1x2xf32> {
      %c = nn.constant "w" : tensor<2x2x!w>
      %y = sq.linear %x, %c {epilogue = [],
        sq.why = "integer weights; float32 inputs"}
        : tensor<1x2xf32>, tensor<2x2x!w> -> tensor<1x2xf32>
      func.return %y : tensor<1x2xf32>
    }
    ```
    """

    name = "weight-only"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count `linear` and `recurrent` layers that read integers."""
        weights = weights_of(ctx)
        counts: dict[str, int] = dict.fromkeys(("linear", "recurrent"), 0)
        for layer in list(op.walk()):
            if not isinstance(layer, nn.LinearOp | nn.RecurrentOp):
                continue
            constant = _constant(layer.weight)
            if constant is None or not _is_bound_by_weights(layer):
                continue
            why = _why(layer, constant, weights)
            if why is None:
                continue
            if isinstance(layer, nn.LinearOp):
                new = sq.LinearOp(
                    layer.input, constant, layer.bias, (), (), layer.result.type
                )
                new.attributes.update(layer.attributes)
                new.attributes["sq.why"] = StringAttr(why)
                Rewriter.replace_op(layer, new)
                counts["linear"] += 1
            else:
                layer.operands[1] = constant
                layer.attributes["sq.why"] = StringAttr(why)
                counts["recurrent"] += 1
        erase_dead(op)
        return counts


def _constant(weight: SSAValue) -> SSAValue | None:
    """The constant in integers that a weight is dequantized from."""
    maker = producer(weight, sq.DequantizeOp)
    if maker is None or not isinstance(maker.input.owner, nn.ConstantOp):
        return None
    return maker.input


def _is_bound_by_weights(op: nn.LinearOp | nn.RecurrentOp) -> bool:
    """Whether a weight serves few rows of float32 numbers."""
    if isinstance(op, nn.RecurrentOp):
        return True
    is_float = quantized_rows(op.input) is None
    return is_float and math.prod(nn.shape_of(op.result)[:-1]) <= MOST_ROWS


def _why(
    op: nn.LinearOp | nn.RecurrentOp, constant: SSAValue, weights: WeightStore
) -> str | None:
    """One line for the report on a weight that the kernel takes; None for others."""
    if constant_name(constant) not in weights:
        # Programs in text may come without weights: their types must do.
        type_ = sq.quant_type(constant)
        assert type_ is not None
        is_plain = type_.numbers is not None and type_.numbers[1] == 0
        taken = is_plain and not type_.is_unsigned
        return "integer weights; float32 inputs" if taken else None
    try:
        found = stored_weight(constant, weights)
        if found.group is not None and isinstance(op, nn.RecurrentOp):
            return None
        return explain(found)
    except InvalidInput:
        return None


def explain(found: StoredWeight) -> str:
    """The codes that a weight needs; raises `InvalidInput` if no kernel has them."""
    bits = code_bits(found.weight, found.group)
    zeros = 1 - np.count_nonzero(found.weight) / max(found.weight.size, 1)
    group = "" if found.group is None else f" in groups of {found.group}"
    return f"weights of {bits} bits{group}, {zeros:.0%} zero; float32 inputs"
