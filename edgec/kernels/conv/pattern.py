"""Pattern-sparse convolution: filters of single kernels over rows of one register.

    for tile, for block of channels:
        pack the block's rows, once per column of the window          (if packed)
        for filter in the order of the block's visits:
            acc[rows] = bias or the sum so far
            for kernel of the filter in this block: acc[*] += taps x rows
            store the sum, or finish after the last block

Filters share nothing, so every weight meets the rows of the tile one by one. What pays:
no branch per kernel, one load for two taps (`pattern_loops`), loads that hit L1 and do
not cross cache lines (`strip`), no idle lanes (`bands`), and enough rows to hide the
latency of multiply-add.

Source: PatDNN (ASPLOS 2020): sections 5.2 to 5.4; the packed strip and the tables of
tap addresses are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import BANDS, Bands
from edgec.kernels.conv.pattern_loops import Loops, loops_for
from edgec.kernels.conv.positions import Extra, Planes, PositionStore, declare_extras
from edgec.kernels.conv.strip import Reader, Strip
from edgec.kernels.conv.window import Window
from edgec.kernels.layout import Layout


@dataclass(frozen=True)
class PatternConv:
    """A convolution whose weight is in FKW storage; any pitches."""

    source: Layout
    result: Layout
    window: Window
    patterns: tuple[tuple[int, ...], ...]
    kernels: int
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]
    form: str
    packed: bool
    rows: int
    """Rows of a tile, at most the rows of a band."""
    bands: int
    """Bands of rows that share a register; 1 unless packed."""
    block: int
    """Channels of a block."""
    splits: int
    """Parts of the filters, each a unit of work of its own."""

    @property
    def num_blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.source.shape[1] // self.block)

    @property
    def taps(self) -> int:
        """Weights of a kernel."""
        return len(self.patterns[0])

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, weights, tables (see `pack_pattern`), extras, y."""
        filters = self.result.shape[1]
        sections = self.splits * self.num_blocks
        loops = self.loops(lanes)
        buffers = {
            "x": buffer_type(self.source.elements),
            "w": buffer_type(max(1, self.kernels * self.taps)),
            "where": buffer_type(max(1, self.kernels * loops.addresses), i32),
            "counts": buffer_type(filters * self.num_blocks * loops.counts, i32),
            "starts": buffer_type(sections * loops.cursors, i32),
            "parts": buffer_type(self.splits + 1, i32),
            "visits": buffer_type(filters * self.num_blocks + 1, i32),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(filters)
        declare_extras(buffers, self.extras)
        buffers["y"] = buffer_type(self.result.elements)
        return _Build(self, KernelBuilder(name, buffers, lanes=lanes)).function()

    def __post_init__(self) -> None:
        """Raise `InvalidInput` for a schedule that would leave the planes."""
        height = Bands(self.bands, self.result.rows, self.bands).height
        if self.bands not in BANDS or (self.bands > 1 and not self.packed):
            raise InvalidInput(
                f"bands must be one of {BANDS}, and 1 unless packed, got {self.bands}"
            )
        if not 1 <= self.rows <= height or self.block < 1 or self.splits < 1:
            raise InvalidInput(
                f"rows must be 1 to {height}, block and splits at least 1, "
                f"got {self.rows}, {self.block} and {self.splits}"
            )

    def loops(self, lanes: int) -> Loops:
        """The loops over a filter's kernels."""
        _, row, taps = self.steps_of(lanes)
        return loops_for(self.form, self.patterns, taps, row)

    def steps_of(self, lanes: int) -> tuple[int, int, tuple[int, ...]]:
        """Distances between channels and rows, offsets of taps, as kernels read."""
        if not self.packed:
            taps = self.window.tap_offsets(self.source)
            return self.source.strides[1], self.source.pitch, taps
        strip = Strip(self.source, self.window, self.rows, self.bands_of(lanes))
        return strip.channel, strip.row, strip.taps

    def bands_of(self, lanes: int) -> Bands:
        """How the rows of the result lie in registers of `lanes`.

        Raises `InvalidInput` for bands of less than two neighbours.
        """
        if self.bands > 1 and lanes < 2 * self.bands:
            raise InvalidInput(
                f"bands must be at most half of the {lanes} lanes, got {self.bands}"
            )
        return Bands(self.bands, self.result.rows, lanes)


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: PatternConv, builder: KernelBuilder) -> None:
        self.spec, self.b = spec, builder
        self.sink = PositionStore(builder, spec.result, spec.steps, spec.extras)
        lanes = builder.lanes
        self.bands = spec.bands_of(lanes)
        self.strip = Strip(spec.source, spec.window, spec.rows, self.bands)
        self.loops = spec.loops(lanes)
        strip_elements = self.strip.channel * spec.block if spec.packed else 0
        self.sums_at = -(-strip_elements * 4 // 64) * 64
        self.sums_elements = spec.result.shape[1] * spec.rows * lanes

    def function(self) -> func.FuncOp:
        """Split images x tiles x parts of the filters among the threads."""
        spec, b = self.spec, self.b
        if spec.packed:
            self.strip_memory = b.scratch(self.strip.channel * spec.block)
        if spec.num_blocks > 1:
            self.sums = b.scratch(self.sums_elements, self.sums_at)
        bands = self.bands
        down = -(-bands.height // spec.rows)
        across = -(-spec.result.columns // bands.columns)

        def unit(number: SSAValue) -> None:
            part = b.remainder(number, spec.splits)
            rest = b.quotient(number, spec.splits)
            x = b.times(b.remainder(rest, across), bands.columns)
            rest = b.quotient(rest, across)
            y = b.times(b.remainder(rest, down), spec.rows)
            image = b.quotient(rest, down)
            # The last tile of a row or column moves back into the plane instead of
            # reaching out of it; what it computes twice is the same twice.
            x = b.smaller(x, max(0, spec.result.columns - bands.columns))
            y = b.smaller(y, bands.height - spec.rows)
            self.tile(image, y, x, part)

        self.zero_all_gaps()
        b.units(spec.result.shape[0] * down * across * spec.splits, unit)
        return b.finish()

    def zero_all_gaps(self) -> None:
        """Tiles write values only, so the gaps of all planes can be zeroed apart."""
        b, result = self.b, self.spec.result
        filters = result.shape[1]

        def plane(number: SSAValue) -> None:
            image, filter_ = b.quotient(number, filters), b.remainder(number, filters)
            self.sink.zero_row_gaps(image, filter_)
            self.sink.zero_gaps(image, Planes.neighbours(filter_, 1))

        if result.row_gap or result.plane_gap or result.origin:
            begin, end = b.share(result.shape[0] * filters)
            b.loop(begin, end, plane)

    def tile(self, image: Index, y: Index, x: Index, part: Index) -> None:
        """All channel blocks of one tile for one part of the filters."""
        spec, b = self.spec, self.b
        begin = b.load_index("parts", b.value(part))
        end = b.load_index("parts", b.value(part), 1)

        def block(number: Index) -> None:
            reader = self.reader(image, y, x, number)
            section = b.plus(b.times(part, spec.num_blocks), number)
            first = b.value(b.times(section, self.loops.cursors))
            start = [
                b.load_index("starts", first, n) for n in range(self.loops.cursors)
            ]

            def row(at: SSAValue, *cursor: SSAValue) -> Sequence[SSAValue]:
                return self.row(image, y, x, number, at, cursor, reader)

            b.loop(begin, end, row, carried=start)

        if spec.num_blocks == 1:
            block(0)
        else:
            b.loop(0, spec.num_blocks, block)

    def reader(self, image: Index, y: Index, x: Index, number: Index) -> Reader:
        """Where a kernel of this block finds its input; packs it first if asked."""
        spec, b = self.spec, self.b
        place = b.plus(
            b.times(image, spec.source.strides[0]),
            b.times(number, spec.block * spec.source.strides[1]),
            b.times(y, spec.source.pitch),
            x,
        )
        if not spec.packed:
            return self.strip.direct(b, place)
        left = b.minus(spec.source.shape[1], b.times(number, spec.block))
        count = b.smaller(left, spec.block)
        return self.strip.pack(b, place, count, self.strip_memory)

    def row(
        self,
        image: Index,
        y: Index,
        x: Index,
        number: Index,
        row: SSAValue,
        cursor: Sequence[SSAValue],
        reader: Reader,
    ) -> Sequence[SSAValue]:
        """One filter over the kernels of one block; returns the next filter's place."""
        spec, b = self.spec, self.b
        visit = b.value(b.plus(b.times(number, spec.result.shape[1]), row))
        filter_ = b.load_index("visits", visit)
        sums = b.times(filter_, spec.rows * b.lanes)
        first = self.initial(number, visit, filter_, sums)
        counts = b.value(b.times(visit, self.loops.counts))
        values, cursor = self.loops.visit(
            b, self.spec.rows, reader, counts, cursor, first
        )
        self.finish(image, y, x, number, filter_, sums, values)
        return cursor

    def initial(
        self, number: Index, visit: SSAValue, filter_: SSAValue, sums: Index
    ) -> Sequence[SSAValue]:
        """The bias for the first block of channels, else the sum so far."""
        spec, b = self.spec, self.b

        def bias() -> Sequence[SSAValue]:
            if not spec.has_bias:
                return [b.constant(0.0)] * spec.rows
            return [b.splat(b.load("bias", filter_, lanes=1))] * spec.rows

        def loaded() -> Sequence[SSAValue]:
            return [
                b.load(self.sums, sums, offset=r * b.lanes) for r in range(spec.rows)
            ]

        if spec.num_blocks == 1:
            return bias()
        following = b.times(b.load_index("visits", visit, 1), spec.rows * b.lanes)
        for r in range(spec.rows):
            b.prefetch(self.sums, following, offset=r * b.lanes)
        return b.when(b.equal(number, 0), bias, loaded)

    def finish(
        self,
        image: Index,
        y: Index,
        x: Index,
        number: Index,
        filter_: SSAValue,
        sums: Index,
        values: Sequence[SSAValue],
    ) -> None:
        """Keep the sum, or after the last block apply the steps and store."""
        spec, b = self.spec, self.b

        def final() -> None:
            self.sink.store_rows(image, filter_, y, x, values, self.bands)

        def keep() -> None:
            for r, value in enumerate(values):
                b.store(value, self.sums, sums, offset=r * b.lanes)

        if spec.num_blocks == 1:
            final()
        else:
            b.when(b.equal(number, spec.num_blocks - 1), final, keep)
