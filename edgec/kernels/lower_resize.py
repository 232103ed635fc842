"""From resizing to its kernels."""

from __future__ import annotations

from dataclasses import replace

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.quad_ending import MOST
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.mean_quads import Ending
from edgec.kernels.operands import (
    dequantize_of,
    layout_of,
    requantize_of,
    require_f32,
    zero_of,
)
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.resize import Floats, Ints, Resize
from edgec.kernels.resize_quads import ResizeQuads


def _tables(index: Ints, share: Floats) -> tuple[Packed, Packed]:
    return Packed("resize.index", index), Packed("resize.share", share)


def lower_resize(op: nn.ResizeOp, _: WeightStore, __: int) -> Lowered:
    """Resizing; its positions become two tables."""
    zero_point = zero_of(op.input)
    if sq.has_bf16(op.input):
        zero_point = 0  # two zeros are four bytes of 0
    if zero_point is None or op.kind.data is not nn.ResizeKind.NEAREST:
        require_f32(op.input)
    places = layout_of(op.input), layout_of(op.result)
    spec = Resize(op.kind.data.value, *places, zero_point)
    tables = spec.tables(op.scales.get_values(), align_corners=bool(op.align_corners))
    return Lowered(spec, (op.input, *_tables(*tables)))


def lower_interpolation(op: sq.ResizeOp, _: WeightStore, __: int) -> Lowered:
    """Bilinear resizing of bytes."""
    quantized = dequantize_of(op.input)
    assert quantized is not None
    to = _bounded(quantized, requantize_of(op.result))
    ending = Ending(layout_of(op.result), nn.shape_of(op.result)[1], quantized, to)
    spec = ResizeQuads(layout_of(op.input), ending)
    tables = spec.tables(op.scales.get_values(), align_corners=bool(op.align_corners))
    return Lowered(spec, (op.input, *_tables(*tables)))


def _bounded(quantized: Dequantize, to: Requantize | None) -> Requantize | None:
    """`to`, and that bytes may be clamped, if all numbers between them fit 32 bits."""
    if to is None:
        return None
    return replace(to, bounded=256 * quantized.scale * to.inverse < MOST)
