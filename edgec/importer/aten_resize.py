"""Rules for upsampling and for moves between channels and pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder

Factors = Sequence[float | None] | None


def _step(
    size: int, result: int, factor: float | None, align_corners: bool = False
) -> float:
    """Input positions per output position, rounded to float32 as in torch."""
    if align_corners:
        step = (size - 1) / (result - 1) if result > 1 else 0.0
    elif factor is not None and factor > 0:
        step = 1.0 / factor
    else:
        step = size / result
    return float(np.float32(step))


def _resize(
    b: Builder, kind: str, x: SSAValue, factors: Factors, align_corners: bool = False
) -> SSAValue:
    size, result = nn.shape_of(x)[2:], b.shape[2:]
    factors = factors or [None] * len(size)
    steps = [
        _step(old, new, factor, align_corners)
        for old, new, factor in zip(size, result, factors, strict=True)
    ]
    return b.emit(nn.ResizeOp(kind, x, result, steps, align_corners=align_corners))


def _nearest_vec(
    b: Builder,
    input: SSAValue,
    output_size: Sequence[int] | None,
    scale_factors: Factors,
) -> SSAValue:
    return _resize(b, "nearest", input, scale_factors)


def _nearest_1d(
    b: Builder, self: SSAValue, output_size: Sequence[int], scales: float | None = None
) -> SSAValue:
    return _resize(b, "nearest", self, [scales])


def _nearest_2d(
    b: Builder,
    self: SSAValue,
    output_size: Sequence[int],
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> SSAValue:
    return _resize(b, "nearest", self, [scales_h, scales_w])


def _nearest_3d(
    b: Builder,
    self: SSAValue,
    output_size: Sequence[int],
    scales_d: float | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> SSAValue:
    return _resize(b, "nearest", self, [scales_d, scales_h, scales_w])


def _bilinear_vec(
    b: Builder,
    input: SSAValue,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Factors,
) -> SSAValue:
    return _resize(b, "bilinear", input, scale_factors, align_corners)


def _bilinear_2d(
    b: Builder,
    self: SSAValue,
    output_size: Sequence[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> SSAValue:
    return _resize(b, "bilinear", self, [scales_h, scales_w], align_corners)


def _linear_vec(
    b: Builder,
    input: SSAValue,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Factors,
) -> SSAValue:
    """Linear is bilinear on one row."""
    batch, channels, size = nn.shape_of(input)
    factor = scale_factors[0] if scale_factors else None
    step = _step(size, b.shape[2], factor, align_corners)
    row = b.reshape(input, (batch, channels, 1, size))
    y = b.emit(
        nn.ResizeOp(
            "bilinear",
            row,
            (1, b.shape[2]),
            (0.0 if align_corners else 1.0, step),
            align_corners=align_corners,
        )
    )
    return b.reshape(y, b.shape)


def _linear_1d(
    b: Builder,
    self: SSAValue,
    output_size: Sequence[int],
    align_corners: bool,
    scales: float | None = None,
) -> SSAValue:
    return _linear_vec(b, self, output_size, align_corners, [scales])


def _pixel_shuffle(b: Builder, self: SSAValue, upscale_factor: int) -> SSAValue:
    *batch, channels, height, width = nn.shape_of(self)
    r, n = upscale_factor, len(batch)
    x = b.reshape(self, (*batch, channels // (r * r), r, r, height, width))
    x = b.transpose(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return b.reshape(x, b.shape)


def _pixel_unshuffle(b: Builder, self: SSAValue, downscale_factor: int) -> SSAValue:
    *batch, channels, height, width = nn.shape_of(self)
    r, n = downscale_factor, len(batch)
    x = b.reshape(self, (*batch, channels, height // r, r, width // r, r))
    x = b.transpose(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return b.reshape(x, b.shape)


def _channel_shuffle(b: Builder, self: SSAValue, groups: int) -> SSAValue:
    batch, channels, *spatial = nn.shape_of(self)
    x = b.reshape(self, (batch, groups, channels // groups, *spatial))
    x = b.transpose(x, (0, 2, 1, *range(3, 3 + len(spatial))))
    return b.reshape(x, b.shape)


RULES: dict[str, Callable[..., Any]] = {
    **{f"upsample_nearest{n}d.vec": _nearest_vec for n in (1, 2, 3)},
    "upsample_nearest1d.default": _nearest_1d,
    "upsample_nearest2d.default": _nearest_2d,
    "upsample_nearest3d.default": _nearest_3d,
    "upsample_bilinear2d.vec": _bilinear_vec,
    "upsample_bilinear2d.default": _bilinear_2d,
    "upsample_linear1d.vec": _linear_vec,
    "upsample_linear1d.default": _linear_1d,
    "pixel_shuffle.default": _pixel_shuffle,
    "pixel_unshuffle.default": _pixel_unshuffle,
    "channel_shuffle.default": _channel_shuffle,
    "native_channel_shuffle.default": _channel_shuffle,
}
