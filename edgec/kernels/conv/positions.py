"""The end of a convolution kernel: epilogue, zero gaps, store.

Shared by the convolution kernels, whose results are vectors of neighbouring positions
of one filter's plane.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import MemRefType, f32, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD, buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import Bands
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Dequantize

Put = Callable[[SSAValue, int, int, SSAValue | None], None]
"""`put(value, plane, along, mask)`: store a vector of a plane."""

CACHE_LINE = 16
"""f32 elements of 64 bytes."""


@dataclass(frozen=True)
class Extra:
    """An extra operand of an epilogue.

    `per_channel`: one value for each filter (and image, if its leading size is not 1);
    else a tensor of the result's shape, whose rows in flat kernels have the result's
    pitch.
    """

    layout: Layout
    per_channel: bool
    quantized: Dequantize | None = None
    """What its bytes stand for, if `layout` is one of quads: for sums of quads."""
    pairs: bool = False
    """Whether `layout` is one of pairs: for sums of pairs."""

    @property
    def held(self) -> int:
        """Channels of a lane."""
        return QUAD if self.quantized is not None else PAIR if self.pairs else 1


def declare_extras(
    buffers: dict[str, MemRefType[Any]], extras: Sequence[Extra]
) -> None:
    """Add one buffer argument per extra."""
    for number, extra in enumerate(extras):
        element = f32 if extra.held == 1 else i32
        buffers[f"extra{number}"] = buffer_type(extra.layout.elements, element)


def row_mask_bytes(result: Layout) -> int:
    """Size of the table of `row_mask`: all positions of a plane, and one vector."""
    return -(-result.rows * result.pitch // 8) + 8


def row_mask(result: Layout) -> npt.NDArray[np.int8]:
    """A bit per position of a plane: on where it holds a value, off in gaps."""
    bits = np.zeros(row_mask_bytes(result) * 8, dtype=bool)
    rows = bits[: result.rows * result.pitch].reshape(result.rows, result.pitch)
    for number in range(result.slices):
        first = number * result.slab
        rows[first : first + result.height, : result.columns] = True
    return np.packbits(bits, bitorder="little").view(np.int8)


@dataclass(frozen=True)
class Planes:
    """Filters whose planes are stored together: runs of neighbours."""

    runs: tuple[tuple[Index, int], ...]
    """First filter and number of filters; either one run, or runs of one filter."""

    @classmethod
    def neighbours(cls, first: Index, count: int) -> Planes:
        """`count` filters from `first` on."""
        return cls(((first, count),))

    @classmethod
    def single(cls, filters: Sequence[Index]) -> Planes:
        """Filters that may stand anywhere."""
        return cls(tuple((number, 1) for number in filters))


@dataclass(frozen=True)
class Staging:
    """Where positions of a block of filters are kept for a while, instead of `y`."""

    memory: SSAValue
    step: int
    """Elements from one plane to the next; the block's first one stands at 0."""
    begin: Index
    """The position that stands at the start of a plane."""


