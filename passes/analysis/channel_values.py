"""Which channels hold one number at all positions, whatever the input is.

A filter without weights gives its bias; an activation of a number is a number, and so
is the sum of two. Zero times anything is zero: infinities and what is not a number are
not looked for, as pruned weights are not multiplied either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray, dtype_of
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.passes.analysis.channels import Channels
from edgec.passes.analysis.products import Doubles, Product, input_values
from edgec.passes.constants import read_constant


def channel_values(
    module: ModuleOp,
    channels: Channels,
    products: Mapping[nn.ConvOp | nn.LinearOp, Product],
    weights: WeightStore,
) -> dict[SSAValue, Doubles]:
    """Of each tensor with channels their values, NaN where there is none."""
    state = Values(channels, products, weights, {})
    for op in module.walk():
        if op.results and op.results[0] in channels.axes:
            rule = RULES.get(type(op), unknown)
            with np.errstate(all="ignore"):
                found = np.asarray(rule(state, op), np.float64)
            state.known[op.results[0]] = rounded(found, op.results[0])
    return state.known


def rounded(values: Doubles, like: SSAValue) -> Doubles:
    """What a tensor of that type holds; only floats have values."""
    dtype = dtype_of(nn.tensor_type(like).element_type)
    if not np.issubdtype(dtype, np.floating):
        return np.full_like(values, np.nan)
    with np.errstate(all="ignore"):
        return values.astype(dtype).astype(np.float64)


@dataclass
class Values:
    """What is known when the ops are visited in order."""

    channels: Channels
    products: Mapping[nn.ConvOp | nn.LinearOp, Product]
    weights: WeightStore
    known: dict[SSAValue, Doubles]

    def size(self, value: SSAValue) -> int:
        """How many channels a tensor has."""
        return nn.shape_of(value)[self.channels.axes[value]]

    def of(self, value: SSAValue) -> Doubles:
        """The values of a tensor, which may have no channels."""
        return self.known.get(value, np.full(1, np.nan))

    def along(self, value: SSAValue, axis: int) -> Doubles:
        """The same, also of a constant; the axis counts from the last."""
        array = read_constant(value, self.weights)
        return self.of(value) if array is None else by_position(array, axis)


def by_position(array: AnyArray, axis: int) -> Doubles:
    """The number that stands everywhere at each position of the axis, or NaN."""
    if array.ndim < -axis:
        axis, array = -1, array.reshape(-1, 1)
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    is_same = (rows == rows[:, :1]).all(axis=1)
    return np.where(is_same, rows[:, 0], np.nan).astype(np.float64)


def unknown(state: Values, op: Operation) -> Doubles:
    """No channel has a value."""
    return np.full(state.size(op.results[0]), np.nan)


def product(state: Values, op: nn.ConvOp | nn.LinearOp) -> Doubles:
    """The bias of filters that read nothing else."""
    found = state.products[op]
    values = input_values(found, state.channels, state.known)
    return found.results(values).reshape(-1)


def unary(state: Values, op: nn.UnaryOp) -> Doubles:
    """The function of the number."""
    return UNARY[op.kind.data](state.of(op.input), *op.parameters)


def binary(state: Values, op: nn.BinaryOp) -> Doubles:
    """The function of both numbers; a product with zero needs only that one."""
    axis = state.channels.axes[op.result] - len(nn.shape_of(op.result))
    left, right = state.along(op.lhs, axis), state.along(op.rhs, axis)
    found = BINARY[op.kind.data](left, right)
    if op.kind.data is nn.BinaryKind.MUL:
        found = np.where((left == 0) | (right == 0), 0.0, found)
    return np.broadcast_to(found, state.size(op.result))


def same(state: Values, op: Operation) -> Doubles:
    """Moved, repeated or read between two positions, a number stays."""
    values, size = state.of(op.operands[0]), state.size(op.results[0])
    if size >= len(values):
        return np.repeat(values, size // len(values))
    parts = values.reshape(size, -1)
    return by_position(parts, 0)


def pool(state: Values, op: nn.PoolOp) -> Doubles:
    """Every window holds an element; the mean of some and of padding is another."""
    values = state.of(op.input)
    is_whole = not any(op.padding.get_values()) and not op.ceil_mode
    if op.kind.data is nn.PoolKind.MAX or (is_whole and not op.divisor.value.data):
        return values
    return np.where(values == 0, 0.0, np.nan)


def reduce(state: Values, op: nn.ReduceOp) -> Doubles:
    """Of sums and products only those of zeros."""
    values = state.of(op.input)
    if op.kind.data in (nn.ReduceKind.SUM, nn.ReduceKind.PROD):
        return np.where(values == 0, 0.0, np.nan)
    return values


def concat(state: Values, op: nn.ConcatOp) -> Doubles:
    """The values of the parts, or what the parts agree on."""
    axis, rank = state.channels.axes[op.result], len(nn.shape_of(op.result))
    parts: list[Doubles] = []
    for value in op.inputs:
        size = nn.shape_of(value)[axis]
        parts.append(np.broadcast_to(state.along(value, axis - rank), size))
    if op.axis.value.data == axis:
        return np.concatenate(parts)
    return by_position(np.stack(parts, axis=1), 0)


def slice_(state: Values, op: nn.SliceOp) -> Doubles:
    """The values of the channels that are read."""
    start: int = op.starts.get_values()[state.channels.axes[op.input]]
    return state.of(op.input)[start : start + state.size(op.result)]


def pad(state: Values, op: nn.PadOp) -> Doubles:
    """Padding with another number makes two."""
    values = state.of(op.input)
    if op.kind.data is not nn.PadKind.CONSTANT:
        return values
    return np.where(values == op.value.value.data, values, np.nan)


# Every rule knows the type of its op, the table does not.
RULES: dict[type[Operation], Callable[[Values, Any], Doubles]] = {
    nn.ConvOp: product,
    nn.LinearOp: product,
    nn.UnaryOp: unary,
    nn.PoolOp: pool,
    nn.AdaptivePoolOp: same,
    nn.ResizeOp: same,
    nn.BinaryOp: binary,
    nn.ConcatOp: concat,
    nn.SliceOp: slice_,
    nn.PadOp: pad,
    nn.BroadcastOp: same,
    nn.TransposeOp: same,
    nn.ReduceOp: reduce,
    nn.ReshapeOp: same,
}
"""What each op makes of its operands' values; others are `unknown`."""
