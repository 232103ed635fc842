"""Bilinear resizing of quads.

    t = low + (high - low) * share      along rows of the input, four channels each
    u = t of one row, and of the next   in the same way
    v = (u - zero point) * scale        stored, or rounded to a byte as by `Requantize`

Each step rounds to float32. Quads of a row's neighbours are picked by tables first, so
that all else works on vectors. Rows of `t` stand in two scratch rows for each channel,
the even and the odd ones, and are made when they are needed: each one once, but for
those at the ends of what a thread takes. Positions are those of `edgec.kernels.resize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type, vector
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.lane_rows import parts_of
from edgec.kernels.layout import Layout, plain
from edgec.kernels.mean_quads import Ending
from edgec.kernels.resize import Floats, Ints, linear_tables
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors

Mask = SSAValue | None

LEAST_ROWS = 8
"""Of a part of a plane, which makes two rows of `t` that its neighbours make too."""


@dataclass(frozen=True)
class ResizeQuads:
    """Resizing of `input`, a layout of quads; where it reads is in the tables.

    Raises `InvalidInput` for another rank or a layout with phases.
    """

    input: Layout
    ending: Ending

    def __post_init__(self) -> None:
        require_unphased("resizing of quads", self.input, self.ending.output)
        if len(self.input.shape) != 4:
            raise InvalidInput(
                f"quads that are interpolated must have rank 4, got {self.input.shape}"
            )

    def tables(
        self, scales: Sequence[float], *, align_corners: bool
    ) -> tuple[Ints, Floats]:
        """The buffers `index`, lower neighbours first, and `share`, of rows first."""
        sizes = self.input.shape[2:], self.ending.output.shape[2:]
        found = [
            linear_tables(size, out, scale, align_corners=align_corners)
            for size, out, scale in zip(*sizes, scales, strict=True)
        ]
        indices = [each for lower, upper, _ in found for each in (lower, upper)]
        return np.concatenate(indices), np.concatenate([share for *_, share in found])

    def parts(self, lanes: int) -> int:
        """Into how many parts of rows planes are cut."""
        height, width = self.ending.output.shape[2:]
        planes = plain((*self.input.shape[:2], height, width))
        return max(1, min(parts_of(planes, lanes), height // LEAST_ROWS))

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, index, share, y."""
        positions = sum(self.ending.output.shape[2:])
        ends = self.ending.buffers(self.input)
        buffers = {
            "x": ends["x"],
            "index": buffer_type(2 * positions, i32),
            "share": buffer_type(positions),
            "y": ends["y"],
        }
        return _Build(self, KernelBuilder(name, buffers, lanes=lanes)).function()


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: ResizeQuads, b: KernelBuilder) -> None:
        self.spec, self.b, self.ending = spec, b, spec.ending
        self.height, self.width = spec.ending.output.shape[2:]
        self.size = -(-(self.width + b.lanes) // 16) * 16
        """Elements of a scratch row."""
        self.rows = b.scratch(2 * QUAD * self.size)
        step, first = 4 * self.size, 4 * 2 * QUAD * self.size
        self.picked = [b.scratch(self.size, first + k * step, i32) for k in (0, 1)]

    def function(self) -> func.FuncOp:
        """Split images x groups of channels x parts of rows among the threads."""
        b, spec = self.b, self.spec
        images, groups = spec.input.shape[:2]
        parts = spec.parts(b.lanes)

        def unit(number: SSAValue) -> None:
            plane, k = b.quotient(number, parts), b.remainder(number, parts)
            n, group = b.quotient(plane, groups), b.remainder(plane, groups)
            part = None if parts == 1 else (k, parts)
            rows = (0, self.height) if part is None else b.share(self.height, part)
            self._plane(n, group, rows)
            self.ending.zero_gaps(b, n, group, part)

        b.units(images * groups * parts, unit)
        return b.finish()

    def _plane(self, n: Index, group: Index, rows: tuple[Index, Index]) -> None:
        """Some rows of a plane of the result."""
        b, source, place = self.b, self.spec.input, self.ending.output
        x = b.plus(
            source.origin,
            b.times(n, source.strides[0]),
            b.times(group, source.strides[1]),
        )
        y = self.ending.plane(b, n, group)

        def line(o: SSAValue, made: SSAValue) -> list[SSAValue]:
            low, high = (b.load_index("index", o, k) for k in (0, self.height))
            after = b.plus(high, 1)
            b.loop(b.larger(made, low), after, partial(self._make_row, x))
            share = b.splat(b.load("share", o, lanes=1))
            at = b.plus(y, b.times(o, place.strides[2]))
            self._line((self._row(low), self._row(high)), share, group, at)
            return [b.value(b.larger(made, after))]

        # Rows of the input below this number are made, or are not read any more.
        b.loop(*rows, line, carried=[b.value(0)])

    def _row(self, number: Index) -> Index:
        """Where the scratch row of an input row begins."""
        b = self.b
        return b.times(b.remainder(number, 2), QUAD * self.size)

    def _make_row(self, x: Index, number: SSAValue) -> None:
        """The columns of the result from one row of the input."""
        b, first = self.b, 2 * self.height
        start = b.plus(x, b.times(number, self.spec.input.strides[2]))
        to = self._row(number)

        def pick(o: Index) -> None:
            for k, row in enumerate(self.picked):
                index = b.load_index("index", o, first + k * self.width)
                b.store(b.load("x", b.plus(start, index), lanes=1), row, o)

        def columns(o: Index, offset: int, mask: Mask) -> None:
            low, high = (
                b.unpack_quads(b.load(row, o, offset=offset, mask=mask))
                for row in self.picked
            )
            share = b.load("share", o, offset=self.height + offset, mask=mask)
            for k, ends in enumerate(zip(low, high, strict=True)):
                numbers = [b.cast(byte, vector(b.lanes)) for byte in ends]
                value = self._between(numbers[0], numbers[1], share)
                at = k * self.size + offset
                b.store(value, self.rows, b.plus(to, o), offset=at, mask=mask)

        b.repeat(self.width, pick)
        for_vectors(b, self.width, b.lanes, columns)

    def _line(
        self, rows: tuple[Index, Index], share: SSAValue, group: Index, y: Index
    ) -> None:
        """A row of the result between two scratch rows."""
        b, quantized = self.b, self.ending.quantized
        zero, scale = b.constant(float(quantized.zero_point)), quantized.scale

        def columns(o: Index, offset: int, mask: Mask) -> None:
            values: list[SSAValue] = []
            for k in range(QUAD):
                at = k * self.size + offset
                low, high = (
                    b.load(self.rows, b.plus(row, o), offset=at, mask=mask)
                    for row in rows
                )
                value = b.binary("sub", self._between(low, high, share), zero)
                values.append(b.binary("mul", value, b.constant(scale)))
            self._store(values, group, b.plus(y, o), offset, mask)

        for_vectors(b, self.width, b.lanes, columns)

    def _between(self, low: SSAValue, high: SSAValue, share: SSAValue) -> SSAValue:
        """`low + (high - low) * share`, rounded three times."""
        b = self.b
        return b.binary("add", low, b.binary("mul", b.binary("sub", high, low), share))

    def _store(
        self,
        values: Sequence[SSAValue],
        group: Index,
        y: Index,
        offset: int,
        mask: Mask,
    ) -> None:
        """Four channels, of which those that do not exist are left out."""
        b, ending = self.b, self.ending
        if ending.requantize is not None:
            b.store(ending.requantize.pack(b, values), "y", y, offset=offset, mask=mask)
            return
        step, first = ending.output.strides[1], b.times(group, QUAD)
        for k, value in enumerate(values):
            to = offset + k * step
            store = partial(b.store, value, "y", y, offset=to, mask=mask)
            if ending.channels % QUAD == 0 or k == 0:
                store()
            else:
                b.when(b.less(b.plus(first, k), ending.channels), store)
