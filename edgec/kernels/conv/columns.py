"""Column-sparse convolution: a block of filters keeps the same columns.

    for tile of positions:
        acc[block][vectors] = bias
        for k in the columns that the block keeps:
            x[vectors] = loads at base + where[k]
            for f in block: acc[f][*] += x[*] * w[k][f]
        epilogue, store

The dense loop with the list of columns from a table: one 4-byte entry for each column
of a block, whose loads serve all its filters. A block of one filter runs N:M and
unstructured weights through the same loop.

Source: GRIM (TPAMI 2021), section 4, YOLObile (AAAI 2021), section 4, for what the
schemes are; the loop over one table for all of them is this project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.columns import Columns
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index
from edgec.kernels.conv.flat import CACHE_LINE, FlatConv, RegisterBuild
from edgec.kernels.conv.positions import Planes

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Number = TypeVar("Number", np.float32, np.int64)

WEIGHTS_AHEAD = 1024
"""Elements between a weight and the one that is fetched: the first tile of a block
reads its weights from far away."""
COLUMNS_AHEAD = 20
"""Entries between the column that is used and the one that is fetched."""
FETCHING_FILTERS = 4
"""Filters from which on inputs are fetched ahead: fewer are bound by loads, and take up
to a quarter longer with more of them (measured)."""
SPREADING_FILTERS = 8
"""Filters from which on the loop over columns has room to fetch the next tile and the
next chunk too: R(2+1)D-18 takes 6 % less with 8, and VGG-16 with AVX2 and 4 takes 8 %
more."""


@dataclass(frozen=True)
class ColumnConv(FlatConv):
    """A convolution whose weight is in compressed columns; equal pitches."""

    columns: int
    """Columns kept, over all blocks of `filters` filters, if none were short."""
    reordered: bool
    """Whether rows hold filters in another order than the result's channels."""

    @property
    def blocks_of_group(self) -> int:
        """Blocks of `filters` filters, the last one perhaps of fewer."""
        return -(-self.result.shape[1] // self.groups // self.filters)

    @property
    def num_starts(self) -> int:
        """Entries of the table of where blocks begin."""
        return self.groups * self.blocks_of_group + 1

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, tables (see `ColumnTables`), then as `DenseConv`.

        There is no `rows_of` unless rows are reordered.
        """
        return ColumnBuild(self, name, lanes).function()


@dataclass(frozen=True)
class ColumnTables:
    """Arrays of a `ColumnConv`."""

    w: Floats
    """`[columns][filters of the block]`, flat."""
    where: Ints
    """Address of each column, counted from the most negative tap of the first channel
    of the group; some more zeros."""
    starts: Ints
    """`[blocks + 1]` first column of each block."""
    rows_of: Ints
    """`[filters]` the filter of each row."""


def pack_columns(columns: Columns, spec: ColumnConv) -> ColumnTables:
    """Tables for `spec`, whose register block divides the storage's block."""
    taps = np.array(spec.taps, np.int64)
    parts = columns.block // spec.filters
    # Each block becomes blocks of fewer filters, with the same columns; where the last
    # one of a group is short, there are fewer.
    of_group = (len(columns.offset) - 1) // spec.groups
    shares = np.full((spec.groups, of_group), parts, np.int64)
    shares[:, -1] -= of_group * parts - spec.blocks_of_group
    every: list[int] = shares.reshape(-1).tolist()
    counts = np.repeat(np.diff(columns.offset), every)
    bounds: list[int] = columns.offset.tolist()
    order = np.concatenate(
        [np.zeros(0, np.int64)]
        + [
            np.tile(np.arange(start, end), share)
            for (start, end), share in zip(pairwise(bounds), every, strict=True)
        ]
    )
    part = np.repeat(np.concatenate([np.arange(share) for share in every]), counts)
    grid = columns.weight.reshape(-1, parts, spec.filters)
    channel, tap = np.divmod(columns.index[order].astype(np.int64), len(taps))
    where = channel * spec.source.strides[1] + taps[tap] - taps.min()
    w = grid[order, part].reshape(-1)
    return ColumnTables(
        w=padded(w, spec.columns * spec.filters + CACHE_LINE),
        where=padded(where, spec.columns + COLUMNS_AHEAD).astype(np.int32),
        starts=np.append(0, np.cumsum(counts)).astype(np.int32),
        rows_of=columns.reorder,
    )


def padded(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    """The array with zeros behind it."""
    result = np.zeros(size, array.dtype)
    result[: len(array)] = array
    return result


class ColumnBuild(RegisterBuild):
    """State while one kernel is built."""

    element: Attribute = f32
    """Of the input and the weights."""

    def __init__(self, spec: ColumnConv, name: str, lanes: int) -> None:
        size = spec.columns * spec.filters + CACHE_LINE
        tables = {
            "w": buffer_type(size, self.element),
            "where": buffer_type(spec.columns + COLUMNS_AHEAD, i32),
            "starts": buffer_type(spec.num_starts, i32),
        }
        if spec.reordered:
            tables["rows_of"] = buffer_type(spec.result.shape[1], i32)
        super().__init__(spec, name, lanes, tables)
        self.spec = spec
        self.ahead: SSAValue | None = None
        """Positions to the next chunk, which the loop over columns fetches."""

    def planes(self, first: Index, filters: int) -> Planes:
        """Rows may hold filters in any order; only then there is a table."""
        if not self.spec.reordered:
            return super().planes(first, filters)
        first = self.b.value(first)
        rows = [self.b.load_index("rows_of", first, f) for f in range(filters)]
        return Planes.single(rows)

    def multiply(
        self, acc: SSAValue, x: SSAValue, weights: Sequence[SSAValue]
    ) -> SSAValue:
        """A column's part of a sum; one weight for each of its slots."""
        (weight,) = weights
        return self.b.dot(acc, x, weight)

    def block_of(self, first: Index) -> Index:
        """The number of the block that starts with the row `first`."""
        b, spec = self.b, self.spec
        if spec.groups == 1:
            return b.quotient(first, spec.filters)
        group = b.quotient(first, self.per_group)
        inside = b.quotient(b.remainder(first, self.per_group), spec.filters)
        return b.plus(b.times(group, spec.blocks_of_group), inside)

    def fetch_next(
        self, source: Index, block: Index, chunk: Index, filters: int
    ) -> None:
        """Each column's place in the next chunk, while the column is used.

        At once, lines from memory would hold up those of this chunk from L2. Blocks of
        filters keep different columns, all together nearly every channel.
        """
        self.ahead = None
        if filters < SPREADING_FILTERS:
            super().fetch_next(source, block, chunk, filters)
            return
        b = self.b
        (here, _), (there, _) = (
            self.chunks.bounds(b, number) for number in (chunk, b.plus(chunk, 1))
        )
        self.ahead = b.value(b.minus(there, here))

    def accumulate(
        self,
        first: Index,
        source: Index,
        at: Index,
        initial: Sequence[SSAValue],
        filters: int,
        vectors: int,
    ) -> Sequence[SSAValue]:
        """A loop over the columns of the block."""
        b = self.b
        block = b.value(self.block_of(first))
        begin = b.load_index("starts", block)
        end = b.load_index("starts", block, 1)
        start = b.plus(source, at)
        return self.over_columns((begin, end), start, initial, filters, vectors)

    def over_columns(
        self,
        bounds: tuple[SSAValue, SSAValue],
        start: Index,
        initial: Sequence[SSAValue],
        filters: int,
        vectors: int,
        *,
        slots: int = 1,
    ) -> Sequence[SSAValue]:
        """Sums of the columns from one to another, of which each takes some slots.

        `start` is the place of the tile in the first channel.
        """
        spec, b = self.spec, self.b
        begin, end = bounds
        origin = spec.source.origin + min(spec.taps)
        vectors_of_line = max(1, CACHE_LINE // b.lanes)

        def body(k: SSAValue, w_at: SSAValue, *acc: SSAValue) -> Sequence[SSAValue]:
            x_at = b.plus(start, b.load_index("where", k))
            if filters >= FETCHING_FILTERS:
                places = [b.plus(start, b.load_index("where", k, COLUMNS_AHEAD))]
                if filters >= SPREADING_FILTERS:
                    places.append(b.plus(x_at, self.tile))
                if self.ahead is not None:
                    places.append(b.plus(x_at, self.ahead))
                for place in places:
                    for v in range(0, vectors, vectors_of_line):
                        b.prefetch("x", place, offset=origin + v * b.lanes)
            b.prefetch("w", w_at, offset=WEIGHTS_AHEAD)
            values = list(acc)
            for f in range(filters):
                weights = [
                    b.splat(b.load("w", w_at, lanes=1, offset=f + s * spec.filters))
                    for s in range(slots)
                ]
                for v in range(vectors):
                    x = b.load("x", x_at, offset=origin + v * b.lanes, filter_=f)
                    number = f * vectors + v
                    values[number] = self.multiply(values[number], x, weights)
            return [b.value(b.plus(w_at, slots * spec.filters)), *values]

        w_start = b.value(b.times(begin, spec.filters))
        return b.loop(begin, end, body, step=slots, carried=[w_start, *initial])[1:]
