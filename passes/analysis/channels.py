"""Which channels of which tensors belong together.

A tensor that a convolution or linear layer makes has one axis of channels. What reads
it passes the channels on: an activation keeps them, a sum gives two tensors the same
ones, a concatenation puts them one after the other, and flattening makes a block of
features of each. Channels that have to be removed together form a *group*: the sum `a +
b` ties channel 3 of `a`, of `b` and of the result.

    a  0 1 2 ─┐                     groups   {a0, b0, s0, c0}, {a1, b1, s1, c1},
    b  0 1 2 ─┴─ + ─ s 0 1 2 ─┐              {a2, b2, s2, c2}, {d0, c3}, {d1, c4}
                 d 0 1       ─┴─ concat ─ c 0 1 2 3 4

A group is *fixed* if something needs to find its channels where they are: the caller of
the function, or an op that this analysis does not know. A tensor without known channels
counts as fixed.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023), section 3,
for groups of coupled layers; here single channels are grouped, which parts
concatenations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.dialects.shapes import Shape
from edgec.passes.constants import is_constant

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WeightKinds = tuple[type[Operation], ...]


@dataclass(frozen=True)
class Channels:
    """The channels of all tensors of a module, numbered one after the other."""

    axes: dict[SSAValue, int]
    """Axis of the channels, of tensors that have one."""
    first: dict[SSAValue, int]
    """Number of the tensor's first channel."""
    group: Ints
    """Of every channel the lowest number in its group, which stands for the group."""
    is_fixed: Bools
    """By the group's number."""
    ties: tuple[Ints, Ints]
    """Pairs of channels: that of an operand, and the one it becomes in a result."""

    def of(self, value: SSAValue) -> Ints:
        """The groups of a tensor's channels; the tensor has an axis."""
        start = self.first[value]
        return self.group[start : start + size_along(value, self.axes[value])]


def size_along(value: SSAValue, axis: int) -> int:
    """Size of a tensor along an axis."""
    return nn.shape_of(value)[axis]


def analyse(
    module: ModuleOp,
    weights: WeightKinds = (nn.ConstantOp,),
    rules: Rules | None = None,
) -> Channels:
    """The channels of a module; only weights made by an op of `weights` can change.

    `rules` are `RULES` unless the module is as the importer made it, see `MODEL_RULES`.
    """
    ties, table = Ties(weights), RULES if rules is None else rules
    for op in module.walk():
        if not isinstance(op, nn.ConstantOp | sq.WeightOp):
            table.get(type(op), unknown)(ties, op)
    return ties.solve()


@dataclass
class Ties:
    """What is known so far of the channels."""

    weights: WeightKinds
    """Ops that make weights which can be changed."""
    axes: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])
    first: dict[SSAValue, int] = field(default_factory=dict[SSAValue, int])
    count: int = 0
    pairs: list[tuple[Ints, Ints]] = field(default_factory=list[tuple[Ints, Ints]])
    fixed: list[Ints] = field(default_factory=list[Ints])

    def track(self, value: SSAValue, axis: int) -> None:
        """Give a tensor channels of its own."""
        self.axes[value], self.first[value] = axis, self.count
        self.count += size_along(value, axis)

    def numbers(self, value: SSAValue) -> Ints:
        """The channels of a tensor."""
        start = self.first[value]
        return np.arange(start, start + size_along(value, self.axes[value]))

    def fix(self, value: SSAValue) -> None:
        """No channel of the tensor may change, if it has any."""
        if value in self.axes:
            self.fixed.append(self.numbers(value))

    def fix_unless(self, value: SSAValue, axis: int) -> None:
        """Fix a tensor whose channels stand along another axis."""
        if self.axes.get(value, axis) != axis:
            self.fix(value)

    def tie(self, value: SSAValue, result: Ints, which: Ints | None = None) -> None:
        """Channels `which` (default: all) of a tensor are those of a result."""
        if value not in self.axes:
            self.fixed.append(result)
            return
        numbers = self.numbers(value)
        self.pairs.append((numbers if which is None else numbers[which], result))

    def pass_on(self, value: SSAValue, result: SSAValue, axis: int) -> None:
        """The result has the channels of the tensor, along `axis`."""
        self.track(result, axis)
        self.tie(value, self.numbers(result))

    def solve(self) -> Channels:
        """Groups by the lowest number in each."""
        none = np.zeros(0, np.int64)
        left = np.concatenate([none, *(pair[0] for pair in self.pairs)])
        right = np.concatenate([none, *(pair[1] for pair in self.pairs)])
        group = lowest_connected(self.count, left, right)
        is_fixed = np.zeros(self.count, np.bool_)
        is_fixed[group[np.concatenate([none, *self.fixed])]] = True
        return Channels(self.axes, self.first, group, is_fixed, (left, right))


