"""Convolutions, pools and resizing: one loop over taps or windows, plain numpy.

All functions but `resize_bytes` take and give wide arrays (float64 or int64) of shape
`[N, C, *S]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgec.interpreter.arrays import AnyArray, WideArray

Ints = Sequence[int]


def convolve(
    x: WideArray,
    w: WideArray,
    *,
    stride: Ints,
    low: Ints,
    high: Ints,
    dilation: Ints,
    groups: int,
) -> WideArray:
    """Cross-correlation of `[N, C, *S]` with `[F, C / groups, *K]`."""
    kernel = w.shape[2:]
    x = np.pad(x, [(0, 0), (0, 0), *zip(low, high, strict=True)])
    out = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    batch, filters = x.shape[0], w.shape[0]
    y = np.zeros((batch, groups, filters // groups, math.prod(out)), x.dtype)
    for tap in np.ndindex(*kernel):
        view = x[(..., *_tap(tap, out, stride, dilation))]
        view = view.reshape(batch, groups, -1, math.prod(out))
        weights = w[(..., *tap)].reshape(groups, filters // groups, -1)
        y += weights @ view
    return y.reshape(batch, filters, *out)


def convolve_transposed(
    x: WideArray,
    w: WideArray,
    *,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> WideArray:
    """Adjoint of `convolve`: `[N, C, *S]` scattered by `[C, F / groups, *K]`."""
    kernel, spatial = w.shape[2:], x.shape[2:]
    full = [
        (size - 1) * s + d * (k - 1) + 1 + extra
        for size, k, s, d, extra in zip(
            spatial, kernel, stride, dilation, output_padding, strict=True
        )
    ]
    batch, per_group = x.shape[0], w.shape[1]
    y = np.zeros((batch, groups * per_group, *full), x.dtype)
    flat = x.reshape(batch, groups, -1, math.prod(spatial))
    for tap in np.ndindex(*kernel):
        weights = w[(..., *tap)].reshape(groups, -1, per_group).swapaxes(1, 2)
        values = (weights @ flat).reshape(batch, -1, *spatial)
        y[(..., *_tap(tap, spatial, stride, dilation))] += values
    crop = [slice(p, size - p) for p, size in zip(padding, full, strict=True)]
    return y[(..., *crop)]


def pool_max(
    x: WideArray,
    out: Ints,
    *,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
) -> WideArray:
    """Largest element of each window; positions outside of the input do not count."""
    lowest = -np.inf if x.dtype == np.float64 else np.iinfo(x.dtype).min
    padded = _pad_for_windows(x, out, kernel, stride, padding, dilation, lowest)
    y = np.full((*x.shape[:2], *out), lowest, x.dtype)
    for tap in np.ndindex(*kernel):
        y = np.maximum(y, padded[(..., *_tap(tap, out, stride, dilation))])
    return y


def pool_avg(
    x: WideArray,
    out: Ints,
    *,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    count_include_pad: bool,
    divisor: int,
) -> WideArray:
    """Sum of each window over `divisor`, or over its number of positions if that is 0.

    The positions of a window that lie beyond the padded input never count; those in
    the padding count if `count_include_pad`.
    """
    ones = (1,) * len(kernel)
    padded = _pad_for_windows(x, out, kernel, stride, padding, ones, 0)
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for tap in np.ndindex(*kernel):
        y = y + padded[(..., *_tap(tap, out, stride, ones))]
    if divisor:
        return y / divisor
    count = np.ones((), np.int64)
    for sizes in zip(x.shape[2:], out, kernel, stride, padding, strict=True):
        along = _window_sizes(*sizes, count_include_pad=count_include_pad)
        count = np.multiply.outer(count, along)
    return y / count


def pool_adaptive(x: WideArray, out: Ints, *, is_max: bool) -> WideArray:
    """Largest or mean element of `floor(i S / O) .. ceil((i + 1) S / O)`."""
    y = np.empty((*x.shape[:2], *out), x.dtype)
    axes = tuple(range(2, x.ndim))
    for index in np.ndindex(*out):
        window = tuple(
            slice(i * size // o, -((i + 1) * size // -o))
            for i, o, size in zip(index, out, x.shape[2:], strict=True)
        )
        values = x[(..., *window)]
        y[(..., *index)] = values.max(axes) if is_max else values.mean(axes)
    return y


def resize_nearest(x: WideArray, out: Ints, scales: Sequence[float]) -> WideArray:
    """Along each dimension, element `min(floor(o * scale), S - 1)`."""
    for axis, (size, scale) in enumerate(zip(out, scales, strict=True), start=2):
        positions = np.arange(size, dtype=np.float32) * np.float32(scale)
        indices = np.minimum(np.floor(positions).astype(int), x.shape[axis] - 1)
        x = np.take(x, indices, axis)
    return x


def resize_linear(
    x: WideArray, out: Ints, scales: Sequence[float], *, align_corners: bool
) -> WideArray:
    """Along each dimension, the two neighbours of a position by their distances."""
    for axis, (size, scale) in enumerate(zip(out, scales, strict=True), start=2):
        lower, upper, share = _neighbours(x, axis, size, scale, align_corners)
        share = share.astype(np.float64)
        x = np.take(x, lower, axis) * (1 - share) + np.take(x, upper, axis) * share
    return x


def resize_bytes(
    q: AnyArray, out: Ints, scales: Sequence[float], *, align_corners: bool
) -> AnyArray:
    """The same of bytes, in float32 and along the last dimension first."""
    x = q.astype(np.float32)
    for axis in range(q.ndim - 1, 1, -1):
        size, scale = out[axis - 2], scales[axis - 2]
        lower, upper, share = _neighbours(x, axis, size, scale, align_corners)
        low, high = np.take(x, lower, axis), np.take(x, upper, axis)
        x = low + (high - low) * share
    return x


def _neighbours(
    x: AnyArray, axis: int, out: int, scale: float, align_corners: bool
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Lower and upper one of each position along `axis`, and the share of the latter.

    The share is float32, and broadcasts to `x`.
    """
    steps, step = np.arange(out, dtype=np.float32), np.float32(scale)
    half = np.float32(0.5)
    if align_corners:
        positions = steps * step
    else:
        positions = np.maximum((steps + half) * step - half, np.float32(0))
    last = x.shape[axis] - 1
    lower = np.minimum(positions.astype(int), last)
    upper = np.minimum(lower + 1, last)
    share = np.clip(positions - lower.astype(np.float32), 0, 1)
    return lower, upper, share.reshape(-1, *(1,) * (x.ndim - 1 - axis))


def _tap(tap: Ints, out: Ints, stride: Ints, dilation: Ints) -> tuple[slice, ...]:
    """The positions that one tap of the kernel meets, one slice per dimension."""
    return tuple(
        slice(k * d, k * d + (o - 1) * s + 1, s)
        for k, o, s, d in zip(tap, out, stride, dilation, strict=True)
    )


def _pad_for_windows(
    x: WideArray,
    out: Ints,
    kernel: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    value: float,
) -> WideArray:
    """`x` with `padding` before, and after it what the last window needs."""
    after = [
        max((o - 1) * s + d * (k - 1) + 1 - size - p, 0)
        for size, o, k, s, p, d in zip(
            x.shape[2:], out, kernel, stride, padding, dilation, strict=True
        )
    ]
    widths = [(0, 0), (0, 0), *zip(padding, after, strict=True)]
    return np.pad(x, widths, constant_values=value)


def _window_sizes(
    size: int,
    out: int,
    kernel: int,
    stride: int,
    padding: int,
    *,
    count_include_pad: bool,
) -> WideArray:
    """How many positions of each window count, along one dimension."""
    start = np.arange(out) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    if count_include_pad:
        return end - start
    return np.minimum(end, size) - np.maximum(start, 0)
