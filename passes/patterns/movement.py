"""Patterns on ops that move elements, such as `nn.reshape` and `nn.transpose`."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.dialects import nn
from edgec.dialects.shapes import Shape
from edgec.passes.patterns.rewriting import producer, replace

Identity = (
    nn.ReshapeOp
    | nn.TransposeOp
    | nn.PadOp
    | nn.SliceOp
    | nn.BroadcastOp
    | nn.CastOp
    | nn.ConcatOp
)


def compose(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The permutation that does `first`, then `second`."""
    return tuple(first[axis] for axis in second)


def keeps_order(permutation: Sequence[int], shape: Shape) -> bool:
    """Whether a permutation leaves every element where it is in memory."""
    moved = [axis for axis in permutation if shape[axis] != 1]
    return moved == sorted(moved)


class DropIdentity(RewritePattern):
    """Any op of movement whose result is its input."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Identity, rewriter: PatternRewriter) -> None:
        """Remove if the types agree and, for a permutation, nothing moves."""
        if len(op.operands) != 1 or op.operands[0].type != op.result.type:
            return
        if isinstance(op, nn.PadOp) and any(op.low.get_values()):
            return  # shifts: adds on one side what it crops on the other
        if isinstance(op, nn.TransposeOp) and not keeps_order(
            op.permutation.get_values(), nn.shape_of(op.input)
        ):
            return
        rewriter.replace(op, [], [op.operands[0]])


class MergeReshapes(RewritePattern):
    """`reshape(reshape(x))` to `reshape(x)`."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ReshapeOp, rewriter: PatternRewriter) -> None:
        """Read through the first reshape."""
        inner = producer(op.input, nn.ReshapeOp)
        if inner is not None:
            merged = nn.ReshapeOp(inner.input, nn.shape_of(op.result))
            replace(rewriter, op, [merged])


class MergeTransposes(RewritePattern):
    """`transpose(transpose(x))` to `transpose(x)`."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter) -> None:
        """Read through the first transpose."""
        inner = producer(op.input, nn.TransposeOp)
        if inner is not None:
            permutation = compose(
                inner.permutation.get_values(), op.permutation.get_values()
            )
            replace(rewriter, op, [nn.TransposeOp(inner.input, permutation)])


class TransposeToReshape(RewritePattern):
    """A transpose that moves only dimensions of size 1 copies nothing."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter) -> None:
        """Replace if the elements keep their order."""
        shape, result = nn.shape_of(op.input), nn.shape_of(op.result)
        if shape != result and keeps_order(op.permutation.get_values(), shape):
            replace(rewriter, op, [nn.ReshapeOp(op.input, result)])


class CropToSlice(RewritePattern):
    """A pad that only crops, of any kind, is a slice."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.PadOp, rewriter: PatternRewriter) -> None:
        """Replace if nothing is added on any side."""
        low, high = op.low.get_values(), op.high.get_values()
        result = nn.shape_of(op.result)
        if not low or max(*low, *high) > 0 or not any((*low, *high)) or 0 in result:
            return
        starts = [-n for n in low]
        replace(rewriter, op, [nn.SliceOp(op.input, starts, result, [1] * len(low))])


class HoistUnary(RewritePattern):
    """`unary(move(x))` to `move(unary(x))`: next to the op whose epilogue it may be."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.UnaryOp, rewriter: PatternRewriter) -> None:
        """Through any reshape, and through a transpose that nobody else reads."""
        move = op.input.owner
        if isinstance(move, nn.ReshapeOp):
            early = nn.UnaryOp(op.kind.data, move.input, op.parameters)
            late = nn.ReshapeOp(early.result, nn.shape_of(op.result))
        elif isinstance(move, nn.TransposeOp) and op.input.has_one_use():
            early = nn.UnaryOp(op.kind.data, move.input, op.parameters)
            late = nn.TransposeOp(early.result, move.permutation.get_values())
        else:
            return
        replace(rewriter, op, [early, late])


def narrowed(value: SSAValue) -> SSAValue | None:
    """`x` of `[N, C, 1, W]` if `value` is it without the 1: a 1-D layer made 2-D."""
    move = producer(value, nn.ReshapeOp)
    if move is None:
        return None
    wide, shape = nn.shape_of(move.input), nn.shape_of(value)
    is_narrowed = len(shape) == 3 and wide == (*shape[:2], 1, shape[2])
    return move.input if is_narrowed else None


class HoistNormNarrowed(RewritePattern):
    """A batch norm on a 1-D layer that became 2-D becomes 2-D too."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BatchNormOp, rewriter: PatternRewriter) -> None:
        """Move the norm before the reshape."""
        wide = narrowed(op.input)
        if wide is not None:
            eps = op.eps.value.data
            early = nn.BatchNormOp(wide, op.scale, op.shift, op.mean, op.variance, eps)
            late = nn.ReshapeOp(early.result, nn.shape_of(op.result))
            replace(rewriter, op, [early, late])


class HoistBinaryNarrowed(RewritePattern):
    """The same for an op of two operands; the other one gets the 1 too."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Move the op before the reshape of either operand."""
        shape = nn.shape_of(op.result)
        wide = [narrowed(value) for value in op.operands]
        if wide == [None, None] or len(shape) != 3:
            return
        reshapes: list[nn.ReshapeOp] = []
        operands: list[SSAValue] = []
        for value, source in zip(op.operands, wide, strict=True):
            if source is not None:
                operands.append(source)
                continue
            padded = (1,) * (3 - len(nn.shape_of(value))) + nn.shape_of(value)
            reshapes.append(nn.ReshapeOp(value, (*padded[:2], 1, padded[2])))
            operands.append(reshapes[-1].result)
        early = nn.BinaryOp(op.kind.data, *operands)
        late = nn.ReshapeOp(early.result, shape)
        replace(rewriter, op, [*reshapes, early, late])
