"""What fused ops on quantized tensors ask of their types.

A product of bytes has an unsigned input and a signed weight, as the instructions take
them (`lane.dot_quads`), and its sums become float32 numbers by one factor for each
filter: so the input has one scale, the weight one for each filter and no zero point.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import tensor_type
from edgec.dialects.sq.quant import (
    QuantType,
    quant_type,
    require_float,
    require_quantized,
)


def why_no_activation(type_: QuantType) -> str | None:
    """Why integer kernels do not read a tensor of this element type; None if so."""
    if type_.is_dynamic:
        return "its scale is computed at run time"
    if type_.numbers is None:
        return "it has several scales"
    return None if type_.is_unsigned else "its integers are signed"


def why_no_weight(type_: QuantType) -> str | None:
    """The same for a weight; zero points in arrays are not looked at."""
    if type_.is_dynamic:
        return "its scale is computed at run time"
    if type_.is_unsigned:
        return "its integers are unsigned"
    if type_.group_size is not None:
        return "it has a scale for each group of a row"
    if type_.axis_number not in (None, 0):
        return f"it has scales along axis {type_.axis_number}"
    if type_.numbers is not None and type_.numbers[1] != 0:
        return "it has a zero point"
    return None


def has_integers(*values: SSAValue) -> bool:
    """Whether any of the tensors is quantized."""
    return any(quant_type(value) is not None for value in values)


def byte_of(type_: QuantType, number: float) -> int | None:
    """The integer that stands for a number exactly; None if there is none."""
    if type_.numbers is None or not math.isfinite(number):
        return None
    scale, zero_point = type_.numbers
    steps = round(number / scale)
    is_exact = np.float32(steps) * np.float32(scale) == np.float32(number)
    is_in_range = type_.low <= steps + zero_point <= type_.high
    return steps + zero_point if is_exact and is_in_range else None


def verify_product(
    op: Operation,
    weight: SSAValue,
    bias: SSAValue | None,
    extras: Sequence[SSAValue],
) -> None:
    """A product whose input or weight is quantized: both are, as kernels take them."""
    values = (op.operands[0], weight)
    rules = (why_no_activation, why_no_weight)
    for what, value, why in zip(("input", "weight"), values, rules, strict=True):
        require_quantized(op, value, what)
        type_ = quant_type(value)
        assert type_ is not None
        reason = why(type_)
        if reason is not None:
            raise VerifyException(
                f"'{op.name}' op {what} cannot be multiplied in integers: {reason}, "
                f"got {type_}"
            )
    if bias is not None:
        require_float(op, bias, "bias")
    verify_ends(op, extras)


def verify_ends(
    op: Operation, extras: Sequence[SSAValue], input: SSAValue | None = None
) -> None:
    """What stands around steps holds f32, or unsigned bytes with one scale."""
    named = [(f"extra operand {k}", value) for k, value in enumerate(extras)]
    named += [] if input is None else [("input", input)]
    for what, value in (*named, ("result", op.results[0])):
        type_ = quant_type(value)
        found = tensor_type(value).element_type
        reason = None if found == f32 else "it is neither f32 nor quantized"
        if type_ is not None:
            reason = why_no_activation(type_)
        if reason is not None:
            raise VerifyException(
                f"'{op.name}' op {what} must hold f32 or unsigned bytes with one "
                f"scale: {reason}, got {found}"
            )
