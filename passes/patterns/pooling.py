"""Patterns on pools."""

from __future__ import annotations

import math

from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.dialects import nn
from edgec.passes.patterns.products import is_zero_border, with_row
from edgec.passes.patterns.rewriting import producer, replace


class DropUnitPool(RewritePattern):
    """A pool over windows of one element."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.PoolOp, rewriter: PatternRewriter) -> None:
        """Remove if every window is one element of the input, in order."""
        window = (*op.kernel.get_values(), *op.stride.get_values())
        is_max = op.kind.data is nn.PoolKind.MAX
        is_plain = set(window) == {1} and op.input.type == op.result.type
        if is_plain and (is_max or op.divisor.value.data in (0, 1)):
            rewriter.replace(op, [], [op.input])


class WidenPool(RewritePattern):
    """A 1-D pool becomes a 2-D one on a single row."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.PoolOp, rewriter: PatternRewriter) -> None:
        """Replace if the input has rank 3."""
        shape = nn.shape_of(op.input)
        if len(shape) != 3:
            return
        wide = nn.ReshapeOp(op.input, with_row(shape))
        pool = nn.PoolOp(
            op.kind.data,
            wide.result,
            kernel=(1, *op.kernel.get_values()),
            stride=(1, *op.stride.get_values()),
            padding=(0, *op.padding.get_values()),
            dilation=(1, *op.dilation.get_values()),
            ceil_mode=bool(op.ceil_mode),
            count_include_pad=bool(op.count_include_pad),
            divisor=op.divisor.value.data,
        )
        back = nn.ReshapeOp(pool.result, nn.shape_of(op.result))
        replace(rewriter, op, [wide, pool, back])


class PadIntoPool(RewritePattern):
    """A border that a pool would add itself becomes its padding."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.PoolOp, rewriter: PatternRewriter) -> None:
        """Fold an even border: minus infinity for max, counted zeros for avg."""
        pad, is_max = producer(op.input, nn.PadOp), op.kind.data is nn.PoolKind.MAX
        if pad is None or not is_zero_border(pad, -math.inf if is_max else 0.0):
            return
        if pad.low != pad.high or bool(op.ceil_mode):
            return
        own = op.padding.get_values()
        # Positions of the border count as input; those of the pool's own padding must
        # not be counted differently, since both become one.
        counts_all = bool(op.count_include_pad) or op.divisor.value.data != 0
        if not is_max and any(own) and not counts_all:
            return
        low, kernel = pad.low.get_values()[2:], op.kernel.get_values()
        dilation = op.dilation.get_values()
        padding = tuple(a + b for a, b in zip(low, own, strict=True))
        reach = (d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        if any(p > r // 2 for p, r in zip(padding, reach, strict=True)):
            return
        pool = nn.PoolOp(
            op.kind.data,
            pad.input,
            kernel=kernel,
            stride=op.stride.get_values(),
            padding=padding,
            dilation=dilation,
            divisor=op.divisor.value.data,
        )
        replace(rewriter, op, [pool])


class AdaptivePoolToStatic(RewritePattern):
    """An adaptive pool whose windows are equal is nothing, a reduction or a pool."""

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self, op: nn.AdaptivePoolOp, rewriter: PatternRewriter
    ) -> None:
        """Replace if every size is a multiple of its result's."""
        shape, out = nn.shape_of(op.input)[2:], nn.shape_of(op.result)[2:]
        if any(size % o for size, o in zip(shape, out, strict=True)):
            return
        if shape == out:
            rewriter.replace(op, [], [op.input])
        elif set(out) == {1}:
            kind = "max" if op.kind.data is nn.PoolKind.MAX else "mean"
            axes = range(2, 2 + len(shape))
            replace(rewriter, op, [nn.ReduceOp(kind, op.input, axes, keep_dims=True)])
        else:
            kernel = [size // o for size, o in zip(shape, out, strict=True)]
            ones, zeros = [1] * len(shape), [0] * len(shape)
            pool = nn.PoolOp(
                op.kind.data,
                op.input,
                kernel=kernel,
                stride=kernel,
                padding=zeros,
                dilation=ones,
            )
            replace(rewriter, op, [pool])
