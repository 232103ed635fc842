"""Keeping the gaps of a lane layout zero."""

from __future__ import annotations

import itertools
import math

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout


def has_gaps(layout: Layout) -> bool:
    """Whether the buffer of a tensor holds positions that are no elements of it."""
    if len(layout.shape) not in (4, 5) or layout.size is not None:
        return False  # what lies between elements of a part belongs to others
    is_full = layout.strides[1] == math.prod(layout.shape[2:])
    is_row_full = layout.pitch * layout.phases[-1] == layout.shape[-1]
    return layout.origin > 0 or not (is_full and is_row_full)


def zero_gaps(
    b: KernelBuilder, buffer: SSAValue | str, layout: Layout, n: Index, c: Index
) -> None:
    """Zero the gaps of plane `(n, c)`: after each row, slice and after the last one.

    With plane (0, 0) goes the area before the origin.
    """
    if not has_gaps(layout):
        return
    base = b.plus(b.times(n, layout.strides[0]), b.times(c, layout.strides[1]))
    spatial, phases = layout.shape[2:], layout.phases[2:]
    for number, phase in enumerate(itertools.product(*map(range, phases))):
        held = [
            max(0, -((p - size) // count))
            for p, size, count in zip(phase, spatial, phases, strict=True)
        ]
        start = b.plus(base, layout.origin + number * layout.plane)
        _zero_phase(b, buffer, layout, start, held)
    if layout.origin:
        is_first = b.equal(b.plus(n, c), 0)
        b.when(is_first, lambda: zero_range(b, buffer, 0, layout.origin))


def zero_all_gaps(b: KernelBuilder, buffer: SSAValue | str, layout: Layout) -> None:
    """Zero all gaps of a tensor; the threads share its planes."""
    if not has_gaps(layout):
        return
    channels = layout.shape[1]
    begin, end = b.share(layout.shape[0] * channels)

    def plane(p: SSAValue) -> None:
        n, c = b.quotient(p, channels), b.remainder(p, channels)
        zero_gaps(b, buffer, layout, n, c)

    b.loop(begin, end, plane)


def _zero_phase(
    b: KernelBuilder,
    buffer: SSAValue | str,
    layout: Layout,
    start: Index,
    held: list[int],
) -> None:
    """Zero what one phase plane leaves free that holds so many rows and columns.

    With slices, their number comes first.
    """
    if 0 in held:
        zero_range(b, buffer, start, layout.plane)
        return
    *deep, rows, columns = held
    slices, step = (deep[0], layout.strides[2]) if deep else (1, 0)
    gap, last = layout.pitch - columns, (rows - 1) * layout.pitch + columns

    def between_rows(at: Index) -> None:
        def row(y: Index) -> None:
            end = b.plus(at, b.times(y, layout.pitch), columns)
            zero_range(b, buffer, end, gap)

        if gap and rows > 1:
            b.repeat(rows - 1, row)

    def slice_(z: Index) -> None:
        at = b.plus(start, b.times(z, step))
        between_rows(at)
        zero_range(b, buffer, b.plus(at, last), step - last)

    b.repeat(slices - 1, slice_)
    at = b.plus(start, (slices - 1) * step)
    between_rows(at)
    used = (slices - 1) * step + last
    zero_range(b, buffer, b.plus(start, used), layout.plane - used)


def zero_range(b: KernelBuilder, buffer: SSAValue | str, at: Index, count: int) -> None:
    """Zero `count` elements from `at`."""
    full, tail = divmod(count, b.lanes)
    zeros = b.constant(0.0)

    def vector(x: Index) -> None:
        b.store(zeros, buffer, b.plus(at, x))

    if full > 4:
        b.loop(0, full * b.lanes, vector, step=b.lanes)
    else:
        for v in range(full):
            b.store(zeros, buffer, at, offset=v * b.lanes)
    if tail == 1:
        b.store(b.constant(0.0, lanes=1), buffer, at, offset=full * b.lanes)
    elif tail:
        mask = b.tail_mask(tail)
        b.store(zeros, buffer, at, offset=full * b.lanes, mask=mask)
