"""Rules for reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, Scalar, axes_of, axis_of
from edgec.importer.problems import Unsupported

Axes = int | Sequence[int] | None


def _reduce(
    b: Builder, kind: str, x: SSAValue, axes: Axes, keep_dims: bool
) -> SSAValue:
    shape = nn.shape_of(x)
    if not shape:
        return x
    return b.emit(nn.ReduceOp(kind, x, axes_of(axes, len(shape)), keep_dims=keep_dims))


def _over_all(kind: str) -> Callable[..., SSAValue]:
    def build(
        b: Builder, self: SSAValue, *, dtype: torch.dtype | None = None
    ) -> SSAValue:
        return _reduce(b, kind, self, None, False)

    return build


def _over_axes(kind: str) -> Callable[..., SSAValue]:
    def build(
        b: Builder,
        self: SSAValue,
        dim: Axes = (),
        keepdim: bool = False,
        *,
        dtype: torch.dtype | None = None,
    ) -> SSAValue:
        return _reduce(b, kind, self, dim, keepdim)

    return build


def _with_position(
    kind: str, position: str
) -> Callable[..., tuple[SSAValue, SSAValue]]:
    def build(
        b: Builder, self: SSAValue, dim: int, keepdim: bool = False
    ) -> tuple[SSAValue, SSAValue]:
        value = _reduce(b, kind, self, dim, keepdim)
        return value, _position(b, position, self, dim, keepdim)

    return build


def _arg(kind: str) -> Callable[..., SSAValue]:
    def build(
        b: Builder, self: SSAValue, dim: int | None = None, keepdim: bool = False
    ) -> SSAValue:
        return _position(b, kind, self, dim, keepdim)

    return build


def _position(
    b: Builder, kind: str, x: SSAValue, dim: int | None, keep_dims: bool
) -> SSAValue:
    shape = nn.shape_of(x)
    if dim is not None and shape:
        axis = axis_of(dim, len(shape))
        return b.emit(nn.ReduceOp(kind, x, [axis], keep_dims=keep_dims))
    flat = b.reshape(x, (math.prod(shape),))
    y = b.emit(nn.ReduceOp(kind, flat, [0], keep_dims=False))
    return b.reshape(y, (1,) * len(shape)) if keep_dims else y


def _moments(
    b: Builder, x: SSAValue, axes: Axes, correction: Scalar, keep_dims: bool
) -> tuple[SSAValue, SSAValue]:
    """Variance and mean; two passes, so that no digits cancel."""
    shape = nn.shape_of(x)
    axes = axes_of(axes, len(shape))
    count = math.prod(shape[axis] for axis in axes)
    if count - correction <= 0:
        raise Unsupported(
            f"the variance of {count} values with correction {correction} is no number",
            "use correction=0 or more values",
        )
    mean = b.emit(nn.ReduceOp("mean", x, axes, keep_dims=True))
    centred = b.binary("sub", x, mean)
    square = b.binary("mul", centred, centred)
    total = b.emit(nn.ReduceOp("sum", square, axes, keep_dims=keep_dims))
    variance = b.binary("mul", total, 1.0 / (count - correction))
    return variance, b.reshape(mean, nn.shape_of(variance))


def _correction(value: Scalar | None) -> Scalar:
    return 1 if value is None else value


def _var(
    b: Builder,
    self: SSAValue,
    dim: Axes = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> SSAValue:
    return _moments(b, self, dim, _correction(correction), keepdim)[0]


def _std(
    b: Builder,
    self: SSAValue,
    dim: Axes = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> SSAValue:
    variance = _moments(b, self, dim, _correction(correction), keepdim)[0]
    return b.unary("sqrt", variance)


def _var_mean(
    b: Builder,
    self: SSAValue,
    dim: Axes = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> tuple[SSAValue, SSAValue]:
    return _moments(b, self, dim, _correction(correction), keepdim)


def _var_dim(
    b: Builder,
    self: SSAValue,
    dim: Axes,
    unbiased: bool = True,
    keepdim: bool = False,
) -> SSAValue:
    return _moments(b, self, dim, int(unbiased), keepdim)[0]


def _std_dim(
    b: Builder,
    self: SSAValue,
    dim: Axes,
    unbiased: bool = True,
    keepdim: bool = False,
) -> SSAValue:
    return b.unary("sqrt", _var_dim(b, self, dim, unbiased, keepdim))


def _var_all(b: Builder, self: SSAValue, unbiased: bool = True) -> SSAValue:
    return _var_dim(b, self, None, unbiased)


def _std_all(b: Builder, self: SSAValue, unbiased: bool = True) -> SSAValue:
    return _std_dim(b, self, None, unbiased)


def _vector_norm(
    b: Builder,
    self: SSAValue,
    ord: Scalar = 2,
    dim: Axes = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> SSAValue:
    if ord == 2:
        total = _reduce(b, "sum", b.binary("mul", self, self), dim, keepdim)
        return b.unary("sqrt", total)
    kinds = {1: "sum", math.inf: "max", -math.inf: "min"}
    if ord not in kinds:
        raise Unsupported(f"the norm of order {ord}", "use order 1, 2, inf or -inf")
    return _reduce(b, kinds[ord], b.unary("abs", self), dim, keepdim)


def _norm(
    b: Builder,
    self: SSAValue,
    p: Scalar | None = 2,
    dim: Axes = None,
    keepdim: bool = False,
) -> SSAValue:
    return _vector_norm(b, self, 2 if p is None else p, dim, keepdim)


def _logsumexp(
    b: Builder, self: SSAValue, dim: Axes, keepdim: bool = False
) -> SSAValue:
    top = _reduce(b, "max", self, dim, True)
    small = b.unary("exp", b.binary("sub", self, top))
    total = b.unary("log", _reduce(b, "sum", small, dim, keepdim))
    return b.binary("add", total, b.reshape(top, nn.shape_of(total)))


RULES: dict[str, Callable[..., Any]] = {
    "mean.default": _over_all("mean"),
    "mean.dim": _over_axes("mean"),
    "sum.default": _over_all("sum"),
    "sum.dim_IntList": _over_axes("sum"),
    "prod.default": _over_all("prod"),
    "prod.dim_int": _over_axes("prod"),
    "amax.default": _over_axes("max"),
    "amin.default": _over_axes("min"),
    "max.default": _over_all("max"),
    "min.default": _over_all("min"),
    "max.dim": _with_position("max", "argmax"),
    "min.dim": _with_position("min", "argmin"),
    "argmax.default": _arg("argmax"),
    "argmin.default": _arg("argmin"),
    "var.correction": _var,
    "var.dim": _var_dim,
    "var.default": _var_all,
    "std.correction": _std,
    "std.dim": _std_dim,
    "std.default": _std_all,
    "var_mean.correction": _var_mean,
    "linalg_vector_norm.default": _vector_norm,
    "norm.ScalarOpt_dim": _norm,
    "logsumexp.default": _logsumexp,
}
