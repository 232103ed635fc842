"""Patterns on elementwise ops, and the folding of constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.context import weights_of
from edgec.dialects import nn
from edgec.interpreter import make_interpreter
from edgec.passes.constants import (
    constant_name,
    is_constant,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.rewriting import producer, replace

IDEMPOTENT = frozenset(
    nn.UnaryKind(kind)
    for kind in ("relu", "abs", "floor", "ceil", "round", "sign", "clamp")
)
"""Kinds that change nothing when applied to their own result."""

Foldable = (
    nn.UnaryOp
    | nn.BinaryOp
    | nn.CastOp
    | nn.ReshapeOp
    | nn.TransposeOp
    | nn.SliceOp
    | nn.ConcatOp
)


class DropRepeated(RewritePattern):
    """`relu(relu(x))` and its like."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.UnaryOp, rewriter: PatternRewriter) -> None:
        """Remove the second of two equal idempotent ops."""
        inner = producer(op.input, nn.UnaryOp)
        if inner is None or op.kind.data not in IDEMPOTENT:
            return
        if inner.kind == op.kind and inner.parameters == op.parameters:
            rewriter.replace(op, [], [op.input])


class SimplifyClamp(RewritePattern):
    """A clamp without upper bound is a ReLU, one without bounds is nothing."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.UnaryOp, rewriter: PatternRewriter) -> None:
        """Replace if the bounds are those."""
        if op.kind.data is not nn.UnaryKind.CLAMP:
            return
        low, high = op.parameters
        if high == math.inf and low == 0:
            replace(rewriter, op, [nn.UnaryOp("relu", op.input)])
        elif (low, high) == (-math.inf, math.inf):
            rewriter.replace(op, [], [op.input])


@dataclass
class FoldConstants(RewritePattern):
    """An op on constants becomes a constant."""

    ctx: Context

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Foldable, rewriter: PatternRewriter) -> None:
        """Compute with the interpreter, unless the result is larger than the operands.

        A reshape shares memory with its operand; everything else is stored in order.
        """
        if not op.operands or not all(map(is_constant, op.operands)):
            return
        size = math.prod(nn.shape_of(op.result))
        if size > sum(math.prod(nn.shape_of(value)) for value in op.operands):
            return
        weights = weights_of(self.ctx)
        arrays = tuple(read_constant(value, weights) for value in op.operands)
        interpreter = make_interpreter(ModuleOp([]), self.ctx)
        (result,) = interpreter.run_op(op, arrays)
        hint = f"{constant_name(op.operands[0])}.{op.name.partition('.')[2]}"
        result = np.ascontiguousarray(result).reshape(nn.shape_of(op.result))
        constant = make_constant(result, hint, op.result, weights)
        constant.result.name_hint = op.operands[0].name_hint
        replace(rewriter, op, [constant])
