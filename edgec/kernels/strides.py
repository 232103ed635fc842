"""Layouts of tensors that share a buffer: seen through an op that moves elements.

`seen_through` follows a layout forward, from the input of a transpose, slice, broadcast
or reshape to its result: reading the result is reading the input elsewhere. `written`
follows it backward: the input may be written where the result is to lie. None where
strides cannot say it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.ir import Operation

from edgec.dialects import nn
from edgec.kernels.layout import Layout, channels_of_lane, stored_shape

Ints = tuple[int, ...]

View = nn.ReshapeOp | nn.TransposeOp | nn.SliceOp | nn.BroadcastOp
"""Ops whose result may be its input seen otherwise."""


def seen_through(op: Operation, source: Layout) -> Layout | None:
    """Where the result of `op` lies if it shares the buffer of its input."""
    if source.is_split:
        return None
    match op:
        case nn.TransposeOp():
            return transposed(source, op.permutation.get_values())
        case nn.SliceOp():
            starts, steps = stored_starts(op), op.steps.get_values()
            shape = stored_shape(op.result)
            return None if starts is None else sliced(source, starts, shape, steps)
        case nn.BroadcastOp():
            return repeated(source, stored_shape(op.result))
        case nn.ReshapeOp():
            return reshaped(source, stored_shape(op.result))
        case _:
            return None


def written(op: Operation, result: Layout) -> Layout | None:
    """Where the input of `op` must lie so that its result lies at `result`."""
    if result.is_split:
        return None
    match op:
        case nn.TransposeOp():
            order = list(op.permutation.get_values())
            inverse = [order.index(d) for d in range(len(order))]
            return transposed(result, inverse)
        case nn.ReshapeOp():
            return reshaped(result, stored_shape(op.input))
        case _:
            return None


def stored_starts(op: nn.SliceOp) -> Ints | None:
    """Where a slice starts in what is stored; None if it cuts quads or pairs in two."""
    starts = tuple(op.starts.get_values())
    channels, count = nn.shape_of(op.input)[1:2], nn.shape_of(op.result)[1:2]
    held = channels_of_lane(op.result)
    if held == 1 or channels == count:
        return starts
    first, end = starts[1], starts[1] + count[0]
    if first % held or (end % held and end != channels[0]):
        return None
    return (starts[0], first // held, *starts[2:])


def within(source: Layout, shape: Ints, strides: Sequence[int], origin: int) -> Layout:
    """A tensor in the buffer of another."""
    return Layout(shape, tuple(strides), origin, size=source.elements)


def transposed(source: Layout, order: Sequence[int]) -> Layout:
    """Dimension `i` is dimension `order[i]` of the source."""
    shape = tuple(source.shape[d] for d in order)
    return within(source, shape, [source.strides[d] for d in order], source.origin)


def sliced(
    source: Layout, starts: Sequence[int], shape: Ints, steps: Sequence[int]
) -> Layout:
    """Every `steps`-th element from `starts` on."""
    places = zip(starts, source.strides, strict=True)
    strides = [n * s for n, s in zip(steps, source.strides, strict=True)]
    origin = source.origin + sum(start * stride for start, stride in places)
    return within(source, shape, strides, origin)


def repeated(source: Layout, shape: Ints) -> Layout:
    """Numpy's `broadcast_to`."""
    skip = len(shape) - len(source.shape)
    own = zip(source.shape, source.strides, shape[skip:], strict=True)
    strides = [stride if size == wide else 0 for size, stride, wide in own]
    return within(source, shape, [0] * skip + strides, source.origin)


def reshaped(source: Layout, shape: Ints) -> Layout | None:
    """The same elements in row-major order; None if they do not lie evenly."""
    strides = reshaped_strides(source.shape, source.strides, shape)
    return None if strides is None else within(source, shape, strides, source.origin)


def reshaped_strides(shape: Ints, strides: Ints, wanted: Ints) -> Ints | None:
    """Strides of the dimensions `wanted`; None if one of them lies unevenly.

    Dimensions that lie end to end are merged as far as possible; those of the result
    are then taken from the merged ones, the last first, and none can be of two.
    """
    merged: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1] == stride * size:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    found: list[int] = []
    rest, step = 1, 1
    for size in reversed(wanted):
        if rest == 1 and size > 1:
            rest, step = merged.pop()
        if rest % size:
            return None
        found.insert(0, step)
        rest, step = rest // size, step * size
    return tuple(found)


def common_refinement(one: Ints, other: Ints) -> Ints | None:
    """The fewest dimensions of which those of both shapes are products.

    None if two of them overlap: `[4, 6]` and `[6, 4]`.
    """
    ends = {math.prod(shape[d:]) for shape in (one, other) for d in range(len(shape))}
    sizes: list[int] = []
    before = 1
    for end in sorted(ends):
        size, left = divmod(end, before)
        if left:
            return None
        if size > 1:
            sizes.insert(0, size)
        before = end
    return tuple(sizes)


def part_of(whole: Layout, axis: int, start: int, shape: Ints) -> Layout | None:
    """Where a part of a concatenation lies in the whole."""
    if whole.is_split:
        return None
    origin = whole.origin + start * whole.strides[axis]
    return within(whole, shape, whole.strides, origin)


def is_same_place(one: Layout, other: Layout) -> bool:
    """Whether two layouts of one shape say the same, each in its own way."""
    return (
        one.shape == other.shape
        and (one.origin, one.elements) == (other.origin, other.elements)
        and not (one.is_split or other.is_split)
        and all(
            size == 1 or a == b
            for size, a, b in zip(one.shape, one.strides, other.strides, strict=True)
        )
    )
