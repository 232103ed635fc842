"""Patterns that fold constants into the weights and biases of products before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.ir import Block, SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)
from xdsl.rewriter import InsertPoint

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.interpreter.arrays import WideArray
from edgec.passes.constants import (
    constant_name,
    is_constant,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.algebra import ADD, MUL, is_safe, step_of
from edgec.passes.patterns.products import is_per_filter

Product = nn.ConvOp | nn.LinearOp


def is_owned(value: SSAValue) -> bool:
    """Whether a product with constant weights makes `value` for one reader."""
    op = value.owner
    return (
        isinstance(op, Product)
        and value.has_one_use()
        and is_constant(op.weight)
        and (op.bias is None or is_constant(op.bias))
    )


def find_product(value: SSAValue) -> SSAValue | None:
    """The result of a product that one factor for all reaches from `value`.

    It passes ops of movement and either side of a matrix product, as long as nobody
    else reads what is between.
    """
    if is_owned(value):
        return value
    op = value.owner
    if isinstance(op, Block) or not value.has_one_use():
        return None
    if isinstance(op, nn.ReshapeOp | nn.TransposeOp | nn.SliceOp):
        return find_product(op.input)
    if isinstance(op, nn.MatmulOp):
        return find_product(op.lhs) or find_product(op.rhs)
    return None


def set_weights(
    product: Product,
    factor: WideArray,
    shift: WideArray,
    weights: WeightStore,
    rewriter: PatternRewriter,
) -> None:
    """Make `product * factor + shift` of a product; both are one or per filter.

    Constants are made anew: others may read the old ones.
    """
    filters = nn.shape_of(product.weight)[0]
    factor = np.broadcast_to(factor.reshape(-1), (filters,))
    bias = np.broadcast_to(shift.reshape(-1), (filters,))
    if product.bias is not None:
        old = read_constant(product.bias, weights)
        assert old is not None
        bias = old.astype(np.float64) * factor + bias
    copy = product.clone()
    made: list[nn.ConstantOp] = []
    name = constant_name(product.weight)
    if bool((factor != 1).any()):
        weight = read_constant(product.weight, weights)
        assert weight is not None
        rows = weight.reshape(filters, -1)
        out = np.empty_like(rows)  # converted piece by piece, without a float64 copy
        np.multiply(
            rows, factor[:, None], out=out, dtype=np.float64, casting="same_kind"
        )
        scaled = out.reshape(weight.shape)
        made.append(make_constant(scaled, f"{name}.scaled", product.weight, weights))
        copy.operands[1] = made[-1].result
    if product.bias is not None or bool((bias != 0).any()):
        made.append(make_constant(bias, f"{name}.bias", product.weight, weights))
        copy.operands = [*copy.operands[:2], made[-1].result]
    rewriter.insert(made, InsertPoint.before(product))
    rewriter.replace(product, copy)


@dataclass
class FoldScale(RewritePattern):
    """`product(x, w, b) * c` to `product(x, w * c, b * c)`. Exact for powers of two."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """One number for all from anywhere, one per filter right behind the product."""
        step = step_of(op, MUL, self.weights)
        if step is None or not is_safe(step.constant):
            return
        is_scalar = bool((step.constant == step.constant.flat[0]).all())
        value = find_product(step.input) if is_scalar else step.input
        if value is None or not is_owned(value):
            return
        product = value.owner
        assert isinstance(product, Product)
        factor = step.constant.reshape(-1)[:1] if is_scalar else step.constant
        if is_scalar or is_per_filter(product, nn.shape_of(step.source)):
            rewriter.replace(op, [], [step.input])
            set_weights(product, factor, np.zeros(1), self.weights, rewriter)


@dataclass
class FoldShift(RewritePattern):
    """`product(x, w, b) + c` to `product(x, w, b + c)`. Rounds otherwise."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Add a number per filter to the bias of the product right before."""
        step = step_of(op, ADD, self.weights)
        if step is None or not is_owned(step.input):
            return
        product = step.input.owner
        assert isinstance(product, Product)
        if is_per_filter(product, nn.shape_of(step.source)):
            rewriter.replace(op, [], [step.input])
            set_weights(product, np.ones(1), step.constant, self.weights, rewriter)
