"""What the rules for quantized ops are written with: types, and ops between them."""

from __future__ import annotations

from collections.abc import Callable

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
        f"its {what} is computed by the model",
        "use fixed scales, or those that choose_qparams computes per tensor or token",
    )


def storage_of(dtype: torch.dtype) -> str:
    """What integers of a dtype are stored as; refuses those of other sizes."""
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


def per_tensor_type(
    scale: Number, zero_point: Number, low: Number, high: Number, dtype: torch.dtype
) -> sq.QuantType:
    """One scale for all; refuses one that the model computes."""
    numbers = _number(scale, "scale"), int(_number(zero_point, "zero point"))
    ends = int(_number(low, "range")), int(_number(high, "range"))
    storage = storage_of(dtype)
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
    hint = f"{path}activation" if b.stored is None else b.stored
    return (
        b.weights.add(f"{hint}.scale", first),
        b.weights.add(f"{hint}.zero_point", second),
    )


def per_channel_type(
    b: Builder,
    x: Array,
    scales: Array,
    zero_points: Array | None,
    axis: int,
    ends: tuple[int, int],
    dtype: torch.dtype,
) -> sq.QuantType:
    """A scale for each index along an axis."""
    storage = storage_of(dtype)
    shape = nn.shape_of(x) if isinstance(x, SSAValue) else tuple(x.shape)
    axis = axis_of(axis, len(shape))
    names = _arrays(b, scales, zero_points, ends, (shape[axis],))
    return _checked(lambda: sq.QuantType.per_axis(storage, *ends, names, axis))


def per_group_type(
    b: Builder,
    x: Array,
    scales: Array,
    zero_points: Array | None,
    ends: tuple[int, int],
    dtype: torch.dtype,
    group: int,
) -> sq.QuantType:
    """A scale for each group of entries of a row."""
    if isinstance(zero_points, torch.Tensor) and bool(zero_points.any()):
        # torch rounds after it has added these, in groups only.
        raise Unsupported(
            "its groups have zero points",
            "quantize activations in groups symmetrically, with zero points of 0",
        )
    rows, columns = nn.shape_of(x) if isinstance(x, SSAValue) else x.shape
    group = min(group, columns)
    names = _arrays(b, scales, zero_points, ends, (rows, columns // group))
    storage = storage_of(dtype)
    return _checked(lambda: sq.QuantType.per_axis(storage, *ends, names, 0, group))


def quantize(b: Builder, x: Array, type_: sq.QuantType) -> SSAValue:
    """`sq.quantize`."""
    return b.emit(sq.QuantizeOp(value_of(b, x), type_))


def value_of(b: Builder, x: Array) -> SSAValue:
    """A constant tensor as a value."""
    return x if isinstance(x, SSAValue) else b.constant(x, "constant")


def dequantize(b: Builder, q: Array, type_: sq.QuantType) -> SSAValue:
    """`sq.dequantize`, of what was quantized with the same numbers.

    A tensor is a stored weight.
    """
    if isinstance(q, torch.Tensor) and b.stored is not None:
        q = b.integers(q, b.stored, type_)
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


def chosen(scale: Number, zero_point: Number) -> tuple[SSAValue, SSAValue] | None:
    """Both results of one op that chooses them; None if both are known."""
    if isinstance(scale, SSAValue) and isinstance(zero_point, SSAValue):
        op = scale.owner
        if isinstance(op, sq.ChooseQparamsOp) and op is zero_point.owner:
            return scale, zero_point
    if isinstance(scale, SSAValue) or isinstance(zero_point, SSAValue):
        raise _computed("scale")
    return None


def quantize_chosen(
    b: Builder,
    x: Array,
    chosen: tuple[SSAValue, SSAValue],
    ends: tuple[Number, Number],
    dtype: torch.dtype,
) -> SSAValue:
    """`sq.quantize_dynamic`."""
    storage, x = storage_of(dtype), value_of(b, x)
    low, high = (int(_number(end, "range")) for end in ends)
    type_ = _checked(lambda: sq.QuantType.dynamic(storage, low, high))
    return b.emit(sq.QuantizeDynamicOp(x, *chosen, type_))


def dequantize_chosen(
    b: Builder, q: Array, chosen: tuple[SSAValue, SSAValue]
) -> SSAValue:
    """`sq.dequantize_dynamic`, with what the tensor was quantized with."""
    op = None if isinstance(q, torch.Tensor) else q.owner
    if not isinstance(op, sq.QuantizeDynamicOp) or isinstance(q, torch.Tensor):
        raise Unsupported(
            "its input is not made by an op that quantizes with a computed scale",
            "give it what quantize_per_tensor or quantize_per_token made",
        )
    if (op.scale, op.zero_point) != chosen:
        raise Unsupported(
            "its input was quantized with another scale",
            "dequantize with the scale and zero point that it was quantized with",
        )
    return b.emit(sq.DequantizeDynamicOp(q, *chosen))
