"""Interpolation of what bytes stand for, as interpolation of the bytes."""

from __future__ import annotations

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Operation

from edgec.dialects import nn, sq
from edgec.passes.analysis.quantized import is_in_bytes
from edgec.passes.patterns.rewriting import (
    copy_labels,
    producer,
    quantized_alone,
    replace_with_end,
)


def is_interpolation(op: Operation) -> bool:
    """Whether an op resizes, and makes values that its input may not have."""
    return isinstance(op, nn.ResizeOp) and op.kind.data is nn.ResizeKind.BILINEAR


def why_float(op: nn.ResizeOp) -> str | None:
    """Why resizing what is dequantized stays in float32; None if it does not."""
    maker = producer(op.input, sq.DequantizeOp)
    assert maker is not None
    type_ = sq.quant_type(maker.input)
    assert type_ is not None
    if type_.numbers is None:
        return "the input has several scales"
    if not is_in_bytes(maker.input):
        return "no integer layer makes or reads the input"
    return None


def take(op: nn.ResizeOp) -> None:
    """Resize the bytes instead, and let the quantize op behind it vanish."""
    maker = producer(op.input, sq.DequantizeOp)
    assert maker is not None
    end, type_ = quantized_alone(op.result)
    shape, scales = nn.shape_of(op.result), op.scales.get_values()
    result = op.result.type if type_ is None else TensorType(type_, shape)
    align = bool(op.align_corners)
    new = sq.ResizeOp(maker.input, result, scales, align_corners=align)
    copy_labels(op, new)
    replace_with_end(op, [new], end)
