"""Rules for arithmetic, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from xdsl.ir import SSAValue

from edgec.importer.builder import Builder, Operand, Scalar
from edgec.importer.problems import Unsupported


def _plain(kind: str) -> Callable[[Builder, SSAValue], SSAValue]:
    def build(b: Builder, self: SSAValue) -> SSAValue:
        return b.unary(kind, self)

    return build


def _pair(kind: str) -> Callable[[Builder, SSAValue, Operand], SSAValue]:
    def build(b: Builder, self: SSAValue, other: Operand) -> SSAValue:
        return b.binary(kind, self, other)

    return build


def _add(b: Builder, self: SSAValue, other: Operand, alpha: Scalar = 1) -> SSAValue:
    return b.binary("add", self, b.scaled(other, alpha))


def _sub(b: Builder, self: SSAValue, other: Operand, alpha: Scalar = 1) -> SSAValue:
    return b.binary("sub", self, b.scaled(other, alpha))


def _rsub(b: Builder, self: SSAValue, other: Operand, alpha: Scalar = 1) -> SSAValue:
    return b.binary("sub", other, b.scaled(self, alpha))


def _div_mode(
    b: Builder, self: SSAValue, other: Operand, *, rounding_mode: str | None
) -> SSAValue:
    quotient = b.binary("div", self, other)
    if rounding_mode is None:
        return quotient
    if rounding_mode == "floor":
        return b.unary("floor", quotient)
    magnitude = b.unary("floor", b.unary("abs", quotient))
    return b.binary("mul", b.unary("sign", quotient), magnitude)


def _remainder(b: Builder, self: SSAValue, other: Operand) -> SSAValue:
    other = b.value(other)
    quotient = b.unary("floor", b.binary("div", self, other))
    return b.binary("sub", self, b.binary("mul", quotient, other))


def _pow(b: Builder, self: SSAValue, exponent: Operand) -> SSAValue:
    if exponent == 1:
        return self
    if exponent == 2:
        return b.binary("mul", self, self)
    if exponent == 3:
        return b.binary("mul", b.binary("mul", self, self), self)
    kinds = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    if isinstance(exponent, int | float) and exponent in kinds:
        return b.unary(kinds[exponent], self)
    return b.binary("pow", self, exponent)


def _pow_scalar_base(b: Builder, self: Scalar, exponent: SSAValue) -> SSAValue:
    return b.binary("pow", self, exponent)


def _square(b: Builder, self: SSAValue) -> SSAValue:
    return b.binary("mul", self, self)


def _clamp(
    b: Builder,
    self: SSAValue,
    min: Operand | None = None,
    max: Operand | None = None,
) -> SSAValue:
    min = None if min == -math.inf else min
    max = None if max == math.inf else max
    if _is_finite(min) and _is_finite(max) and min <= max:
        return b.unary("clamp", self, float(min), float(max))
    if min == 0 and max is None:
        return b.unary("relu", self)
    x = self if min is None else b.binary("max", self, min)
    return x if max is None else b.binary("min", x, max)


def _is_finite(bound: Operand | None) -> TypeGuard[Scalar]:
    return isinstance(bound, int | float) and math.isfinite(bound)


def _masked_fill(
    b: Builder, self: SSAValue, mask: SSAValue, value: Operand
) -> SSAValue:
    """`self`, but `value` where the mask is set; both are known now.

    As bounds, which are `value` where the mask is set and infinite elsewhere: exact,
    unlike a sum of two products.
    """
    where = b.constant_of(mask)
    number = b.constant_of(value) if isinstance(value, SSAValue) else value
    if where is None or number is None:
        raise Unsupported(
            "its mask or its value is computed by the model",
            "mask by products with float32 factors 0 and 1",
        )
    number, is_set = float(number), where.bool()
    x = self
    for kind, beyond in (("min", math.inf), ("max", -math.inf)):
        if number == -beyond or abs(number) < math.inf:
            bound = torch.full(is_set.shape, beyond).masked_fill(is_set, number)
            x = b.binary(kind, x, b.constant(bound, f"{b.hint_of(mask)}.{kind}"))
    return x


def _where(b: Builder, condition: SSAValue, self: Operand, other: Operand) -> SSAValue:
    """One side must be a number; it is filled in where the other one is not meant."""
    is_set = b.constant_of(condition)
    for x, number, flip in ((self, other, True), (other, self, False)):
        fill = b.constant_of(number) if isinstance(number, SSAValue) else number
        is_number = fill is not None and (not torch.is_tensor(fill) or fill.dim() == 0)
        if is_set is not None and is_number and isinstance(x, SSAValue):
            mask = is_set.logical_not() if flip else is_set.bool()
            hint = b.hint_of(condition)
            return _masked_fill(b, x, b.constant(mask.float(), hint), number)
    raise Unsupported(
        "its condition is computed by the model, or both sides are tensors",
        "use products with float32 factors 0 and 1",
    )


def _clamp_min(b: Builder, self: SSAValue, min: Operand) -> SSAValue:
    return _clamp(b, self, min, None)


def _clamp_max(b: Builder, self: SSAValue, max: Operand) -> SSAValue:
    return _clamp(b, self, None, max)


def _log_base(base: float) -> Callable[[Builder, SSAValue], SSAValue]:
    def build(b: Builder, self: SSAValue) -> SSAValue:
        return b.binary("mul", b.unary("log", self), 1.0 / math.log(base))

    return build


def _tan(b: Builder, self: SSAValue) -> SSAValue:
    return b.binary("div", b.unary("sin", self), b.unary("cos", self))


def _exp2(b: Builder, self: SSAValue) -> SSAValue:
    return b.unary("exp", b.binary("mul", self, math.log(2.0)))


def _addcmul(
    b: Builder,
    self: SSAValue,
    tensor1: SSAValue,
    tensor2: SSAValue,
    *,
    value: Scalar = 1,
) -> SSAValue:
    return b.binary("add", self, b.scaled(b.binary("mul", tensor1, tensor2), value))


def _addcdiv(
    b: Builder,
    self: SSAValue,
    tensor1: SSAValue,
    tensor2: SSAValue,
    *,
    value: Scalar = 1,
) -> SSAValue:
    return b.binary("add", self, b.scaled(b.binary("div", tensor1, tensor2), value))


def _lerp(b: Builder, self: SSAValue, end: SSAValue, weight: Operand) -> SSAValue:
    step = b.binary("mul", b.binary("sub", end, self), weight)
    return b.binary("add", self, step)


def _round_decimals(b: Builder, self: SSAValue, *, decimals: int) -> SSAValue:
    if decimals != 0:
        raise Unsupported(f"rounding to {decimals} decimals", "round to integers")
    return b.unary("round", self)


_BINARY = {
    "mul": "mul",
    "multiply": "mul",
    "div": "div",
    "divide": "div",
    "true_divide": "div",
}

RULES: dict[str, Callable[..., Any]] = {
    **{
        f"{kind}.default": _plain(kind)
        for kind in (
            "neg",
            "abs",
            "sqrt",
            "rsqrt",
            "reciprocal",
            "exp",
            "log",
            "sin",
            "cos",
            "floor",
            "ceil",
            "round",
            "sign",
            "erf",
        )
    },
    **{
        f"{name}.{overload}": _pair(kind)
        for name, kind in _BINARY.items()
        for overload in ("Tensor", "Scalar")
    },
    **{
        f"{name}.{overload}": build
        for name, build in (("add", _add), ("sub", _sub), ("rsub", _rsub))
        for overload in ("Tensor", "Scalar")
    },
    "negative.default": _plain("neg"),
    "absolute.default": _plain("abs"),
    "sgn.default": _plain("sign"),
    "round.decimals": _round_decimals,
    "minimum.default": _pair("min"),
    "maximum.default": _pair("max"),
    "min.other": _pair("min"),
    "max.other": _pair("max"),
    "div.Tensor_mode": _div_mode,
    "div.Scalar_mode": _div_mode,
    "remainder.Tensor": _remainder,
    "remainder.Scalar": _remainder,
    "pow.Tensor_Scalar": _pow,
    "pow.Tensor_Tensor": _pow,
    "pow.Scalar": _pow_scalar_base,
    "square.default": _square,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "clip.default": _clamp,
    "masked_fill.Scalar": _masked_fill,
    "masked_fill.Tensor": _masked_fill,
    "where.self": _where,
    "where.ScalarSelf": _where,
    "where.ScalarOther": _where,
    "clamp_min.default": _clamp_min,
    "clamp_min.Tensor": _clamp_min,
    "clamp_max.default": _clamp_max,
    "clamp_max.Tensor": _clamp_max,
    "log2.default": _log_base(2.0),
    "log10.default": _log_base(10.0),
    "exp2.default": _exp2,
    "tan.default": _tan,
    "addcmul.default": _addcmul,
    "addcdiv.default": _addcdiv,
    "lerp.Scalar": _lerp,
    "lerp.Tensor": _lerp,
}
