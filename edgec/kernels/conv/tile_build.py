"""The loops of convolutions on tiles: sixteen filters times sixteen positions at once.

    for tile of positions:
        for filters of the block that are multiplied together:
            sums = 0                                      tiles[filters][positions]
            for sixteen columns that the block keeps:
                gather the next sixteen                   for the first filters only
                x = sixteen columns, w = sixteen filters
                sums += w x                               `product`
            store the sums
        for four filters: the end of the kernel of columns

Weights are the left factor: a row holds sixteen columns of one filter. The right factor
holds sixteen positions of each column, as the lane layout has them; so nothing is
rearranged, but columns that do not lie evenly spaced are copied next to each other
(`tile_columns`), to one half of a strip while the other half is multiplied. All filters
of the block share what was gathered.

Source: the layout of factors is that of the instructions (Intel Architectures
Optimization Reference Manual, chapter on AMX); the compressed columns are this
project's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.lane import QUAD, TILE_LANES, TILE_ROWS, buffer_type
from edgec.kernels.builder import Index
from edgec.kernels.conv.columns import ColumnConv
from edgec.kernels.conv.flat import FlatBuild, Micro
from edgec.kernels.conv.positions import Planes
from edgec.kernels.conv.tile_columns import COLUMNS, GroupedColumns, Ints
from edgec.kernels.tiles import TileRegisters

TILE = TILE_ROWS * TILE_LANES
"""Elements of a tile."""
LANE_BYTES = 4
FILTERS = QUAD
"""Filters whose sums are ended together: those that may share a lane."""


def where_of(found: GroupedColumns, spec: ColumnConv) -> Ints:
    """The table of addresses, `[groups][columns]`, as in `ColumnTables`."""
    taps = spec.taps
    channel, tap = np.divmod(found.index.astype(np.int64), len(taps))
    where = channel * spec.source.strides[1] + np.array(taps)[tap] - min(taps)
    return filled(where.astype(np.int32), table_sizes(spec)[0])


def weights_of(found: GroupedColumns, spec: ColumnConv) -> Ints:
    """The table of weights, `[groups][filters of the block][columns]`."""
    return filled(found.weight, table_sizes(spec)[1])


def table_sizes(spec: ColumnConv) -> tuple[int, int]:
    """Elements of `where` and of `w`; a weight of zeros keeps one of each."""
    return max(1, spec.columns), max(1, spec.columns * spec.filters)


def filled(array: Ints, size: int) -> Ints:
    """Flat, with zeros behind it."""
    return np.pad(array.reshape(-1), (0, size - array.size))


class TileBuild(FlatBuild):
    """State while one kernel is built.

    Args:
        spec: what is built: `filters` is a multiple of 16, `vectors` counts tiles of 16
            positions, and `columns` those of all groups, which are full.
        tiles: tiles of filters that are multiplied together.
        num_filters: filters of the layer.
        tables: those of this kind of kernel, behind `w`, `where` and `starts`.
    """

    element: Attribute
    """Of the sums."""

    def __init__(
        self,
        spec: ColumnConv,
        tiles: int,
        num_filters: int,
        name: str,
        lanes: int,
        tables: Mapping[str, MemRefType[Any]],
    ) -> None:
        self.spec, self.high = spec, tiles
        where, w = table_sizes(spec)
        common = {
            "w": buffer_type(w, i32),
            "where": buffer_type(where, i32),
            "starts": buffer_type(2 * spec.blocks_of_group + 1, i32),
        }
        # What is common to flat kernels counts registers.
        registers = replace(spec, vectors=spec.vectors * TILE_LANES // lanes)
        super().__init__(registers, name, lanes, {**common, **tables})
        self.per_group = num_filters
        self.tiles = TileRegisters(self.b)
        self.origin = spec.source.origin + min(spec.taps)
        self.slot = spec.vectors * TILE
        """Elements of sixteen gathered columns."""

    @abstractmethod
    def product(self, acc: int, lhs: int, rhs: int) -> None:
        """Add the product of two tiles to a third one."""

    @abstractmethod
    def start(self, first: Index, number: int) -> SSAValue | None:
        """What is added to the sums of filter `first + number`."""

    @abstractmethod
    def plus(self, value: SSAValue, start: SSAValue) -> SSAValue:
        """Two vectors of sums."""

    def gathered(self, value: SSAValue, entry: Index, number: int) -> SSAValue:
        """What is copied of the column `entry + number`, whose lanes are `value`."""
        del entry, number
        return value

    @property
    def is_single(self) -> bool:
        """Whether all filters of a block are multiplied together."""
        return self.spec.filters <= self.high * TILE_ROWS

    def function(self) -> func.FuncOp:
        """The tiles of each thread, and its memory."""
        spec, b = self.spec, self.b
        sums = spec.filters * spec.vectors * TILE_LANES
        self.sums = b.scratch(sums, element=self.element)
        self.strip = b.scratch(self.slots * self.slot, LANE_BYTES * sums, i32)
        self.tiles.configure()
        self.work()
        self.tiles.release()
        return b.finish()

    @property
    def slots(self) -> int:
        """Groups of columns that the strip holds.

        Two, one of which is filled while the other is read; or all of a block, if they
        are read again for other filters.
        """
        spec = self.spec
        if self.is_single:
            return 2
        every = -(-spec.source.shape[1] * len(spec.taps) // COLUMNS)
        return max(1, min(spec.columns // COLUMNS, every))

    def micro(
        self, image: Index, first: Index, source: Index, planes: Planes, filters: int
    ) -> Micro:
        """Products of the block's groups of columns, then the end of each filter."""
        del planes
        spec, b = self.spec, self.b
        entry = b.times(b.quotient(first, spec.filters), 2)
        direct, gathered, end = (b.load_index("starts", entry, k) for k in range(3))
        count = -(-filters // TILE_ROWS)

        def compute(at: Index, vectors: int, tail: int) -> None:
            wide = -(-vectors * b.lanes // TILE_LANES)
            x = b.plus(source, at)
            for begin in range(0, count, self.high):
                block = TileBlock(begin, min(self.high, count - begin), wide)
                for tile in block.sums:
                    self.tiles.zero(tile)
                self.add_direct(block, x, direct, gathered)
                self.add_gathered(block, x, gathered, end)
                self.store(block)
            self.finish(image, first, at, filters, vectors, tail)

        return compute

    def add_direct(self, block: TileBlock, x: Index, begin: Index, end: Index) -> None:
        """Columns that lie a plane apart: tiles are read where they are."""
        b, plane = self.b, self.spec.source.strides[1]

        def body(group: SSAValue) -> None:
            at = b.plus(x, b.load_index("where", b.times(group, COLUMNS)))
            for v, tile in enumerate(block.inputs):
                offset = self.origin + v * TILE_LANES
                self.tiles.load(tile, "x", at, plane, offset)
            self.multiply(block, group)

        b.loop(begin, end, body)

    def add_gathered(
        self, block: TileBlock, x: Index, begin: Index, end: Index
    ) -> None:
        """Other columns: sixteen are copied while sixteen are multiplied.

        The first filters of a block copy them; the others find all of them there.
        """
        b, size = self.b, self.slot

        def add(group: Index, slot: Index) -> None:
            for v, tile in enumerate(block.inputs):
                self.tiles.load(tile, self.strip, slot, TILE_LANES, v * TILE)
            self.multiply(block, group)

        def following(slot: SSAValue) -> SSAValue:
            """The other half, or the next slot."""
            is_half = self.is_single
            return b.value(b.minus(size, slot) if is_half else b.plus(slot, size))

        def first(group: SSAValue, slot: SSAValue) -> list[SSAValue]:
            after = following(slot)
            self.gather(x, b.plus(group, 1), after, block.wide)
            add(group, slot)
            return [after]

        def later(group: SSAValue, slot: SSAValue) -> list[SSAValue]:
            add(group, slot)
            return [following(slot)]

        def gather() -> None:
            self.gather(x, begin, 0, block.wide)
            last = b.minus(end, 1)
            (slot,) = b.loop(begin, last, first, carried=[b.value(0)])
            add(last, slot)

        if block.begin:
            b.loop(begin, end, later, carried=[b.value(0)])
        else:
            b.when(b.less(begin, end), gather)

    def gather(self, x: Index, group: Index, slot: Index, wide: int) -> None:
        """Copy the columns of a group next to each other."""
        b, entry = self.b, self.b.times(group, COLUMNS)
        for k in range(COLUMNS):
            at = b.plus(x, b.load_index("where", entry, k))
            for position in range(0, wide * TILE_LANES, b.lanes):
                value = b.load("x", at, offset=self.origin + position)
                tile, lane = divmod(position, TILE_LANES)
                to = tile * TILE + k * TILE_LANES + lane
                b.store(self.gathered(value, entry, k), self.strip, slot, offset=to)

    def multiply(self, block: TileBlock, group: Index) -> None:
        """Add the products of sixteen columns, whose inputs are in tiles."""
        at = self.b.times(group, COLUMNS * self.spec.filters)
        for t, weight in enumerate(block.weights):
            offset = (block.begin + t) * TILE
            self.tiles.load(weight, "w", at, TILE_LANES, offset)
            for v, tile in enumerate(block.inputs):
                self.product(block.sums[t * block.wide + v], weight, tile)

    def store(self, block: TileBlock) -> None:
        """Sums to memory, `[filters][positions]`."""
        row = block.wide * TILE_LANES
        for number, tile in enumerate(block.sums):
            t, v = divmod(number, block.wide)
            offset = (block.begin + t) * TILE_ROWS * row + v * TILE_LANES
            self.tiles.store(tile, self.sums, 0, row, offset)

    def finish(
        self,
        image: Index,
        first: Index,
        at: Index,
        filters: int,
        vectors: int,
        tail: int,
    ) -> None:
        """The end of four filters at a time, whose sums are in memory."""
        b = self.b
        row = -(-vectors * b.lanes // TILE_LANES) * TILE_LANES

        def few(number: Index, count: int) -> None:
            start = b.plus(first, b.times(number, FILTERS))
            values: list[SSAValue] = []
            for f in range(count):
                added = self.start(start, f)
                place = b.times(number, FILTERS * row)
                for v in range(vectors):
                    offset = f * row + v * b.lanes
                    value = b.load(self.sums, place, offset=offset)
                    values.append(value if added is None else self.plus(value, added))
            planes = Planes.neighbours(start, count)
            self.sink.store(image, planes, at, values, vectors, tail)

        fours, rest = divmod(filters, FILTERS)
        b.repeat(fours, lambda number: few(number, FILTERS))
        if rest:
            few(fours, rest)


@dataclass(frozen=True)
class TileBlock:
    """What is multiplied together, and which tiles hold it."""

    begin: int
    """First tile of filters of the block of filters."""
    high: int
    """Tiles of filters."""
    wide: int
    """Tiles of positions."""

    @property
    def sums(self) -> range:
        """Tiles of sums, `[high][wide]`."""
        return range(self.high * self.wide)

    @property
    def inputs(self) -> range:
        """Tiles of positions."""
        return range(self.sums.stop, self.sums.stop + self.wide)

    @property
    def weights(self) -> range:
        """Tiles of filters."""
        return range(self.inputs.stop, self.inputs.stop + self.high)
