"""Keeping the gaps of a lane layout zero."""

from __future__ import annotations

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout


def has_gaps(layout: Layout) -> bool:
    """Whether the buffer of a tensor holds positions that are no elements of it."""
    if len(layout.shape) != 4:
        return False
    height, width = layout.shape[2:]
    sy, sx = layout.phase
    is_full = layout.pitch * sx == width and layout.plane * sy * sx == height * width
    return layout.origin > 0 or not is_full


def zero_gaps(
    b: KernelBuilder, buffer: SSAValue | str, layout: Layout, n: Index, c: Index
) -> None:
    """Zero the gaps of plane `(n, c)`: after each row and after the last one.

    With plane (0, 0) goes the area before the origin.
    """
    if not has_gaps(layout):
        return
    base = b.plus(b.times(n, layout.strides[0]), b.times(c, layout.strides[1]))
    sy, sx = layout.phase
    for py in range(sy):
        for px in range(sx):
            rows = max(0, -((py - layout.shape[2]) // sy))
            columns = max(0, -((px - layout.shape[3]) // sx))
            start = layout.origin + (py * sx + px) * layout.plane
            _zero_phase(b, buffer, layout, b.plus(base, start), rows, columns)
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
    rows: int,
    columns: int,
) -> None:
    """Zero what one phase plane of `rows x columns` leaves free."""
    if not rows or not columns:
        zero_range(b, buffer, start, layout.plane)
        return
    gap = layout.pitch - columns
    if gap and rows > 1:

        def row(y: Index) -> None:
            at = b.plus(start, b.times(y, layout.pitch), columns)
            zero_range(b, buffer, at, gap)

        b.repeat(rows - 1, row)
    last = (rows - 1) * layout.pitch + columns
    zero_range(b, buffer, b.plus(start, last), layout.plane - last)


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