def lowest_connected(count: int, left: Ints, right: Ints) -> Ints:
    """Of every node the lowest node that it is connected with.

    Every round each edge gives both ends the lower label, and labels their labels'.
    """
    label = np.arange(count, dtype=np.int64)
    while True:
        low = np.minimum(label[left], label[right])
        new = label.copy()
        for end in (left, right):
            np.minimum.at(new, end, low)
            np.minimum.at(new, label[end], low)
        new = new[new]
        if np.array_equal(new, label):
            return label
        label = new


# What the ops do with channels


def unknown(ties: Ties, op: Operation) -> None:
    """Everything that is read is fixed."""
    for value in op.operands:
        ties.fix(value)


def can_change(ties: Ties, op: nn.ConvOp | nn.LinearOp) -> bool:
    """Whether rows and columns of the weight can be removed or moved."""
    has_plain_bias = op.bias is None or isinstance(op.bias.owner, nn.ConstantOp)
    return isinstance(op.weight.owner, ties.weights) and has_plain_bias


def product(ties: Ties, op: nn.ConvOp | nn.LinearOp) -> None:
    """New channels, which have nothing to do with those of the input."""
    if not can_change(ties, op):
        unknown(ties, op)
        return
    axis = 1 if isinstance(op, nn.ConvOp) else len(nn.shape_of(op.result)) - 1
    ties.fix_unless(op.input, axis)
    ties.track(op.result, axis)
    if isinstance(op, nn.ConvOp) and is_depthwise(op):
        channels, filters = size_along(op.input, 1), size_along(op.result, 1)
        source = np.repeat(np.arange(channels), filters // channels)
        if ties.axes.get(op.input, axis) == axis:
            ties.tie(op.input, ties.numbers(op.result), source)
        else:
            ties.fix(op.result)


def is_depthwise(op: nn.ConvOp) -> bool:
    """Whether each filter reads one channel only, of more than one."""
    groups = op.groups.value.data
    return groups == size_along(op.input, 1) and groups > 1


def same(ties: Ties, op: Operation) -> None:
    """Every element by itself."""
    if op.operands[0] in ties.axes:
        ties.pass_on(op.operands[0], op.results[0], ties.axes[op.operands[0]])


def spatial(ties: Ties, op: Operation) -> None:
    """Every channel of axis 1 by itself."""
    ties.fix_unless(op.operands[0], 1)
    if ties.axes.get(op.operands[0]) == 1:
        same(ties, op)


def common_axis(ties: Ties, values: Sequence[SSAValue]) -> int | None:
    """The axis of the channels that some of the tensors have; counted from the last.

    Numpy's broadcasting aligns tensors there.
    """
    ranks = {value: len(nn.shape_of(value)) for value in values}
    found = {ties.axes[v] - ranks[v] for v in values if v in ties.axes}
    return found.pop() if len(found) == 1 else None


def binary(ties: Ties, op: nn.BinaryOp) -> None:
    """Both operands have the channels of the result, but for what is broadcast."""
    axis = common_axis(ties, op.operands)
    if axis is None:
        unknown(ties, op)
        return
    shape = nn.shape_of(op.result)
    ties.track(op.result, len(shape) + axis)
    for value in op.operands:
        if is_spread(value, axis, shape[axis]):
            ties.fix(value)
        elif not is_constant(value):
            ties.tie(value, ties.numbers(op.result))


def is_spread(value: SSAValue, axis: int, size: int) -> bool:
    """Whether broadcasting repeats a tensor along the axis, counted from the last."""
    shape = nn.shape_of(value)
    return len(shape) < -axis or shape[axis] != size


def concat(ties: Ties, op: nn.ConcatOp) -> None:
    """Channels one after the other, or side by side along another axis."""
    axis = common_axis(ties, op.operands)
    if axis is None:
        unknown(ties, op)
        return
    along = op.axis.value.data
    ties.track(op.result, len(nn.shape_of(op.result)) + axis)
    numbers, start = ties.numbers(op.result), 0
    for value in op.operands:
        part = numbers
        if along == ties.axes[op.result]:
            part = numbers[start : start + size_along(value, along)]
            start += len(part)
        if not is_constant(value):
            ties.tie(value, part)


def slice_(ties: Ties, op: nn.SliceOp) -> None:
    """Neighbouring channels, or part of another axis."""
    axis = ties.axes.get(op.input)
    if axis is None:
        return
    if op.steps.get_values()[axis] != 1:
        unknown(ties, op)
        return
    ties.track(op.result, axis)
    start: int = op.starts.get_values()[axis]
    which = np.arange(start, start + size_along(op.result, axis))
    ties.tie(op.input, ties.numbers(op.result), which)


def pad(ties: Ties, op: nn.PadOp) -> None:
    """Positions around each channel; new channels are not known."""
    axis = ties.axes.get(op.input)
    if axis is None or op.low.get_values()[axis] or op.high.get_values()[axis]:
        unknown(ties, op)
    else:
        same(ties, op)


def broadcast(ties: Ties, op: nn.BroadcastOp) -> None:
    """The same channels, unless one is repeated."""
    axis = common_axis(ties, op.operands)
    shape = nn.shape_of(op.result)
    if axis is None or is_spread(op.input, axis, shape[axis]):
        unknown(ties, op)
    else:
        ties.pass_on(op.input, op.result, len(shape) + axis)


def transpose(ties: Ties, op: nn.TransposeOp) -> None:
    """The channels stand along another axis."""
    if op.input in ties.axes:
        order = list(op.permutation.get_values())
        ties.pass_on(op.input, op.result, order.index(ties.axes[op.input]))


def reduce(ties: Ties, op: nn.ReduceOp) -> None:
    """Positions of each channel become one."""
    axis, axes = ties.axes.get(op.input), op.axes.get_values()
    if axis is None or axis in axes:
        unknown(ties, op)
        return
    gone = 0 if op.keep_dims else sum(other < axis for other in axes)
    ties.pass_on(op.input, op.result, axis - gone)


def reshape(ties: Ties, op: nn.ReshapeOp) -> None:
    """Each channel becomes some neighbouring ones, or neighbours become one."""
    old_axis = ties.axes.get(op.input)
    if old_axis is None:
        return
    old, new = nn.shape_of(op.input), nn.shape_of(op.result)
    axis = reshaped_axis(old, old_axis, new)
    if axis is None:
        ties.fix(op.input)
        return
    ties.track(op.result, axis)
    numbers = ties.numbers(op.result)
    if new[axis] >= old[old_axis]:
        source = np.repeat(np.arange(old[old_axis]), new[axis] // old[old_axis])
        ties.tie(op.input, numbers, source)
    else:
        ties.tie(op.input, np.repeat(numbers, old[old_axis] // new[axis]))


def reshaped_axis(old: Shape, axis: int, new: Shape) -> int | None:
    """The axis of `new` along which channels of `old` are neighbours; None without one.

    Either a channel is `k` neighbours there, or `k` neighbours are one position. Of
    several axes the longest splits the channels least.
    """
    before = math.prod(old[:axis])

    def fits(number: int) -> bool:
        size = new[number]
        is_whole = size % old[axis] == 0 or old[axis] % size == 0
        return math.prod(new[:number]) == before and is_whole

    found = [number for number in range(len(new)) if fits(number)]
    return max(found, key=lambda number: new[number], default=None)


def batch_norm(ties: Ties, op: nn.BatchNormOp) -> None:
    """Every channel of axis 1 by itself, if the statistics are those of training."""
    if all(map(is_constant, op.operands[1:])):
        spatial(ties, op)
    else:
        unknown(ties, op)


def conv_transpose(ties: Ties, op: nn.ConvTransposeOp) -> None:
    """What it reads may go; what it makes stays, as it has no rows of filters."""
    is_mixed = op.groups.value.data < size_along(op.input, 1)
    if is_mixed and all(map(is_constant, op.operands[1:])):
        ties.fix_unless(op.input, 1)
    else:
        unknown(ties, op)


# Every rule knows the type of its op, the table does not.
Rules = Mapping[type[Operation], Callable[[Ties, Any], None]]

RULES: Rules = {
    nn.ConvOp: product,
    nn.LinearOp: product,
    nn.UnaryOp: same,
    nn.CastOp: same,
    nn.PoolOp: spatial,
    nn.AdaptivePoolOp: spatial,
    nn.ResizeOp: spatial,
    nn.BinaryOp: binary,
    nn.ConcatOp: concat,
    nn.SliceOp: slice_,
    nn.PadOp: pad,
    nn.BroadcastOp: broadcast,
    nn.TransposeOp: transpose,
    nn.ReduceOp: reduce,
    nn.ReshapeOp: reshape,
}
"""What each op does with channels; others are `unknown`."""

MODEL_RULES: Rules = {
    **RULES,
    nn.BatchNormOp: batch_norm,
    nn.ConvTransposeOp: conv_transpose,
}
"""Besides, ops that passes before `shrink-channels` take away."""
