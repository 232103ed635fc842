"""Keeping the gaps of a lane layout zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout

Part = tuple[Index, Index]
"""The number of a part of some rows, and how many parts there are."""


def has_gaps(layout: Layout) -> bool:
    """Whether the buffer of a tensor holds positions that are no elements of it."""
    if len(layout.shape) not in (4, 5) or layout.size is not None:
        return False  # what lies between elements of a part belongs to others
    is_full = layout.strides[1] == math.prod(layout.shape[2:])
    is_row_full = layout.pitch * layout.phases[-1] == layout.shape[-1]
    return layout.origin > 0 or not (is_full and is_row_full)


def zero_gaps(
    b: KernelBuilder,
    buffer: SSAValue | str,
    layout: Layout,
    n: Index,
    c: Index,
    zeros: SSAValue | None = None,
    *,
    part: Part | None = None,
) -> None:
    """Zero the gaps of plane `(n, c)`: after each row, slice and after the last one.

    With plane (0, 0) goes the area before the origin. `zeros` is a vector of what
    stands for zero, if that is not the number 0. With `part`, only those of a part of
    the rows, or of the slices.
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
        _Phase(b, buffer, layout, zeros, part).fill(start, held)
    if layout.origin:
        is_first = b.equal(b.plus(n, c, 0 if part is None else part[0]), 0)
        b.when(is_first, lambda: zero_range(b, buffer, 0, layout.origin, zeros))


def zero_all_gaps(
    b: KernelBuilder,
    buffer: SSAValue | str,
    layout: Layout,
    zeros: SSAValue | None = None,
) -> None:
    """Zero all gaps of a tensor; the threads share its planes.

    `zeros` as for `zero_gaps`.
    """
    if not has_gaps(layout):
        return
    channels = layout.shape[1]
    begin, end = b.share(layout.shape[0] * channels)

    def plane(p: SSAValue) -> None:
        n, c = b.quotient(p, channels), b.remainder(p, channels)
        zero_gaps(b, buffer, layout, n, c, zeros)

    b.loop(begin, end, plane)


@dataclass(frozen=True)
class _Phase:
    """What one phase plane leaves free."""

    b: KernelBuilder
    buffer: SSAValue | str
    layout: Layout
    zeros: SSAValue | None
    part: Part | None

    def fill(self, start: Index, held: list[int]) -> None:
        """Zero it, if it holds so many rows and columns; slices come first."""
        b, layout = self.b, self.layout
        if 0 in held:
            self.at_end(lambda: self.range(start, layout.plane))
            return
        *deep, rows, columns = held
        slices, step = (deep[0], layout.strides[2]) if deep else (1, 0)
        last = (rows - 1) * layout.pitch + columns

        def slice_(z: Index) -> None:
            at = b.plus(start, b.times(z, step))
            self.between_rows(at, rows, columns)
            self.range(b.plus(at, last), step - last)

        def end() -> None:
            used = (slices - 1) * step + last
            self.range(b.plus(start, used), layout.plane - used)

        at = b.plus(start, (slices - 1) * step)
        if slices == 1:
            self.between_rows(at, rows, columns, self.part)
        else:
            self.repeat(slices - 1, slice_, self.part)
            self.at_end(lambda: self.between_rows(at, rows, columns))
        self.at_end(end)

    def between_rows(
        self, at: Index, rows: int, columns: int, part: Part | None = None
    ) -> None:
        """Of one slice."""
        b, pitch = self.b, self.layout.pitch

        def row(y: Index) -> None:
            self.range(b.plus(at, b.times(y, pitch), columns), pitch - columns)

        if pitch > columns and rows > 1:
            self.repeat(rows - 1, row, part)

    def repeat(
        self, count: int, body: Callable[[Index], None], part: Part | None
    ) -> None:
        """`body` for each number below `count`, or a part of them."""
        if part is None:
            self.b.repeat(count, body)
        else:
            self.b.loop(*self.b.share(count, part), body)

    def at_end(self, body: Callable[[], None]) -> None:
        """What is done by whoever has the last rows."""
        if self.part is None:
            body()
            return
        b, (number, count) = self.b, self.part
        b.when(b.equal(b.plus(number, 1), count), body)

    def range(self, at: Index, count: int) -> None:
        """Some elements."""
        zero_range(self.b, self.buffer, at, count, self.zeros)


def zero_range(
    b: KernelBuilder,
    buffer: SSAValue | str,
    at: Index,
    count: int,
    zeros: SSAValue | None = None,
) -> None:
    """Zero `count` elements from `at`; `zeros` as for `zero_gaps`."""
    full, tail = divmod(count, b.lanes)
    is_number = zeros is None
    zeros = b.constant(0.0) if zeros is None else zeros

    def vector(x: Index) -> None:
        b.store(zeros, buffer, b.plus(at, x))

    if full > 4:
        b.loop(0, full * b.lanes, vector, step=b.lanes)
    else:
        for v in range(full):
            b.store(zeros, buffer, at, offset=v * b.lanes)
    if tail == 1 and is_number:
        b.store(b.constant(0.0, lanes=1), buffer, at, offset=full * b.lanes)
    elif tail:
        mask = b.tail_mask(tail)
        b.store(zeros, buffer, at, offset=full * b.lanes, mask=mask)