class PositionStore:
    """Applies the steps to vectors of positions and stores them."""

    element: Attribute = f32
    """Of what is stored."""
    held = 1
    """Filters of a lane that is stored."""

    def __init__(
        self,
        builder: KernelBuilder,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Extra],
    ) -> None:
        self.b = builder
        self.result = result
        self.steps = steps
        self.extras = extras
        self.staging: Staging | None = None
        """What `store` fills, if it is not `y`."""

    @property
    def neighbours(self) -> Bands:
        """Registers of neighbouring positions."""
        return Bands(1, self.result.rows, self.b.lanes)

    def store(
        self,
        image: Index,
        planes: Planes,
        at: Index,
        values: Sequence[SSAValue],
        vectors: int,
        tail: int,
    ) -> None:
        """Store `values[f * vectors + v]`: plane `f`, position `at + v * L`.

        If `tail` is not 0, only so many lanes of the last vector exist.
        """
        b = self.b
        masks = [self.rows(at, v) for v in range(vectors)]
        for number, (start, count) in enumerate(planes.runs):
            put = self.target(image, start, number, at)
            sides = [self.side(extra, image, start, at) for extra in self.extras]
            for f in range(count):
                for v in range(vectors):
                    exists = b.tail_mask(tail) if tail and v == vectors - 1 else None
                    value = values[(number + f) * vectors + v]
                    value = self.finish(value, sides, f, v, exists)
                    mask = masks[v]
                    if mask is not None:
                        value = b.select(mask, value, self.gap())
                    put(value, f, v * b.lanes, exists)

    def target(self, image: Index, first: Index, number: int, at: Index) -> Put:
        """What stores vectors of the plane `first`, the block's plane `number`."""
        b, result, staging = self.b, self.result, self.staging
        memory: SSAValue | str = "y"
        if staging is None:
            where = b.plus(self.base(result, image, first), at)
            origin, step = result.origin, result.strides[1]
        else:
            memory, where = staging.memory, b.minus(at, staging.begin)
            origin, step = number * staging.step, staging.step

        def put(value: SSAValue, plane: int, along: int, mask: SSAValue | None) -> None:
            offset = origin + plane * step + along
            b.store(value, memory, where, offset=offset, mask=mask)

        return put

    def stored(self, planes: Planes) -> Planes:
        """The planes of the result that filters share."""
        if self.held == 1:
            return planes
        ((first, count),) = planes.runs
        return Planes.neighbours(self.b.quotient(first, self.held), count // self.held)

    def fetch(self, image: Index, planes: Planes, at: Index, vectors: int) -> None:
        """Fetch what `store` will read besides the sums: planes of other tensors."""
        b = self.b
        lines = range(0, vectors * b.lanes, CACHE_LINE)
        for number, extra in enumerate(self.extras):
            if extra.per_channel:
                continue
            for start, count in planes.runs:
                where = self.side(extra, image, start, at)
                held = range(-(-count // extra.held))
                for plane, line in itertools.product(held, lines):
                    apart = plane * extra.layout.strides[1]
                    offset = extra.layout.origin + apart + line
                    b.prefetch(f"extra{number}", where, offset=offset)

    def rows(self, at: Index, vector: int) -> SSAValue | None:
        """The mask of values, where rows or slices have gaps that stay."""
        if self.staging is not None or not self.result.has_gaps_inside:
            return None
        return self.b.load_mask("rows", at, vector * self.b.lanes)

    def base(self, layout: Layout, image: Index, first: Index) -> Index:
        """Start of the plane of filter `first`, without the origin."""
        b = self.b
        return b.plus(
            b.times(image, layout.strides[0]), b.times(first, layout.strides[1])
        )

    def side(self, extra: Extra, image: Index, first: Index, at: Index) -> Index:
        """Address of an extra for filter `first` at position `at`."""
        b = self.b
        layout = extra.layout
        images = image if layout.shape[0] > 1 else 0
        base = self.base(layout, images, first)
        return base if extra.per_channel else b.plus(base, at)

    def finish(
        self,
        value: SSAValue,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands | None = None,
    ) -> SSAValue:
        """Apply every step to one vector, of neighbours or of `bands`."""
        b = self.b
        bands = bands or self.neighbours
        for step in self.steps:
            if step.operand < 0:
                value = b.unary(step.kind, value, step.params)
                continue
            other = self.other(step.operand, sides, f, v, exists, bands)
            lhs, rhs = (other, value) if step.swap else (value, other)
            value = b.binary(step.kind, lhs, rhs)
        return value

    def other(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """What extra operand `number` gives to one vector."""
        b, extra = self.b, self.extras[number]
        name, at = f"extra{number}", sides[number]
        offset = extra.layout.origin + f * extra.layout.strides[1]
        if extra.per_channel:
            return b.splat(b.load(name, at, lanes=1, offset=offset))
        offset, pitch = offset + v * b.lanes, extra.layout.pitch
        return bands.load(b, name, at, offset=offset, pitch=pitch, mask=exists)

    def store_rows(
        self,
        image: Index,
        filter_: Index,
        y: Index,
        x: Index,
        values: Sequence[SSAValue],
        bands: Bands | None = None,
    ) -> None:
        """Store a tile of one register per row from row `y`, column `x` of one filter.

        A row shorter than a band's part of a register is stored as far as it goes.
        """
        b, result = self.b, self.result
        bands = bands or self.neighbours
        short = result.columns if result.columns < bands.columns else 0
        exists = b.tail_mask(short, bands.columns) if short else None
        where = b.plus(self.base(result, image, filter_), b.times(y, result.pitch), x)
        for r, value in enumerate(values):
            sides = [
                self.row_side(extra, image, filter_, y, x, r) for extra in self.extras
            ]
            done = self.finish(value, sides, 0, 0, exists, bands)
            offset, pitch = result.origin + r * result.pitch, result.pitch
            bands.store(b, done, "y", where, offset=offset, pitch=pitch, mask=exists)

    def row_side(
        self, extra: Extra, image: Index, filter_: Index, y: Index, x: Index, row: int
    ) -> Index:
        """Address of an extra for row `y + row`, column `x`."""
        b = self.b
        base = self.side(extra, image, filter_, 0)
        if extra.per_channel:
            return base
        pitch = extra.layout.pitch
        return b.plus(base, b.times(y, pitch), x, row * pitch)

    def zero_row_gaps(self, image: Index, filter_: Index) -> None:
        """Zero what follows each row of a plane."""
        b, result = self.b, self.result
        gap = result.row_gap
        if not gap:
            return
        base = self.base(result, image, filter_)

        def row(at: SSAValue) -> None:
            for number in range(gap):
                offset = result.origin + result.columns + number
                b.store(b.constant(0.0, lanes=1), "y", at, offset=offset)

        end = b.plus(base, result.rows * result.pitch)
        b.loop(base, end, row, step=result.pitch)

    def zero_gaps(self, image: Index, planes: Planes) -> None:
        """Zero what follows each plane, and what stands before the first one."""
        b, result = self.b, self.result
        end = result.origin + result.rows * result.pitch

        def before() -> None:
            self.zero(0, 0, result.origin)

        for start, count in self.stored(planes).runs:
            base = self.base(result, image, start)
            for f in range(count):
                self.zero(base, end + f * result.strides[1], result.plane_gap)
            if result.origin:
                b.when(b.equal(b.value(base), 0), before)

    def zero(self, at: Index, offset: int, count: int) -> None:
        """Zero `count` elements from `at + offset`."""
        b = self.b
        for start in range(0, count, b.lanes):
            left = count - start
            mask = b.tail_mask(left) if left < b.lanes else None
            b.store(self.gap(), "y", at, offset=offset + start, mask=mask)

    def gap(self) -> SSAValue:
        """Zeros of the result."""
        return self.b.constant(0.0)
