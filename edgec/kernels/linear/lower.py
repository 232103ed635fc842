"""From linear layers and matrix products to their kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels.constants import constant_name
from edgec.kernels.conv.pairs import as_pairs
from edgec.kernels.linear.columns import ColumnLinear, pack_linear_columns
from edgec.kernels.linear.dense import Linear, linear_block, pack_linear
from edgec.kernels.linear.lower_codes import lower_codes
from edgec.kernels.linear.lower_stored import lower_weight_only
from edgec.kernels.linear.matmul import Matmul
from edgec.kernels.linear.product import best_block
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import (
    dense_weight,
    layout_of,
    require_f32,
    steps_of,
)


def _linear(
    op: nn.LinearOp | sq.LinearOp,
    weights: WeightStore,
    lanes: int,
    extras: Sequence[SSAValue],
    steps: tuple[sq.Step, ...],
) -> Lowered:
    reads_pairs, writes_pairs = sq.has_bf16(op.input), sq.has_bf16(op.result)
    require_f32(*extras)
    if reads_pairs:
        _require_rows(op)
    else:
        require_f32(op.input, op.result)
    source, result = layout_of(op.input), layout_of(op.result)
    *lead, columns = nn.shape_of(op.result)
    block = linear_block(lanes, math.prod(lead), columns)
    dense = dense_weight(op.weight, weights)
    name, width = constant_name(op.weight.owner), block.vectors * lanes
    if reads_pairs:
        pairs = pack_linear(as_pairs(dense, columns), lanes, block.vectors)
        packed = Packed(f"{name}.pairs{width}", pairs)
    else:
        numbers = pack_linear(dense, lanes, block.vectors)
        packed = Packed(f"{name}.columns{width}", numbers)
    arguments: list[SSAValue | Packed] = [op.input, packed]
    if op.bias is not None:
        arguments.append(op.bias)
    places = tuple(layout_of(extra) for extra in extras)
    end = (op.bias is not None, steps, places, block)
    spec = Linear(source, result, *end, reads_pairs, writes_pairs)
    return Lowered(spec, (*arguments, *extras))


def _require_rows(op: nn.LinearOp | sq.LinearOp) -> None:
    """Pairs are neighbours in a row only where axis 1 is the last one, and even."""
    shape = nn.shape_of(op.result)
    if len(shape) != 2:
        raise InvalidInput(
            f"input and result must have rank 2 in bfloat16, got rank {len(shape)}"
        )
    if sq.has_bf16(op.result) and shape[1] % PAIR:
        raise InvalidInput(
            f"result must hold f32 where its size is no multiple of {PAIR}, got "
            f"{shape[1]}"
        )


def lower_linear(op: nn.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer without epilogue."""
    return _linear(op, weights, lanes, (), ())


def lower_fused_linear(op: sq.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer with its epilogue."""
    if sq.has_integers(op.input):
        return lower_codes(op, weights, lanes)
    if sq.has_integers(op.weight):
        return lower_weight_only(op, weights, lanes)
    if isinstance(op.weight.owner, sq.WeightOp):
        return _sparse_linear(op, op.weight.owner, weights)
    return _linear(op, weights, lanes, op.extras, steps_of(op.epilogue))


def _sparse_linear(
    op: sq.LinearOp, source: sq.WeightOp, weights: WeightStore
) -> Lowered:
    """A linear layer whose weight is in compressed columns."""
    family = None if op.kernel is None else op.kernel.family.data
    encoding = source.encoding
    if family != "columns" or not isinstance(encoding, sq.ColumnsAttr):
        raise PassFailed(
            "'sq.linear' op with an encoded weight must have the kernel 'columns', got "
            f"{family}: run choose-kernel and sparse-linear first"
        )
    require_f32(op.input, op.result, *op.extras)
    place = layout_of(op.input)
    spec = ColumnLinear(
        place,
        layout_of(op.result),
        encoding.block_size,
        encoding.num_columns,
        op.bias is not None,
        steps_of(op.epilogue),
        tuple(layout_of(extra) for extra in op.extras),
    )
    names = source.resource_names()
    arrays = {key: weights[name] for key, name in names.items()}
    tables = pack_linear_columns(encoding.storage(arrays), place.strides[-1])
    packed = [
        Packed(f"{names['weight']}.{field}", getattr(tables, field))
        for field in ("w", "where", "starts")
    ]
    bias = () if op.bias is None else (op.bias,)
    return Lowered(spec, (op.input, *packed, *bias, *op.extras))


def _matmul(
    op: nn.MatmulOp | sq.MatmulOp,
    lanes: int,
    extras: Sequence[SSAValue],
    steps: tuple[sq.Step, ...],
) -> Lowered:
    require_f32(op.lhs, op.rhs, *extras)
    result = layout_of(op.result)
    block = best_block(lanes, *result.shape[-2:])
    places = tuple(layout_of(extra) for extra in extras)
    spec = Matmul(layout_of(op.lhs), layout_of(op.rhs), result, block, steps, places)
    return Lowered(spec, (op.lhs, op.rhs, *extras))


def lower_matmul(op: nn.MatmulOp, _: WeightStore, lanes: int) -> Lowered:
    """A product of two activations without epilogue."""
    return _matmul(op, lanes, (), ())


def lower_fused_matmul(op: sq.MatmulOp, _: WeightStore, lanes: int) -> Lowered:
    """A product of two activations with its epilogue."""
    return _matmul(op, lanes, op.extras, steps_of(op.epilogue))
