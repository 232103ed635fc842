"""Pattern-sparse convolution: filters of single kernels over rows of one vector.

    for tile, for block of channels:
        pack the block's rows, once per column of the window          (if packed)
        for filter in the order of the block's visits:
            acc[rows] = bias or the sum so far
            for kernel of the filter in this block: acc[*] += 4 taps x rows
            store the sum, or finish after the last block

Filters share nothing, so every weight meets one load per row of the tile. What pays:
no branch per kernel (`table`: the taps' addresses come from a table; `runs`: one loop
per pattern with the taps as constants), loads that hit L1 and do not cross cache lines
(packing), and enough rows to hide the latency of multiply-add.

Source: PatDNN (ASPLOS 2020): sections 5.2 to 5.4; the packed strip and the table of tap
addresses are this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout
from edgec.kernels.positions import Extra, PositionStore, declare_extras
from edgec.kernels.strip import Reader, Strip
from edgec.kernels.window import Window

FORMS = ("table", "runs", "switch")
"""How a kernel's taps are found: a table of addresses; a loop per pattern (ordered
storage); a branch per kernel (storage in its original order)."""


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
    """Rows of a tile, at most the rows of the result."""
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
        runs = len(self.patterns) if self.form == "runs" else 1
        buffers = {
            "x": buffer_type(self.source.elements),
            "w": buffer_type(max(1, self.kernels * self.taps)),
            "where": buffer_type(max(1, self.kernels * self._addresses), i32),
            "counts": buffer_type(filters * self.num_blocks * runs, i32),
            "starts": buffer_type(sections, i32),
            "parts": buffer_type(self.splits + 1, i32),
            "visits": buffer_type(filters * self.num_blocks + 1, i32),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(filters)
        declare_extras(buffers, self.extras)
        buffers["y"] = buffer_type(self.result.elements)
        return _Build(self, KernelBuilder(name, buffers, lanes=lanes)).function()

    @property
    def _addresses(self) -> int:
        """Table entries per kernel: an address per tap; channel (and pattern) else."""
        return {"table": self.taps, "runs": 1, "switch": 2}[self.form]


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: PatternConv, builder: KernelBuilder) -> None:
        self.spec, self.b = spec, builder
        self.sink = PositionStore(builder, spec.result, spec.steps, spec.extras)
        lanes = builder.lanes
        self.strip = Strip(spec.source, spec.window, spec.rows, lanes)
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
        down = -(-spec.result.rows // spec.rows)
        across = -(-spec.result.columns // b.lanes)

        def unit(number: SSAValue) -> None:
            part = b.remainder(number, spec.splits)
            rest = b.quotient(number, spec.splits)
            x = b.times(b.remainder(rest, across), b.lanes)
            rest = b.quotient(rest, across)
            y = b.times(b.remainder(rest, down), spec.rows)
            image = b.quotient(rest, down)
            # The last tile of a row or column moves back into the plane instead of
            # reaching out of it; what it computes twice is the same twice.
            x = b.smaller(x, max(0, spec.result.columns - b.lanes))
            y = b.smaller(y, spec.result.rows - spec.rows)
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
            self.sink.zero_gaps(image, filter_, 1)

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
            start = b.load_index("starts", b.value(section))

            def row(at: SSAValue, kernel: SSAValue) -> Sequence[SSAValue]:
                return [self.row(image, y, x, number, at, kernel, reader)]

            b.loop(begin, end, row, carried=[start])

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
        kernel: SSAValue,
        reader: Reader,
    ) -> SSAValue:
        """One filter over the kernels of one block; returns the next kernel."""
        spec, b = self.spec, self.b
        visit = b.value(b.plus(b.times(number, spec.result.shape[1]), row))
        filter_ = b.load_index("visits", visit)
        sums = b.times(filter_, spec.rows * b.lanes)
        first = self.initial(number, visit, filter_, sums)
        runs = len(spec.patterns) if spec.form == "runs" else 1
        counts = b.times(visit, runs)
        values: Sequence[SSAValue] = first
        for run in range(runs):
            count = b.load_index("counts", b.value(counts), run)
            stop = b.value(b.plus(kernel, count))
            values = self.kernels(kernel, stop, values, run, reader)
            kernel = stop
        self.finish(image, y, x, number, filter_, sums, values)
        return kernel

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

    def kernels(
        self,
        begin: SSAValue,
        end: SSAValue,
        values: Sequence[SSAValue],
        run: int,
        reader: Reader,
    ) -> Sequence[SSAValue]:
        """The sum over the kernels `begin` to `end`."""
        spec, b = self.spec, self.b
        first = b.value(b.times(begin, spec.taps))

        def body(
            kernel: SSAValue, w_at: SSAValue, *acc: SSAValue
        ) -> Sequence[SSAValue]:
            if spec.form == "table":
                result = self.by_table(w_at, acc, reader)
            elif spec.form == "runs":
                channel = b.load_index("where", kernel)
                result = self.by_pattern(run, channel, w_at, acc, reader)
            else:
                result = self.by_branch(kernel, w_at, acc, reader)
            return [b.value(b.plus(w_at, spec.taps)), *result]

        return b.loop(begin, end, body, carried=[first, *values])[1:]

    def by_table(
        self, w_at: SSAValue, acc: Sequence[SSAValue], reader: Reader
    ) -> list[SSAValue]:
        """Addresses of the taps from the table."""
        spec, b = self.spec, self.b
        values = list(acc)
        for tap in range(spec.taps):
            at = b.plus(reader.base, b.load_index("where", w_at, tap))
            weight = b.splat(b.load("w", w_at, lanes=1, offset=tap))
            for r in range(spec.rows):
                offset = reader.offset + reader.lowest + r * reader.row
                x = b.load(reader.buffer, at, offset=offset)
                values[r] = b.dot(values[r], x, weight)
        return values

    def by_pattern(
        self,
        pattern: int,
        channel: SSAValue,
        w_at: SSAValue,
        acc: Sequence[SSAValue],
        reader: Reader,
    ) -> list[SSAValue]:
        """The taps of one pattern are constants."""
        spec, b = self.spec, self.b
        at = b.plus(reader.base, b.times(channel, reader.channel))
        values = list(acc)
        for tap, position in enumerate(spec.patterns[pattern]):
            weight = b.splat(b.load("w", w_at, lanes=1, offset=tap))
            for r in range(spec.rows):
                offset = reader.offset + reader.taps[position] + r * reader.row
                x = b.load(reader.buffer, at, offset=offset)
                values[r] = b.dot(values[r], x, weight)
        return values

    def by_branch(
        self,
        kernel: SSAValue,
        w_at: SSAValue,
        acc: Sequence[SSAValue],
        reader: Reader,
    ) -> Sequence[SSAValue]:
        """A branch on the kernel's pattern."""
        spec, b = self.spec, self.b
        entry = b.times(kernel, 2)
        channel = b.load_index("where", b.value(entry))
        kind = b.load_index("where", b.value(entry), 1)

        def branch(pattern: int) -> Sequence[SSAValue]:
            if pattern == len(spec.patterns) - 1:
                return self.by_pattern(pattern, channel, w_at, acc, reader)
            return b.when(
                b.equal(kind, pattern),
                lambda: self.by_pattern(pattern, channel, w_at, acc, reader),
                lambda: branch(pattern + 1),
            )

        return branch(0)

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
            self.sink.store_rows(image, filter_, y, x, values)

        def keep() -> None:
            for r, value in enumerate(values):
                b.store(value, self.sums, sums, offset=r * b.lanes)

        if spec.num_blocks == 1:
            final()
        else:
            b.when(b.equal(number, spec.num_blocks - 1), final, keep)
