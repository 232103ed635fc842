"""From linear layers with quantized weights to their kernels."""

from __future__ import annotations

import math

from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.kernels.linear.codes import CodeShape
from edgec.kernels.linear.stored import StoredWeight, stored_weight
from edgec.kernels.linear.weight_only import (
    CodeLinear,
    dense_block,
    pack_scales,
    pack_weight,
    weight_shape,
)
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import layout_of, require_f32, steps_of


def stored_shape_of(op: sq.LinearOp, found: StoredWeight, lanes: int) -> CodeShape:
    """The stored weight of a layer, without packing it."""
    return weight_shape(found.weight, _block(op, lanes), found.group)


def _block(op: sq.LinearOp, lanes: int) -> int:
    """Outputs of a block, if no zeros are left out."""
    *lead, outputs = nn.shape_of(op.result)
    return dense_block(lanes, math.prod(lead), outputs)


def lower_weight_only(op: sq.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer of float32 inputs whose weight is a quantized constant."""
    require_f32(op.input, op.result, *op.extras)
    found = stored_weight(op.weight, weights)
    codes = pack_weight(found.weight, _block(op, lanes), found.group)
    spec = CodeLinear(
        layout_of(op.input),
        layout_of(op.result),
        codes.shape,
        1 if found.group is None else found.weight.shape[1] // found.group,
        op.bias is not None,
        steps_of(op.epilogue),
        tuple(layout_of(extra) for extra in op.extras),
    )
    hint = f"{found.name}.codes{codes.shape.block}"
    arrays = {name: codes.arrays[name] for name in codes.shape.buffers()}
    arrays["scale"] = pack_scales(found.scale, codes.shape.block)
    packed = [Packed(f"{hint}.{name}", array) for name, array in arrays.items()]
    bias: tuple[SSAValue, ...] = () if op.bias is None else (op.bias,)
    return Lowered(spec, (op.input, *packed, *bias, *op.extras))
