"""Patterns that rewrite sums, products and their like by the laws of algebra.

Each is applied only where `edgec.passes.analysis.work` says that it costs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation, SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray, WideArray
from edgec.passes.analysis.work import size_of, work_of
from edgec.passes.constants import constant_name, make_constant, read_constant
from edgec.passes.patterns.rewriting import producer, replace, sole_producer

ADD, SUB = nn.BinaryKind.ADD, nn.BinaryKind.SUB
MUL, DIV = nn.BinaryKind.MUL, nn.BinaryKind.DIV
NEUTRAL = {ADD: 0.0, SUB: 0.0, MUL: 1.0, DIV: 1.0}

POSITIVE = frozenset(
    nn.UnaryKind(kind) for kind in ("abs", "relu", "exp", "sqrt", "sigmoid")
)
"""Functions whose results are never negative."""


class Step(NamedTuple):
    """`input * constant` or `input + constant`, however the op says it."""

    input: SSAValue
    constant: WideArray
    source: SSAValue
    """The constant in the IR, for the name and type of what is made of it."""


def is_float(op: nn.UnaryOp | nn.BinaryOp | nn.ReduceOp) -> bool:
    """Whether an op computes in float32, the type that these laws are checked for."""
    return nn.tensor_type(op.results[0]).element_type == f32


def step_of(op: Operation, kind: nn.BinaryKind, weights: WeightStore) -> Step | None:
    """A scale (`kind` mul) or shift (add) by a constant that keeps the shape."""
    if not isinstance(op, nn.BinaryOp) or not is_float(op):
        return None
    inverse = {MUL: DIV, ADD: SUB}[kind]
    if op.kind.data not in (kind, inverse):
        return None
    pairs = [(op.lhs, op.rhs)]
    if op.kind.data is kind:
        pairs.append((op.rhs, op.lhs))
    for value, other in pairs:
        is_same_shape = nn.shape_of(value) == nn.shape_of(op.result)
        array = read_constant(other, weights) if is_same_shape else None
        if array is not None:
            wide = array.astype(np.float64)
            if op.kind.data is DIV:
                with np.errstate(divide="ignore"):
                    wide = np.float64(1) / wide
            return Step(value, -wide if op.kind.data is SUB else wide, other)
    return None


def is_safe(factor: AnyArray) -> bool:
    """Whether multiplying weights by it neither overflows nor loses them."""
    size = np.abs(factor)
    return bool(size.size and size.min() > 1e-6 and size.max() < 1e6)


def replace_if_cheaper(
    rewriter: PatternRewriter,
    op: Operation,
    inner: Sequence[Operation],
    new: Sequence[Operation],
) -> None:
    """Put `new` in the place of `op` and of `inner`, which only `op` reads."""
    if work_of(new).is_less_than(work_of((op, *inner))):
        replace(rewriter, op, new)
    else:
        for made in reversed(new):
            made.erase()


@dataclass
class DropNeutral(RewritePattern):
    """`x + 0`, `x - 0`, `x * 1` and `x / 1`. Exact but for the sign of `-0 + 0`."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Remove if all of a constant is the neutral element."""
        for kind in (MUL, ADD):
            step = step_of(op, kind, self.weights)
            if step is not None and bool((step.constant == NEUTRAL[kind]).all()):
                rewriter.replace(op, [], [step.input])
                return


@dataclass
class DivideByPower(RewritePattern):
    """`x / c` to `x * (1 / c)` where `c` holds powers of two only. Exact."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Replace if the reciprocals are exact."""
        step = step_of(op, MUL, self.weights) if op.kind.data is DIV else None
        if step is None or not is_safe(step.constant):
            return
        if bool((np.abs(np.frexp(step.constant)[0]) == 0.5).all()):
            hint = f"{constant_name(step.source)}.reciprocal"
            factor = make_constant(step.constant, hint, step.source, self.weights)
            product = nn.BinaryOp(MUL, step.input, factor.result)
            replace_if_cheaper(rewriter, op, (), (factor, product))


@dataclass
class MergeSteps(RewritePattern):
    """`(x * a) * b` to `x * (a * b)`, `(x + a) + b` to `x + (a + b)`. Rounds once."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Merge if only `op` reads the first."""
        for kind in (MUL, ADD):
            outer = step_of(op, kind, self.weights)
            first = outer and sole_producer(outer.input, nn.BinaryOp)
            inner = first and step_of(first, kind, self.weights)
            if outer is None or first is None or inner is None:
                continue
            a, b = inner.constant, outer.constant
            merged = a * b if kind is MUL else a + b
            if kind is MUL and not (is_safe(a) and is_safe(b)):
                continue
            hint = f"{constant_name(inner.source)}.merged"
            constant = make_constant(merged, hint, inner.source, self.weights)
            new = nn.BinaryOp(kind, inner.input, constant.result)
            replace_if_cheaper(rewriter, op, (first,), (constant, new))
            return


class FactorOut(RewritePattern):
    """`a * c + b * c` to `(a + b) * c`, also for differences. Rounds otherwise."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Rewrite if nobody else reads the products."""
        if op.kind.data not in (ADD, SUB) or not is_float(op):
            return
        left = sole_producer(op.lhs, nn.BinaryOp)
        right = sole_producer(op.rhs, nn.BinaryOp)
        if left is None or right is None:
            return
        if left.kind.data is not MUL or right.kind.data is not MUL:
            return
        for a, c in ((left.lhs, left.rhs), (left.rhs, left.lhs)):
            if c not in right.operands:
                continue
            b = right.lhs if right.rhs is c else right.rhs
            total = nn.BinaryOp(op.kind.data, a, b)
            product = nn.BinaryOp(MUL, total.result, c)
            if nn.shape_of(product.result) == nn.shape_of(op.result):
                replace_if_cheaper(rewriter, op, (left, right), (total, product))
                return


