"""Rules for `quantized_decomposed` ops, torch's language of quantized models (PT2E).

The weight of a convolution or linear layer stays in integers: `STORED` are the ops that
may stand between. What else depends on constants alone is folded by torch itself, and
is a float32 constant. A rule gets constants as tensors. Scales and zero points are
constants, or what `choose_qparams` chose.
"""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue

from edgec.dialects import sq
from edgec.importer.builder import Builder
from edgec.importer.problems import Unsupported
from edgec.importer.quantizing import (
    Array,
    Number,
    chosen,
    dequantize,
    dequantize_chosen,
    per_channel_type,
    per_group_type,
    per_tensor_type,
    quantize,
    quantize_chosen,
    storage_of,
    value_of,
)


def _choose(
    b: Builder,
    kind: str,
    x: Array,
    ends: tuple[int, int],
    eps: float,
    dtype: torch.dtype,
) -> tuple[SSAValue, SSAValue]:
    # torch decides by the dtype where the zero point is, the op by the range.
    is_unsigned = storage_of(dtype) == "ui8"
    if is_unsigned != (ends[0] >= 0) or ends[1] < 1:
        raise Unsupported(
            f"its range is {ends[0]} to {ends[1]} of {dtype}",
            "use a range from 0 for uint8, and one from below 0 for int8",
        )
    op = sq.ChooseQparamsOp(value_of(b, x), kind, ends, eps)
    b.emit(op)
    return op.scale, op.zero_point


def _choose_qparams(
    b: Builder,
    input: Array,
    quant_min: int,
    quant_max: int,
    eps: float,
    dtype: torch.dtype,
) -> tuple[SSAValue, SSAValue]:
    return _choose(b, "tensor", input, (quant_min, quant_max), eps, dtype)


def _choose_qparams_symmetric(
    b: Builder,
    input: Array,
    quant_min: int,
    quant_max: int,
    eps: float,
    dtype: torch.dtype,
) -> tuple[SSAValue, SSAValue]:
    ends = quant_min, quant_max
    return _choose(b, "tensor-symmetric", input, ends, eps, dtype)


def _choose_qparams_per_token(
    b: Builder, input: Array, dtype: torch.dtype
) -> tuple[SSAValue, SSAValue]:
    return _choose(b, "token-symmetric", input, (-128, 127), 1e-5, dtype)


def _choose_qparams_per_token_asymmetric(
    b: Builder, input: Array, dtype: torch.dtype
) -> tuple[SSAValue, SSAValue]:
    # torch takes this range for every dtype.
    eps = torch.finfo(torch.float32).eps
    return _choose(b, "token", input, (-128, 127), eps, torch.int8)


def _quantize_per_token(
    b: Builder,
    input: Array,
    scales: Array,
    zero_points: Array,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
) -> SSAValue:
    found = chosen(scales, zero_points)
    if found is None:
        raise _fixed_per_token()
    return quantize_chosen(b, input, found, (quant_min, quant_max), dtype)


def _dequantize_per_token(
    b: Builder,
    input: Array,
    scales: Array,
    zero_points: Array,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    output_dtype: torch.dtype = torch.float32,
) -> SSAValue:
    found = chosen(scales, zero_points)
    if found is None:
        raise _fixed_per_token()
    return dequantize_chosen(b, input, found)


def _fixed_per_token() -> Unsupported:
    return Unsupported(
        "its scales per token are fixed",
        "compute them with choose_qparams_per_token, or quantize per tensor",
    )


def _quantize_per_tensor(
    b: Builder,
    input: Array,
    scale: Number,
    zero_point: Number,
    quant_min: Number,
    quant_max: Number,
    dtype: torch.dtype,
) -> SSAValue:
    found = chosen(scale, zero_point)
    if found is not None:
        return quantize_chosen(b, input, found, (quant_min, quant_max), dtype)
    type_ = per_tensor_type(scale, zero_point, quant_min, quant_max, dtype)
    return quantize(b, input, type_)


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
    found = chosen(scale, zero_point)
    if found is not None:
        return dequantize_chosen(b, input, found)
    type_ = per_tensor_type(scale, zero_point, quant_min, quant_max, dtype)
    return dequantize(b, input, type_)


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
    type_ = per_channel_type(b, input, scales, zero_points, axis, ends, dtype)
    return quantize(b, input, type_)


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
    type_ = per_channel_type(b, input, scales, zero_points, axis, ends, dtype)
    return dequantize(b, input, type_)


def _quantize_per_channel_group(
    b: Builder,
    input: Array,
    scales: Array,
    zero_points: Array,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int = 128,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = per_group_type(b, input, scales, zero_points, ends, dtype, group_size)
    return quantize(b, input, type_)


def _dequantize_per_channel_group(
    b: Builder,
    w_int8: Array,
    scales: Array,
    zero_points: Array | None,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    group_size: int = 128,
    output_dtype: torch.dtype = torch.float32,
) -> SSAValue:
    ends = quant_min, quant_max
    type_ = per_group_type(b, w_int8, scales, zero_points, ends, dtype, group_size)
    return dequantize(b, w_int8, type_)


_OVERLOADS = ("default", "tensor", "tensor2")

RULES: dict[str, Callable[..., Any]] = {
    **{f"quantize_per_tensor.{name}": _quantize_per_tensor for name in _OVERLOADS},
    **{f"dequantize_per_tensor.{name}": _dequantize_per_tensor for name in _OVERLOADS},
    "quantize_per_channel.default": _quantize_per_channel,
    "dequantize_per_channel.default": _dequantize_per_channel,
    "quantize_per_channel_group.default": _quantize_per_channel_group,
    "dequantize_per_channel_group.default": _dequantize_per_channel_group,
    "choose_qparams.tensor": _choose_qparams,
    "choose_qparams_symmetric.tensor": _choose_qparams_symmetric,
    "choose_qparams_per_token.default": _choose_qparams_per_token,
    "choose_qparams_per_token_asymmetric.default": _choose_qparams_per_token_asymmetric,
    "quantize_per_token.default": _quantize_per_token,
    "dequantize_per_token.default": _dequantize_per_token,
}

STORED = frozenset(
    f"quantized_decomposed.{name}"
    for name in (
        *(f"dequantize_per_tensor.{name}" for name in _OVERLOADS),
        "dequantize_per_channel.default",
        "dequantize_per_channel_group.default",
    )
)
"""Ops that give what a stored weight stands for."""
