"""A layer as text: equal texts have equal kernels, whatever the weights are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.kernels.conv.pairs import count_pair_columns
from edgec.kernels.conv.quad_columns import count_columns, count_wide_columns
from edgec.kernels.cost_quads import MOST_FILTERS
from edgec.passes.constants import read_constant


def layer_key(op: sq.ConvOp | sq.LinearOp, weights: WeightStore) -> str:
    """Op, shapes, geometry, encoding and epilogue; not the layouts or the kernel.

    It is the same before and after any choice, so it names a layer in a tuning log.
    Weights in integers and in bfloat16 have no encoding, so the columns that their
    kernels keep are counted.
    """
    encoding = nn.tensor_type(op.weight).encoding
    parts = [
        op.name,
        _sizes(nn.shape_of(op.input)),
        f"weight={_sizes(nn.shape_of(op.weight))}",
        str(encoding) if isinstance(encoding, sq.WeightEncoding) else "dense",
    ]
    if isinstance(op, sq.ConvOp):
        parts += [
            f"stride={_sizes(op.stride.get_values())}",
            f"low={_sizes(op.padding_low.get_values())}",
            f"high={_sizes(op.padding_high.get_values())}",
            f"dilation={_sizes(op.dilation.get_values())}",
            f"groups={op.groups.value.data}",
        ]
    if sq.has_integers(op.input):
        parts.append("int8" if sq.has_integers(op.result) else "int8 to f32")
        parts += _kept(op, weights)
    if sq.has_bf16(op.input):
        parts.append("bf16" if sq.has_bf16(op.result) else "bf16 to f32")
        parts += _kept_pairs(op, weights)
    if op.bias is not None:
        parts.append("bias")
    steps = [str(step) for step in op.epilogue]
    parts.append(f"epilogue=[{' '.join(steps)}]")
    extras = [
        _sizes(nn.shape_of(extra)) + (" bf16" if sq.has_bf16(extra) else "")
        for extra in op.extras
    ]
    return " ".join([*parts, *(f"extra={extra}" for extra in extras)])


def _kept(op: sq.ConvOp | sq.LinearOp, weights: WeightStore) -> list[str]:
    """Columns of quads that are kept by blocks of 4, 8, … filters.

    `bounded` counts wide ones twice: those of targets without a dot product.
    """
    weight = read_constant(op.weight, weights)
    is_whole = isinstance(op, sq.ConvOp) and op.groups.value.data > 1
    if weight is None or is_whole or isinstance(op, sq.LinearOp):
        return []
    blocks = range(QUAD, MOST_FILTERS + 1, QUAD)
    kept, wide = count_columns(weight, blocks), count_wide_columns(weight, blocks)
    slots = [count + wide[block] for block, count in kept.items()]
    return [
        f"{name}={','.join(map(str, counts))}"
        for name, counts in (("kept", kept.values()), ("bounded", slots))
    ]


def _kept_pairs(op: sq.ConvOp | sq.LinearOp, weights: WeightStore) -> list[str]:
    """Columns of pairs that are kept by blocks of 2, 4, … filters."""
    weight = read_constant(op.weight, weights)
    if weight is None or isinstance(op, sq.LinearOp):
        return []
    blocks = range(PAIR, MOST_FILTERS + 1, PAIR)
    counts = count_pair_columns(np.asarray(weight, np.float32), blocks).values()
    return [f"kept={','.join(map(str, counts))}"]


def _sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
