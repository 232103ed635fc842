"""Convolutions over flat positions: units of work, tiles, tails.

The lanes are neighbouring positions of the flat row-major plane, so rows have no tails;
positions between rows are computed and stored as zero. A unit of work is one block of
filters over one chunk of tiles; a tile is a few vectors of positions. What is done for
one tile is up to the kernel: `FlatBuild.micro`; most keep its sums in registers
(`RegisterBuild`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, i8
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.chunks import Chunks
from edgec.kernels.conv.pooled import MaxPool, PooledRows
from edgec.kernels.conv.positions import (
    CACHE_LINE,
    Extra,
    Planes,
    PositionStore,
    declare_extras,
    row_mask_bytes,
)
from edgec.kernels.layout import Layout

Micro = Callable[[Index, int, int], None]
"""`micro(at, vectors, tail)`: a tile of so many vectors from position `at` on; if the
tail is not 0, only so many lanes of the last one exist."""

ELEMENT = 4
"""Bytes: a number, a quad or a pair."""
FAR_BYTES = 1 << 21
"""Bytes of an image from which on the next chunk is fetched. Less is in a cache still,
perhaps in that of the thread whose chunk it is: without, ResNet-50 takes 3 % less, and
R(2+1)D-18 1 %."""


@dataclass(frozen=True)
class FlatConv:
    """A convolution whose input and output rows have the same pitch."""

    source: Layout
    result: Layout
    taps: tuple[int, ...]
    """Offset of each tap from the position, in elements (`Window.tap_offsets`)."""
    groups: int
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]
    filters: int
    """Filters of a register block."""
    vectors: int
    """Vectors of positions of a register block."""
    chunk: int
    """Tiles of positions that one unit of work covers, about."""
    pool: MaxPool | None = field(default=None, kw_only=True)
    """What is stored instead of the result."""

    @property
    def stored(self) -> Layout:
        """The layout of what is stored."""
        return self.result if self.pool is None else self.pool.result


class FlatBuild(ABC):
    """State while one kernel is built.

    Args:
        spec: what is built.
        name: symbol of the function.
        lanes: f32 lanes of a vector register.
        tables: the buffers between the input and the bias: weights and their tables.
    """

    def __init__(
        self,
        spec: FlatConv,
        name: str,
        lanes: int,
        tables: Mapping[str, MemRefType[Any]],
    ) -> None:
        self.shape = spec
        self.images = spec.source.shape[0]
        self.channels = spec.source.shape[1] // spec.groups
        self.per_group = spec.result.shape[1] // spec.groups
        self.tile = spec.vectors * lanes
        self.chunks = self.make_chunks(lanes)
        self.b = KernelBuilder(name, self.buffers(tables), lanes=lanes)
        self.sink = self.make_sink()
        self.pooled = (
            None
            if spec.pool is None
            else PooledRows(self.b, self.sink, spec.pool, self.chunks, spec.filters)
        )

    def make_chunks(self, lanes: int) -> Chunks:
        """Chunks that fit the cache; those that are pooled, in whole windows."""
        spec = self.shape
        if spec.pool is not None:
            sizes = self.tile, spec.chunk, spec.filters, lanes
            return spec.pool.chunks(spec.result, *sizes)
        reach = max(spec.taps) - min(spec.taps)
        return Chunks.of(spec.result, reach, self.tile, spec.chunk)

    def buffers(
        self, tables: Mapping[str, MemRefType[Any]]
    ) -> dict[str, MemRefType[Any]]:
        """Arguments of the kernel, in order."""
        spec = self.shape
        buffers = {"x": buffer_type(spec.source.elements), **tables}
        if spec.has_bias:
            buffers["bias"] = buffer_type(spec.result.shape[1])
        if spec.result.has_gaps_inside:
            buffers["rows"] = buffer_type(row_mask_bytes(spec.result), i8)
        declare_extras(buffers, spec.extras)
        buffers["y"] = buffer_type(spec.stored.elements)
        return buffers

    def make_sink(self) -> PositionStore:
        """What is done with the sums."""
        spec = self.shape
        return PositionStore(self.b, spec.result, spec.steps, spec.extras)

    @abstractmethod
    def micro(
        self, image: Index, first: Index, source: Index, planes: Planes, filters: int
    ) -> Micro:
        """What computes and stores one tile of a block of filters.

        `first` is its first filter, `source` the start of its channels. It is called
        where the block begins, so what all tiles share is computed once.
        """

    def planes(self, first: Index, filters: int) -> Planes:
        """The filters of the rows `first` on; here, rows are filters."""
        return Planes.neighbours(first, filters)

    def function(self) -> func.FuncOp:
        """The whole kernel."""
        self.work()
        return self.b.finish()

    def work(self) -> None:
        """Split images x chunks x groups x filter blocks among the threads."""
        spec, b = self.shape, self.b
        blocks = -(-self.per_group // spec.filters)
        chunks = self.chunks.count
        units = self.images * chunks * spec.groups * blocks

        def unit(number: SSAValue) -> None:
            block = b.remainder(number, blocks)
            rest = b.quotient(number, blocks)
            group = b.remainder(rest, spec.groups)
            rest = b.quotient(rest, spec.groups)
            chunk = b.remainder(rest, chunks)
            image = b.quotient(rest, chunks)
            self._unit(image, group, block, chunk)

        b.units(units, unit)

    def _unit(self, image: Index, group: Index, block: Index, chunk: Index) -> None:
        """One filter block over one chunk of tiles."""
        spec, b = self.shape, self.b
        last, few = divmod(self.per_group, spec.filters)

        def run(filters: int) -> None:
            self._block(image, group, block, chunk, filters)

        if not few:
            run(spec.filters)
        elif not last:
            run(few)
        else:
            b.when(b.equal(block, last), lambda: run(few), lambda: run(spec.filters))

    def _block(
        self,
        image: Index,
        group: Index,
        block: Index,
        chunk: Index,
        filters: int,
    ) -> None:
        """All tiles of the chunk for `filters` filters; the last one does the rest."""
        spec, b = self.shape, self.b
        first = b.plus(b.times(group, self.per_group), b.times(block, spec.filters))
        source = b.plus(
            b.times(image, spec.source.strides[0]),
            b.times(group, self.channels * spec.source.strides[1]),
        )
        begin, end = self.chunks.bounds(b, chunk)
        if self.chunks.count > 1 and ELEMENT * spec.source.strides[0] > FAR_BYTES:
            self.fetch_next(source, block, chunk, filters)
        planes = self.planes(first, filters)
        if self.pooled is not None:
            self.pooled.begin(image, planes, chunk, begin)
        micro = self.micro(image, first, source, planes, filters)

        def tile(at: SSAValue) -> None:
            following = b.plus(at, self.tile)
            self.sink.fetch(image, planes, following, spec.vectors)
            micro(at, spec.vectors, 0)

        stored = self._tiles(begin, end, tile)
        self._rest(chunk, end, micro)
        if self.pooled is None:
            self._at_end(chunk, lambda: self.sink.zero_gaps(image, planes))
        else:
            self.pooled.finish(image, planes, chunk, stored)

    def _tiles(
        self, begin: Index, end: Index, tile: Callable[[SSAValue], None]
    ) -> Index:
        """The full tiles of a chunk; how many vectors of windows are stored by then."""
        b, pooled = self.b, self.pooled
        if not self.chunks.end:
            return 0
        if pooled is None:
            b.loop(begin, end, tile, step=self.tile)
            return 0

        def both(at: SSAValue, done: SSAValue) -> list[SSAValue]:
            tile(at)
            ready = pooled.ready(b.minus(b.plus(at, self.tile), begin))
            pooled.store(done, ready)
            return [b.value(ready)]

        return b.loop(begin, end, both, step=self.tile, carried=[b.value(0)])[0]

    def _rest(self, chunk: Index, end: Index, micro: Micro) -> None:
        """Positions behind the last full tile of a chunk."""

        def rest(count: int) -> None:
            if count:
                micro(end, -(-count // self.b.lanes), count % self.b.lanes)

        last, within = self.chunks.rest, self.chunks.rest_within
        self._at_end(
            chunk, lambda: rest(last), (lambda: rest(within)) if within else None
        )

    def _at_end(
        self,
        chunk: Index,
        then: Callable[[], None],
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """What is done in the last chunk, and what in others."""
        if self.chunks.count == 1:
            then()
        else:
            is_last = self.b.equal(chunk, self.chunks.count - 1)
            self.b.when(is_last, then, otherwise)

    def fetch_next(
        self, source: Index, block: Index, chunk: Index, filters: int
    ) -> None:
        """Fetch a part of what the next chunk reads that this one does not.

        Each block of filters fetches some channels, of the slice or the rows that the
        window meets first: lines of many planes in turn are no stream that a processor
        sees coming, and memory is hundreds of cycles away.
        """
        del filters
        spec, b = self.shape, self.b
        blocks = -(-self.per_group // spec.filters)
        share = -(-self.channels // blocks)
        begin, end = self.chunks.bounds(b, b.plus(chunk, 1))
        first = b.times(block, share)
        last = b.smaller(b.plus(first, share), self.channels)
        start, stop = b.plus(source, begin), b.plus(source, end)
        offset = spec.source.origin + max(spec.taps)

        def channel(number: SSAValue) -> None:
            plane = b.times(number, spec.source.strides[1])

            def line(at: SSAValue) -> None:
                b.prefetch("x", b.plus(at, plane), offset=offset)

            b.loop(start, stop, line, step=CACHE_LINE)

        b.loop(first, last, channel)


class RegisterBuild(FlatBuild):
    """A kernel whose sums of a tile are registers."""

    @abstractmethod
    def accumulate(
        self,
        first: Index,
        source: Index,
        at: Index,
        initial: Sequence[SSAValue],
        filters: int,
        vectors: int,
    ) -> Sequence[SSAValue]:
        """The sums of one register block, `[filters][vectors]`.

        `first` is its first filter, `source` the start of its channels, `at` its first
        position, `initial` the bias.
        """

    def micro(
        self, image: Index, first: Index, source: Index, planes: Planes, filters: int
    ) -> Micro:
        """Sums of the block, and what is stored of them."""
        initial = [self.start(n, f) for n, count in planes.runs for f in range(count)]

        def compute(at: Index, vectors: int, tail: int) -> None:
            spread = [value for value in initial for _ in range(vectors)]
            sums = self.accumulate(first, source, at, spread, filters, vectors)
            self.sink.store(image, planes, at, sums, vectors, tail)

        return compute

    def start(self, first: Index, number: int) -> SSAValue:
        """Accumulators start at the bias of filter `first + number`."""
        b = self.b
        if not self.shape.has_bias:
            return b.constant(0.0)
        return b.splat(b.load("bias", first, lanes=1, offset=number))
