"""Rules for matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, Scalar


def _linear(
    b: Builder, input: SSAValue, weight: SSAValue, bias: SSAValue | None = None
) -> SSAValue:
    if len(nn.shape_of(weight)) == 1:
        y = _matmul(b, input, weight)
        return y if bias is None else b.binary("add", y, bias)
    return b.emit(nn.LinearOp(input, weight, bias))


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


RULES: dict[str, Callable[..., Any]] = {
    "linear.default": _linear,
    "matmul.default": _matmul,
    "mm.default": _mm,
    "bmm.default": _mm,
    "mv.default": _mv,
    "dot.default": _dot,
    "addmm.default": _addmm,
    "baddbmm.default": _baddbmm,
}
