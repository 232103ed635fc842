"""Max pooling of a convolution's chunk, while it is in the thread's own memory.

A pooling by itself reads what the convolution has just written: all of a tensor that at
the first layers of a network fits no cache. Windows that do not overlap need a few rows
only. So a chunk is as many rows as its windows cover; its tiles go to memory of the
thread, a plane of each filter, and rows of the largest ones of each window go to the
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.chunks import Chunks
from edgec.kernels.conv.positions import CACHE_LINE, Planes, PositionStore, Staging
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.layout import Layout

MOST_STAGED = 16384
"""Positions of all filters that a thread keeps: 64 kB stay near, next to the input."""


LARGER = 3
"""Halves of the usual size of a chunk that one of whole windows may have."""


@dataclass(frozen=True)
class MaxPool:
    """Windows next to each other, without padding."""

    result: Layout
    size: tuple[int, int]
    """Rows and columns of a window, at most two columns."""

    def chunks(
        self, source: Layout, tile: int, tiles: int, filters: int, lanes: int
    ) -> Chunks:
        """Chunks of about `tiles`."""
        row = self.size[0] * source.pitch
        most = min(LARGER * tiles * tile // 2, MOST_STAGED // filters)
        return Chunks.of_rows(self.result.height, row, tile, most, lanes)


class PooledRows:
    """State while one kernel is built.

    A vector of windows is stored as soon as the tiles that it needs are there, between
    two tiles: what it waits for, from and to the level 2 cache, is hidden behind their
    products.
    """

    def __init__(
        self,
        builder: KernelBuilder,
        sink: PositionStore,
        pool: MaxPool,
        chunks: Chunks,
        filters: int,
    ) -> None:
        self.b, self.sink, self.pool, self.chunks = builder, sink, pool, chunks
        self.row = pool.size[0] * sink.result.pitch
        """Positions of a row of windows."""
        self.vectors = -(-pool.result.columns // builder.lanes)
        """Of a row of windows."""
        # The last tile reaches over the end, and so do loads of the last windows.
        positions = chunks.size + chunks.tile + pool.size[1] * builder.lanes
        self.step = -(-positions // CACHE_LINE) * CACHE_LINE
        size = filters // sink.held * self.step
        self.memory = builder.scratch(size, element=sink.element)
        self.bases: list[tuple[Index, int]] = []
        """Where planes of a chunk begin in the result, and how many in a row."""

    def begin(self, image: Index, planes: Planes, chunk: Index, at: Index) -> None:
        """Positions of these filters are kept from `at` on, where a chunk begins."""
        b, result = self.b, self.pool.result
        self.sink.staging = Staging(self.memory, self.step, at)
        first = b.times(chunk, self.chunks.size // self.row)
        self.bases = [
            (
                b.plus(
                    b.times(image, result.strides[0]),
                    b.times(start, result.strides[1]),
                    b.times(first, result.pitch),
                    result.origin,
                ),
                count,
            )
            for start, count in self.sink.stored(planes).runs
        ]

    def ready(self, positions: Index) -> Index:
        """Vectors of windows for which so many positions of a chunk are enough."""
        b, (height, width) = self.b, self.pool.size
        before = (height - 1) * self.sink.result.pitch
        inside = b.larger(b.remainder(positions, self.row), before)
        found = b.quotient(b.minus(inside, before), b.lanes * width)
        rows = b.times(b.quotient(positions, self.row), self.vectors)
        return b.plus(rows, b.smaller(found, self.vectors))

    def store(self, begin: Index, end: Index) -> None:
        """Store vectors of windows by their numbers in the chunk."""
        b, result = self.b, self.pool.result

        def vector(number: SSAValue) -> None:
            row, along = (
                split(number, self.vectors) for split in (b.quotient, b.remainder)
            )
            x = b.plus(
                b.times(row, self.row), b.times(along, b.lanes * self.pool.size[1])
            )
            y = b.plus(b.times(row, result.pitch), b.times(along, b.lanes))
            found = self._largest(x)
            short = result.columns % b.lanes
            if not short:
                self._put(found, y, None)
                return
            b.when(
                b.equal(along, self.vectors - 1),
                lambda: self._put(found, y, b.tail_mask(short)),
                lambda: self._put(found, y, None),
            )

        b.loop(begin, end, vector)

    def finish(self, image: Index, planes: Planes, chunk: Index, done: Index) -> None:
        """Store the last windows of a chunk; with the last one, gaps of planes."""
        b = self.b
        rows = self.chunks.size // self.row
        left = b.minus(self.pool.result.height, b.times(chunk, rows))
        self.store(done, b.times(b.smaller(rows, left), self.vectors))
        is_last = b.equal(chunk, self.chunks.count - 1)
        b.when(is_last, lambda: self._zero_gaps(image, planes))

    def _largest(self, x: Index) -> list[SSAValue]:
        """Of the windows whose first positions are at `x`, for each plane."""
        b, (height, width) = self.b, self.pool.size
        pitch = self.sink.result.pitch

        def along(plane: int, part: int) -> SSAValue:
            start = plane * self.step + part * b.lanes
            rows = [
                b.load(self.memory, x, offset=start + r * pitch) for r in range(height)
            ]
            return reduce(self._larger, rows)

        found: list[SSAValue] = []
        for plane in range(sum(count for _, count in self.bases)):
            parts = [along(plane, part) for part in range(width)]
            if width > 1:
                apart = lane.DeinterleaveOp(*parts)
                b.add(apart)
                parts = apart.results
            found.append(reduce(self._larger, parts))
        return found

    def _larger(self, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """Numbers, or bytes of quads."""
        if self.sink.element == f32:
            return self.b.binary("max", lhs, rhs)
        return self.b.max_quads(lhs, rhs)

    def _put(self, values: Sequence[SSAValue], y: Index, mask: SSAValue | None) -> None:
        """Store a vector of each plane."""
        b, step, rest = self.b, self.pool.result.strides[1], iter(values)
        for base, count in self.bases:
            for plane in range(count):
                at = b.plus(base, y)
                b.store(next(rest), "y", at, offset=plane * step, mask=mask)

    def _zero_gaps(self, image: Index, planes: Planes) -> None:
        """Of the planes of these filters."""
        b, result = self.b, self.pool.result
        zeros = None if self.sink.element == f32 else self.sink.gap()
        for start, count in self.sink.stored(planes).runs:

            def plane(p: Index, start: Index = start) -> None:
                number = b.plus(start, p)
                zero_gaps(b, "y", result, image, number, zeros)

            b.repeat(count, plane)
