"""Rules for `quantized_decomposed` ops, torch's language of quantized models (PT2E).

Weights never come here: what depends on constants alone is folded by torch itself, so
that an int8 weight with its dequantize op is a float32 constant. Scales and zero points
are constants, too; a rule gets these as tensors.
"""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import nn, sq
from edgec.importer.builder import Builder, axis_of
from edgec.importer.problems import Unsupported

STORAGE: dict[torch.dtype, str] = {torch.int8: "i8", torch.uint8: "ui8"}
"""The dtypes of quantized tensors, and their names in `sq.STORAGE`."""

Number = float | torch.Tensor | SSAValue
Array = torch.Tensor | SSAValue


def _number(value: Number, what: str) -> float:
    """A number that may come as a tensor of one element."""
    if isinstance(value, SSAValue):
        raise _computed(what)
    return value.item() if isinstance(value, torch.Tensor) else value


def _computed(what: str) -> Unsupported:
    return Unsupported(
        f"its {what} is computed by the model (dynamic quantization)",
        "quantize with fixed scales (static quantization), or leave it in float32",
    )


def _storage(dtype: torch.dtype) -> str:
    if dtype not in STORAGE:
        name = str(dtype).removeprefix("torch.")
        raise Unsupported(
            f"its quantized tensor has dtype {name}", "quantize to int8 or uint8"
        )
    return STORAGE[dtype]


def _checked(build: Callable[[], sq.QuantType]) -> sq.QuantType:
    try:
        return build()
    except VerifyException as error:
        raise Unsupported(
            str(error), "calibrate the model again, or leave this part in float32"
        ) from None


def _per_tensor(
    scale: Number, zero_point: Number, low: Number, high: Number, dtype: torch.dtype
) -> sq.QuantType:
    numbers = _number(scale, "scale"), int(_number(zero_point, "zero point"))
    ends = int(_number(low, "range")), int(_number(high, "range"))
    storage = _storage(dtype)
    return _checked(lambda: sq.QuantType.per_tensor(storage, *ends, *numbers))


def _arrays(
    b: Builder,
    scales: Array,
    zero_points: Array | None,
    ends: tuple[int, int],
    shape: tuple[int, ...],
) -> tuple[str, str]:
    """Names of both arrays in the weight store; refuses what float32 cannot do."""
    if isinstance(scales, SSAValue) or isinstance(zero_points, SSAValue):
        raise _computed("scale")
    if zero_points is None:
        zero_points = torch.zeros(shape, dtype=torch.int32)
    if scales.dtype != torch.float32:
        raise Unsupported(
            f"its scales have dtype {str(scales.dtype).removeprefix('torch.')}",
            "call .float() on the scales",
        )
    inverse = 1 / scales
    if not bool((scales > 0).all() and torch.isfinite(inverse).all()):
        raise Unsupported(
            f"its scales are {scales.min():g} to {scales.max():g}",
            "use positive scales that are finite in float32, as are their inverses",
        )
    low, high = int(zero_points.min()), int(zero_points.max())
    if low < ends[0] or high > ends[1]:
        raise Unsupported(
            f"its zero points are {low} to {high}, outside of {ends[0]} to {ends[1]}",
            "calibrate the model again, or leave this part in float32",
        )
    path = f"{b.path}." if b.path else ""
    arrays = scales.reshape(shape), zero_points.to(torch.int32).reshape(shape)
    first, second = (array.detach().contiguous().numpy() for array in arrays)
    return (
        b.weights.add(f"{path}activation.scale", first),
        b.weights.add(f"{path}activation.zero_point", second),
    )


def _per_channel(
    b: Builder,
    x: Array,
    scales: Array,
    zero_points: Array | None,
    axis: int,
    ends: tuple[int, int],
    dtype: torch.dtype,
) -> sq.QuantType:
    storage = _storage(dtype)
    shape = nn.shape_of(x) if isinstance(x, SSAValue) else tuple(x.shape)
    axis = axis_of(axis, len(shape))
    names = _arrays(b, scales, zero_points, ends, (shape[axis],))
    return _checked(lambda: sq.QuantType.per_axis(storage, *ends, names, axis))


