"""Depthwise convolution of quads: four rows of a window in each product.

    for band of rows of results, vector of columns:
        for four rows of the input that the band reads:
            t[0], t[1], … = transposed loads         lane 4k + c of t[m]: channel c of
                                                     column 4k + m, its byte r of row r
            for row of results, tap kx, j in 0..3:
                acc[row][j] += dot(t[j + kx], w[row, kx])
        y = bytes of acc                             lane 4k + c of acc[j]: column
                                                     4k + j

`lane.dot_quads` sums over the bytes of a lane, which are channels in a tensor of quads
and must not be mixed here. `lane.transpose_quads` puts the same channel of four rows
there: eight instructions for four registers, of which neighbouring taps share all but
one, and rows of results that overlap share all. A 3x3 window has three products for
four channels of one position, of nine that count, and the weights that a row of
results does not use are zero. Packing sums back to bytes puts channels in order again.

With a stride along columns, every second column is loaded. Rows of input and result
have any pitches. The transposition of bytes for dot products over taps is folklore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import PAIR_BOUND, QUAD, buffer_type, vector
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.window import Window
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Requantize

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class QuadDepthwise:
    """A 2-D convolution of one filter for each channel; layouts of quads.

    Steps have no extra operands. Raises `InvalidInput` if they have, if layouts are
    split into phases, or if the input has too little room around what it holds:
    `source` must have all zeros that the window reaches (`Window.direct_reach`), and
    slack after it.
    """

    source: Layout
    result: Layout
    window: Window
    steps: tuple[Step, ...]
    requantize: Requantize
    rows: int
    """Rows of results that are computed together."""
    bounded: bool
    """Whether the weights are `is_bounded`."""

    def __post_init__(self) -> None:
        if any(step.operand >= 0 for step in self.steps):
            raise InvalidInput(f"steps must have one operand, got {self.steps}")
        if self.source.is_split or self.result.is_split or self.source.slices > 1:
            raise InvalidInput(
                "a depthwise convolution of quads takes planes without phases, got "
                f"{self.source} and {self.result}"
            )

    @property
    def input_rows(self) -> tuple[int, ...]:
        """Rows that a band reads, counted from the first result's row times stride."""
        taps = product(range(self.rows), range(self.window.kernel[0]))
        return tuple(sorted({self.row_of(r, ky) for r, ky in taps}))

    def row_of(self, row: int, ky: int) -> int:
        """The row of the input for a tap of a row of the band."""
        window = self.window
        return row * window.stride[0] + ky * window.dilation[0] - window.low[0]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """`input_rows` in groups of up to four."""
        rows = self.input_rows
        return tuple(rows[g : g + QUAD] for g in range(0, len(rows), QUAD))

    def taps_of(self, row: int, group: int) -> tuple[int | None, ...]:
        """Which taps of a row of results the rows of a group are."""
        taps = {self.row_of(row, ky): ky for ky in range(self.window.kernel[0])}
        return tuple(taps.get(at) for at in self.groups[group])

    @property
    def products(self) -> tuple[tuple[int, int, int], ...]:
        """(row of results, group of rows, column of the window) that are not zero."""
        every = product(
            range(self.rows), range(len(self.groups)), range(self.window.kernel[1])
        )
        return tuple(
            (row, group, kx)
            for row, group, kx in every
            if any(tap is not None for tap in self.taps_of(row, group))
        )

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, sums, scale, shift, y."""
        return _Build(self, name, lanes).function()


@dataclass(frozen=True)
class DepthwiseTables:
    """Arrays of a `QuadDepthwise`."""

    w: Ints
    """`[groups of channels][products][4 channels]`, four rows each, flat."""
    sums: Ints
    """`[channels]` where sums start."""


def pack_depthwise(
    weight: Bytes, zero_point: int, spec: QuadDepthwise
) -> DepthwiseTables:
    """Tables of a weight `[C, 1, KY, KX]` for inputs with this zero point."""
    channels = spec.result.shape[1] * QUAD
    padded = np.zeros((channels, *weight.shape[2:]), np.int8)
    padded[: len(weight)] = weight[:, 0]
    w = np.zeros((channels // QUAD, len(spec.products), QUAD, QUAD), np.int8)
    for number, (row, group, kx) in enumerate(spec.products):
        for byte, ky in enumerate(spec.taps_of(row, group)):
            if ky is not None:
                w[:, number, :, byte] = padded[:, ky, kx].reshape(-1, QUAD)
    sums = -zero_point * padded.reshape(channels, -1).sum(1, np.int64)
    return DepthwiseTables(w.view("<i4").reshape(-1), sums.astype(np.int32))


def is_bounded(tables: DepthwiseTables) -> bool:
    """Whether all pairs of weights keep the promise of `lane.dot_quads {bounded}`."""
    pairs = tables.w.view(np.int8).astype(np.int64).reshape(-1, 2)
    most = np.maximum(pairs.clip(min=0).sum(1), -pairs.clip(max=0).sum(1))
    return bool((most <= PAIR_BOUND).all())


def is_bounded_anyhow(weight: Bytes) -> bool:
    """The same for a weight `[C, 1, KY, KX]`, whatever rows share a product."""
    wide = weight.astype(np.int64)
    parts = (np.sort(part.clip(min=0), 2)[:, :, -2:].sum(2) for part in (wide, -wide))
    return all(bool((most <= PAIR_BOUND).all()) for most in parts)


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: QuadDepthwise, name: str, lanes: int) -> None:
        self.spec = spec
        channels = spec.result.shape[1] * QUAD
        buffers = {
            "x": buffer_type(spec.source.elements, i32),
            "w": buffer_type(channels * len(spec.products), i32),
            "sums": buffer_type(channels, i32),
            "scale": buffer_type(channels, f32),
            "shift": buffer_type(channels, f32),
            "y": buffer_type(spec.result.elements, i32),
        }
        self.b = KernelBuilder(name, buffers, lanes=lanes)
        # Of each phase of columns, the shift of its first tap.
        self.first: dict[int, int] = {}
        for kx in range(spec.window.kernel[1]):
            phase, shift = spec.window.step(1, kx)
            self.first[phase] = min(shift, self.first.get(phase, shift))
        self._check_reach()

    def _check_reach(self) -> None:
        """No load may leave the buffer."""
        spec, lanes = self.spec, self.b.lanes
        source, (stride_y, stride_x) = spec.source, spec.window.stride
        least = spec.input_rows[0] * source.pitch
        most = (spec.result.rows - 1) * stride_y + self.last_row(1)
        begin, end = 0, 0
        for phase, shift in self.first.items():
            begin = min(begin, phase + shift * stride_x)
            taps = (spec.window.step(1, kx) for kx in range(spec.window.kernel[1]))
            reach = max(s for p, s in taps if p == phase) - shift + QUAD - 1
            blocks = reach // QUAD * QUAD
            end = max(end, phase + (shift + blocks + lanes - 1) * stride_x)
        end += max(0, spec.result.columns - lanes) * stride_x
        last = (source.shape[0] - 1) * source.strides[0]
        last += (source.shape[1] - 1) * source.strides[1]
        low = source.origin + least + begin
        high = source.origin + last + most * source.pitch + end
        if low < 0 or high >= source.elements:
            raise InvalidInput(
                f"a depthwise convolution reads elements {low} to {high} of its input, "
                f"whose buffer has {source.elements}: {source}"
            )

    def last_row(self, rows: int) -> int:
        """Of the input, for the first rows of a band."""
        return self.spec.row_of(rows - 1, self.spec.window.kernel[0] - 1)

    def function(self) -> func.FuncOp:
        """Split images x groups of channels among the threads."""
        b, groups = self.b, self.spec.result.shape[1]

        def unit(number: SSAValue) -> None:
            self._plane(b.quotient(number, groups), b.remainder(number, groups))

        b.units(self.spec.result.shape[0] * groups, unit)
        return b.finish()

    def _blocks(self, buffer: str, at: Index, offset: int = 0) -> SSAValue:
        """Four channels, for each position of a register."""
        part = self.b.load(buffer, at, lanes=QUAD, offset=offset)
        return self.b.concat([part] * (self.b.lanes // QUAD))

    def _plane(self, image: Index, group: Index) -> None:
        """Four channels of one image."""
        spec, b = self.spec, self.b
        first = b.times(group, QUAD)
        at = b.times(first, len(spec.products))
        self.weights = {
            key: self._blocks("w", at, number * QUAD)
            for number, key in enumerate(spec.products)
        }
        self.start, self.scale, self.shift = (
            self._blocks(name, first) for name in ("sums", "scale", "shift")
        )
        x, y = (
            b.plus(
                b.times(image, place.strides[0]),
                b.times(group, place.strides[1]),
                place.origin,
            )
            for place in (spec.source, spec.result)
        )
        step = spec.rows * spec.window.stride[0] * spec.source.pitch

        def band(number: Index, rows: int) -> None:
            begin = b.times(number, spec.rows * spec.result.pitch)
            self._band(b.plus(x, b.times(number, step)), b.plus(y, begin), rows)

        full, rest = divmod(spec.result.rows, spec.rows)
        b.repeat(full, lambda number: band(number, spec.rows))
        if rest:
            band(full, rest)
        gap = b.splat(b.integer(spec.requantize.gap))
        zero_gaps(b, "y", spec.result, image, group, gap)

    def _band(self, x: Index, y: Index, rows: int) -> None:
        """All columns of some rows; the last vector computes some again."""
        b, columns, stride = self.b, self.spec.result.columns, self.spec.window.stride
        full, rest = divmod(columns, b.lanes)

        def vector(number: Index) -> None:
            at = b.times(number, b.lanes)
            self._tile(b.plus(x, b.times(at, stride[1])), b.plus(y, at), rows, None)

        b.repeat(full, vector)
        if rest and full:
            at = columns - b.lanes
            self._tile(b.plus(x, at * stride[1]), b.plus(y, at), rows, None)
        elif rest:
            self._tile(x, y, rows, b.tail_mask(rest))

    def _tile(self, x: Index, y: Index, rows: int, mask: SSAValue | None) -> None:
        """A vector of positions in each row."""
        spec, b = self.spec, self.b
        sums = [[self.start] * QUAD for _ in range(rows)]
        for group in range(len(spec.groups)):
            taps = _Taps(self, x, group, rows)
            for row, of, kx in spec.products:
                if of != group or row >= rows:
                    continue
                weight = self.weights[row, group, kx]
                sums[row] = [
                    b.dot_quads(acc, taps.at(kx, j), weight, bounded=spec.bounded)
                    for j, acc in enumerate(sums[row])
                ]
        for row, parts in enumerate(sums):
            quads = self._bytes(parts)
            b.store(quads, "y", y, offset=row * spec.result.pitch, mask=mask)

    def _bytes(self, sums: Sequence[SSAValue]) -> SSAValue:
        """Quads of the sums of all positions."""
        b = self.b
        values: list[SSAValue] = []
        for value in sums:
            number = b.dot(self.shift, b.cast(value, vector(b.lanes)), self.scale)
            for step in self.spec.steps:
                number = b.unary(step.kind, number, step.params)
            values.append(number)
        return self.spec.requantize.pack(b, values, transposed=True)


class _Taps:
    """What a tile reads of one group of rows; each part once."""

    def __init__(self, build: _Build, x: Index, group: int, rows: int) -> None:
        self.build, self.x = build, x
        last = build.last_row(rows)
        self.rows = tuple(row for row in build.spec.groups[group] if row <= last)
        self.found: dict[tuple[int, int], Sequence[SSAValue]] = {}

    def at(self, kx: int, j: int) -> SSAValue:
        """For column `kx` of the window and positions `4 k + j`."""
        phase, shift = self.build.spec.window.step(1, kx)
        block, part = divmod(shift - self.build.first[phase] + j, QUAD)
        if (phase, block) not in self.found:
            self.found[phase, block] = self._transposed(phase, block)
        return self.found[phase, block][part]

    def _transposed(self, phase: int, block: int) -> Sequence[SSAValue]:
        build, b = self.build, self.build.b
        source, stride = build.spec.source, build.spec.window.stride[1]
        column = phase + (build.first[phase] + block * QUAD) * stride
        loads = [
            b.load("x", self.x, offset=row * source.pitch + column, stride=stride)
            for row in self.rows
        ]
        # The weights of what is missing are zero.
        return b.transpose_quads([*loads, *[loads[0]] * (QUAD - len(loads))])
