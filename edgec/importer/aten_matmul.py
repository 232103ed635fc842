"""Rules for matrix products."""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, Scalar
from edgec.importer.problems import Unsupported


def _linear(
    b: Builder, input: SSAValue, weight: SSAValue, bias: SSAValue | None = None
) -> SSAValue:
    if len(nn.shape_of(weight)) == 1:
        y = _matmul(b, input, weight)
        return y if bias is None else b.binary("add", y, bias)
    return b.linear(input, weight, bias)


def _matmul(b: Builder, self: SSAValue, other: SSAValue) -> SSAValue:
    left, right = nn.shape_of(self), nn.shape_of(other)
    if len(right) == 2 and b.constant_of(other) is not None:
        # torch keeps weights as [N, K], so this mostly undoes a transpose of a view.
        return b.emit(nn.LinearOp(self, b.transpose(other, (1, 0))))
    if len(left) == 1:
        self = b.reshape(self, (1, *left))
    if len(right) == 1:
        other = b.reshape(other, (*right, 1))
    y = b.emit(nn.MatmulOp(self, other))
    if len(left) == 1 or len(right) == 1:
        found = nn.shape_of(y)
        rows = found[-2:-1] if len(left) > 1 else ()
        columns = found[-1:] if len(right) > 1 else ()
        y = b.reshape(y, (*found[:-2], *rows, *columns))
    return y


def _addmm(
    b: Builder,
    self: SSAValue,
    mat1: SSAValue,
    mat2: SSAValue,
    *,
    beta: Scalar = 1,
    alpha: Scalar = 1,
) -> SSAValue:
    is_constant = b.constant_of(mat2) is not None
    is_bias = nn.shape_of(self) == nn.shape_of(mat2)[1:]
    if is_constant and is_bias and len(nn.shape_of(mat2)) == 2 and alpha == beta == 1:
        return b.emit(nn.LinearOp(mat1, b.transpose(mat2, (1, 0)), self))
    product = b.scaled(_matmul(b, mat1, mat2), alpha)
    return b.binary("add", b.scaled(self, beta), product)


def _baddbmm(
    b: Builder,
    self: SSAValue,
    batch1: SSAValue,
    batch2: SSAValue,
    *,
    beta: Scalar = 1,
    alpha: Scalar = 1,
) -> SSAValue:
    return _addmm(b, self, batch1, batch2, beta=beta, alpha=alpha)


def _mm(b: Builder, self: SSAValue, mat2: SSAValue) -> SSAValue:
    return _matmul(b, self, mat2)


def _mv(b: Builder, self: SSAValue, vec: SSAValue) -> SSAValue:
    return _matmul(b, self, vec)


def _dot(b: Builder, self: SSAValue, tensor: SSAValue) -> SSAValue:
    return _matmul(b, self, tensor)


def _attention(
    b: Builder,
    query: SSAValue,
    key: SSAValue,
    value: SSAValue,
    attn_mask: SSAValue | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> SSAValue:
    """`softmax(query key^T scale + mask) value`."""
    if dropout_p > 0 or enable_gqa:
        raise Unsupported(
            f"dropout_p={dropout_p}, enable_gqa={enable_gqa}",
            "use dropout_p=0.0 and repeat key and value for grouped queries",
        )
    shape = nn.shape_of(key)
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    factor = 1 / math.sqrt(shape[-1]) if scale is None else scale
    products = b.emit(nn.MatmulOp(query, b.transpose(key, order)))
    scores = b.binary("mul", products, factor)
    if is_causal:
        rows, columns = nn.shape_of(scores)[-2:]
        # exp gives exactly 0 for it, and unlike -inf it is a finite weight.
        future = torch.full((rows, columns), -1e30).triu(1)
        scores = b.binary("add", scores, b.constant(future, "causal_mask"))
    if attn_mask is not None:
        scores = b.binary("add", scores, attn_mask)
    weights = b.emit(nn.SoftmaxOp(scores, len(nn.shape_of(scores)) - 1))
    return b.emit(nn.MatmulOp(weights, value))


RULES: dict[str, Callable[..., Any]] = {
    "linear.default": _linear,
    "matmul.default": _matmul,
    "mm.default": _mm,
    "bmm.default": _mm,
    "mv.default": _mv,
    "dot.default": _dot,
    "addmm.default": _addmm,
    "baddbmm.default": _baddbmm,
    "scaled_dot_product_attention.default": _attention,
}