def _per_group(
    b: Builder,
    x: SSAValue,
    scales: Array,
    zero_points: Array | None,
    ends: tuple[int, int],
    dtype: torch.dtype,
    group: int,
) -> sq.QuantType:
    if isinstance(zero_points, torch.Tensor) and bool(zero_points.any()):
        # torch rounds after it has added these, in groups only.
        raise Unsupported(
            "its groups have zero points",
            "quantize activations in groups symmetrically, with zero points of 0",
        )
    rows, columns = nn.shape_of(x)
    group = min(group, columns)
    names = _arrays(b, scales, zero_points, ends, (rows, columns // group))
    storage = _storage(dtype)
    return _checked(lambda: sq.QuantType.per_axis(storage, *ends, names, 0, group))


def _quantize(b: Builder, x: Array, type_: sq.QuantType) -> SSAValue:
    if isinstance(x, torch.Tensor):
        x = b.constant(x, "constant")
    return b.emit(sq.QuantizeOp(x, type_))


def _dequantize(b: Builder, q: Array, type_: sq.QuantType) -> SSAValue:
    found = None if isinstance(q, torch.Tensor) else sq.quant_type(q)
    if isinstance(q, torch.Tensor) or found is None:
        raise Unsupported(
            "its input is not made by an op that quantizes",
            "give it a constant, or what quantize_per_tensor or _per_channel made",
        )
    if _meaning(found) != _meaning(type_):
        raise Unsupported(
            f"its input was quantized otherwise, as {found}",
            "dequantize with the scale and zero point that it was quantized with",
        )
    return b.emit(sq.DequantizeOp(q))


def _meaning(type_: sq.QuantType) -> tuple[object, ...]:
    """All of a type but the range, which no number depends on once it is quantized."""
    return (type_.storage, type_.scale, type_.zero_point, type_.axis, type_.group)


def _quantize_per_tensor(
    b: Builder,
    input: Array,
    scale: Number,
    zero_point: Number,
    quant_min: Number,
    quant_max: Number,
    dtype: torch.dtype,
) -> SSAValue:
    type_ = _per_tensor(scale, zero_point, quant_min, quant_max, dtype)
    return _quantize(b, input, type_)


def _dequantize_per_tensor(
    b: Builder,
    input: Array,
    scale: Number,
    zero_point: Number,
    quant_min: Number,
    quant_max: Number,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> SSAValue:
    type_ = _per_tensor(scale, zero_point, quant_min, quant_max, dtype)
    return _dequantize(b, input, type_)


def _quantize_per_channel(
    b: Builder,
    input: Array,
    scales: Array,
    zero_points: Array,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = _per_channel(b, input, scales, zero_points, axis, ends, dtype)
    return _quantize(b, input, type_)


def _dequantize_per_channel(
    b: Builder,
    input: Array,
    scales: Array,
    zero_points: Array | None,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = _per_channel(b, input, scales, zero_points, axis, ends, dtype)
    return _dequantize(b, input, type_)


def _quantize_per_channel_group(
    b: Builder,
    input: SSAValue,
    scales: Array,
    zero_points: Array,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int = 128,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = _per_group(b, input, scales, zero_points, ends, dtype, group_size)
    return _quantize(b, input, type_)


def _dequantize_per_channel_group(
    b: Builder,
    w_int8: SSAValue,
    scales: Array,
    zero_points: Array | None,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int = 128,
    output_dtype: torch.dtype = torch.float32,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = _per_group(b, w_int8, scales, zero_points, ends, dtype, group_size)
    return _dequantize(b, w_int8, type_)


_OVERLOADS = ("default", "tensor", "tensor2")

RULES: dict[str, Callable[..., Any]] = {
    **{f"quantize_per_tensor.{name}": _quantize_per_tensor for name in _OVERLOADS},
    **{f"dequantize_per_tensor.{name}": _dequantize_per_tensor for name in _OVERLOADS},
    "quantize_per_channel.default": _quantize_per_channel,
    "dequantize_per_channel.default": _dequantize_per_channel,
    "quantize_per_channel_group.default": _quantize_per_channel_group,
    "dequantize_per_channel_group.default": _dequantize_per_channel_group,
}