class CancelPair(RewritePattern):
    """Functions that undo each other: `-(-x)`, `log(exp(x))` and their like.

    `exp(log(x))` only where `x` cannot be negative. Negation is exact; so is
    `sqrt(x * x)` as `abs(x)` where the square neither overflows nor underflows.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.UnaryOp, rewriter: PatternRewriter) -> None:
        """Remove both, or put `abs` in their place."""
        inner, kind = op.input.owner, op.kind.data.value
        if not is_float(op):
            return
        if kind == "sqrt" and isinstance(inner, nn.BinaryOp):
            if inner.kind.data is MUL and inner.lhs is inner.rhs:
                replace(rewriter, op, [nn.UnaryOp("abs", inner.lhs)])
            return
        if not isinstance(inner, nn.UnaryOp):
            return
        pair = (kind, inner.kind.data.value)
        is_inverse = pair in (("neg", "neg"), ("log", "exp"))
        if is_inverse or (pair == ("exp", "log") and is_positive(inner.input)):
            rewriter.replace(op, [], [inner.input])
        elif pair == ("abs", "neg"):
            replace(rewriter, op, [nn.UnaryOp("abs", inner.input)])
        elif kind in ("abs", "relu") and inner.kind.data in POSITIVE:
            rewriter.replace(op, [], [op.input])


class SquareOfRoot(RewritePattern):
    """`sqrt(x) * sqrt(x)` to `x` where `x` cannot be negative."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Replace a product of a root with itself."""
        root = producer(op.lhs, nn.UnaryOp)
        if op.kind.data is not MUL or op.lhs is not op.rhs or root is None:
            return
        if root.kind.data is nn.UnaryKind.SQRT and is_positive(root.input):
            rewriter.replace(op, [], [root.input])


def is_positive(value: SSAValue) -> bool:
    """Whether no element can be negative."""
    op = value.owner
    if isinstance(op, nn.BinaryOp):
        return op.kind.data is MUL and op.lhs is op.rhs
    return isinstance(op, nn.UnaryOp) and op.kind.data in POSITIVE


@dataclass
class ScaleReduced(RewritePattern):
    """`sum(x * c)` to `sum(x) * c` for one number `c`, also for means."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ReduceOp, rewriter: PatternRewriter) -> None:
        """Rewrite if only `op` reads the product."""
        product = sole_producer(op.input, nn.BinaryOp)
        step = product and step_of(product, MUL, self.weights)
        is_linear = op.kind.data in (nn.ReduceKind.SUM, nn.ReduceKind.MEAN)
        if product is None or step is None or not is_linear:
            return
        if step.constant.size != 1 or not is_safe(step.constant):
            return
        hint = f"{constant_name(step.source)}.scalar"
        factor = make_constant(
            step.constant.reshape(()), hint, step.source, self.weights
        )
        keep, axes = bool(op.keep_dims.value.data), op.axes.get_values()
        total = nn.ReduceOp(op.kind.data, step.input, axes, keep_dims=keep)
        new = nn.BinaryOp(MUL, total.result, factor.result)
        replace_if_cheaper(rewriter, op, (product,), (factor, total, new))


@dataclass
class SumToMean(RewritePattern):
    """`sum(x) / n` to `mean(x)` where `n` elements were added."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Rewrite if only `op` reads the sum."""
        step = step_of(op, MUL, self.weights)
        total = step and sole_producer(step.input, nn.ReduceOp)
        if step is None or total is None or total.kind.data is not nn.ReduceKind.SUM:
            return
        share = np.float32(size_of(total.result) / max(size_of(total.input), 1))
        if bool((step.constant.astype(np.float32) == share).all()):
            axes, keep = total.axes.get_values(), bool(total.keep_dims.value.data)
            mean = nn.ReduceOp("mean", total.input, axes, keep_dims=keep)
            replace_if_cheaper(rewriter, op, (total,), (mean,))


class TransposeProduct(RewritePattern):
    """`(A B)^T` to `B^T A^T` where that moves fewer elements."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.TransposeOp, rewriter: PatternRewriter) -> None:
        """Rewrite if only `op` reads the product."""
        product = sole_producer(op.input, nn.MatmulOp)
        if product is None or not swaps_matrices(op):
            return
        sides = [sole_producer(v, nn.TransposeOp) for v in (product.rhs, product.lhs)]
        old: list[Operation] = [product]
        new: list[Operation] = []
        operands: list[SSAValue] = []
        for value, side in zip((product.rhs, product.lhs), sides, strict=True):
            rank = len(nn.shape_of(value))
            if rank < 2:
                return
            if side is not None and swaps_matrices(side):
                old.append(side)
                operands.append(side.input)
            else:
                order = [*range(rank - 2), rank - 1, rank - 2]
                new.append(nn.TransposeOp(value, order))
                operands.append(new[-1].results[0])
        new.append(nn.MatmulOp(operands[0], operands[1]))
        replace_if_cheaper(rewriter, op, old, new)


def swaps_matrices(op: nn.TransposeOp) -> bool:
    """Whether a transpose swaps the last two dimensions and no others."""
    order = list(op.permutation.get_values())
    rank = len(order)
    return rank >= 2 and order == [*range(rank - 2), rank - 1, rank - 2]
