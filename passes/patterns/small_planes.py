"""Patterns on convolutions whose planes are so small that padding or lanes are idle."""

from __future__ import annotations

import math

from xdsl.ir import SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.dialects import nn
from edgec.dialects.shapes import Shape
from edgec.passes.patterns.products import Window, rebuild
from edgec.passes.patterns.rewriting import copy_labels, producer, replace


def live_taps(
    window: Window, axis: int, taps: int, size: int, result: int
) -> range | None:
    """The taps of an axis that meet the input, from the first to the last one.

    None if there are none. Taps stay that cannot go without negative padding.
    """
    dilation, low = window.dilation[axis], window.low[axis]
    span = (result - 1) * window.stride[axis]
    live = [
        tap
        for tap in range(taps)
        if tap * dilation - low + span >= 0 and tap * dilation - low < size
    ]
    if not live:
        return None
    first, last = live[0], live[-1]
    if first * dilation > low:
        first = 0
    if (taps - 1 - last) * dilation > window.high[axis]:
        last = taps - 1
    return range(first, last + 1)


class TrimTaps(RewritePattern):
    """Taps that read nothing but padding are cut off the kernel.

    A 3x3 kernel on a 1x1 plane is a 1x1 kernel, and so is one whose dilation is larger
    than the plane (as in the pyramids of DeepLab).
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> None:
        """Replace if the weight is constant and an axis has such taps at its ends."""
        window, shape = Window.of(op), nn.shape_of(op.weight)
        if not any((*window.low, *window.high)) or not _is_plain_constant(op.weight):
            return
        sizes, results = nn.shape_of(op.input)[2:], nn.shape_of(op.result)[2:]
        kept: list[range] = []
        for axis, taps in enumerate(shape[2:]):
            live = live_taps(window, axis, taps, sizes[axis], results[axis])
            if live is None:
                return
            kept.append(live)
        if tuple(map(len, kept)) == shape[2:]:
            return
        axes = list(zip(kept, shape[2:], window.dilation, strict=True))
        low = (p - k[0] * d for p, (k, _, d) in zip(window.low, axes, strict=True))
        high = (
            p - (taps - 1 - k[-1]) * d
            for p, (k, taps, d) in zip(window.high, axes, strict=True)
        )
        part = nn.SliceOp(
            op.weight,
            (0, 0, *(k[0] for k in kept)),
            (*shape[:2], *map(len, kept)),
            (1,) * len(shape),
        )
        window = window._replace(low=tuple(low), high=tuple(high))
        conv = rebuild(op, op.input, part.result, op.bias, window)
        replace(rewriter, op, [part, conv])


class ConvToLinear(RewritePattern):
    """A convolution with one position of results is a linear layer; rows are images.

    There is nothing to put in the lanes of a kernel that has its lanes over positions.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> None:
        """Replace if the weight is constant and nothing is padded or grouped."""
        window, result = Window.of(op), nn.shape_of(op.result)
        if (
            math.prod(result[2:]) != 1
            or op.groups.value.data != 1
            or window.is_padded
            or not _is_plain_constant(op.weight)
        ):
            return
        batch, channels, *spatial = nn.shape_of(op.input)
        filters, _, *kernel = nn.shape_of(op.weight)
        ops: list[nn.SliceOp | nn.ReshapeOp | nn.LinearOp] = []
        value = op.input
        if kernel != spatial:
            zeros, steps = (0,) * (2 + len(kernel)), (1, 1, *window.dilation)
            ops.append(nn.SliceOp(value, zeros, (batch, channels, *kernel), steps))
            value = ops[-1].result
        size = channels * math.prod(kernel)
        data = nn.ReshapeOp(value, (batch, size))
        weight = nn.ReshapeOp(op.weight, (filters, size))
        linear = nn.LinearOp(data.result, weight.result, op.bias)
        linear.attributes.update(op.attributes)
        back = nn.ReshapeOp(linear.result, result)
        replace(rewriter, op, [*ops, data, weight, linear, back])


def _is_plain_constant(value: SSAValue) -> bool:
    """Whether `value` is a constant that is not encoded."""
    return isinstance(value.owner, nn.ConstantOp)


def on_one_position(value: SSAValue) -> SSAValue | None:
    """`x` of `[N, C]` if `value` is it as `[N, C, 1, …]`, as `ConvToLinear` leaves."""
    move = producer(value, nn.ReshapeOp)
    if move is None:
        return None
    flat, shape = nn.shape_of(move.input), nn.shape_of(value)
    is_spread = len(flat) == 2 and len(shape) > 2 and shape == spread(flat, len(shape))
    return move.input if is_spread else None


def spread(shape: Shape, rank: int) -> Shape:
    """`[N, C]` as `[N, C, 1, …]`."""
    return (*shape, *(1 for _ in range(rank - len(shape))))


class HoistNormOnePosition(RewritePattern):
    """A batch norm on one position moves next to the linear layer it may fold into."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BatchNormOp, rewriter: PatternRewriter) -> None:
        """Move the norm before the reshape."""
        flat = on_one_position(op.input)
        if flat is not None:
            eps = op.eps.value.data
            early = nn.BatchNormOp(flat, op.scale, op.shift, op.mean, op.variance, eps)
            late = nn.ReshapeOp(early.result, nn.shape_of(op.result))
            replace(rewriter, op, [early, late])


class HoistBinaryOnePosition(RewritePattern):
    """The same for an op of two operands that does not make its operand larger."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Move the op before the reshape; the other operand loses the ones too."""
        shape = nn.shape_of(op.result)
        # One of fewer dimensions is aligned at its last, not at images and channels.
        found = [
            on_one_position(value) if len(nn.shape_of(value)) == len(shape) else None
            for value in op.operands
        ]
        if not any(
            flat is not None and nn.shape_of(value) == shape
            for flat, value in zip(found, op.operands, strict=True)
        ):
            return
        reshapes: list[nn.ReshapeOp] = []
        operands: list[SSAValue] = []
        for value, flat in zip(op.operands, found, strict=True):
            if flat is not None:
                operands.append(flat)
                continue
            padded = (1,) * (len(shape) - len(nn.shape_of(value))) + nn.shape_of(value)
            reshapes.append(nn.ReshapeOp(value, padded[:2]))
            operands.append(reshapes[-1].result)
        early = nn.BinaryOp(op.kind.data, *operands)
        late = nn.ReshapeOp(early.result, shape)
        copy_labels(op, early, late)
        replace(rewriter, op, [*reshapes, early, late])
