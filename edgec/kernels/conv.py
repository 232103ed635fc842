"""Dense convolution on lanes: a register block of filters x vectors of positions.

    acc[filters][vectors] = bias
    for c in channels:                      # a loop
        for t in taps:                      # unrolled
            x[vectors] = loads at base + offset[t]
            for f in filters: acc[f][*] += x[*] * w[c][t][f]
    epilogue, store

The lanes are neighbouring positions of the flat row-major plane, so rows have no tails;
positions between rows are computed and stored as zero. A pointwise convolution is the
same with one tap. As built here each filter loads its inputs itself;
`load-redundancy-elimination` shares the loads among the filters of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import i8
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout
from edgec.kernels.positions import (
    Extra,
    PositionStore,
    declare_extras,
    row_mask_bytes,
)

Floats = npt.NDArray[np.float32]

CACHE_LINE = 16
"""f32 elements of 64 bytes."""
WEIGHTS_AHEAD = 1024
"""Elements between a weight and the one prefetched: about 85 columns of 12 filters."""
COLUMNS_AHEAD = 18
"""Columns (channel and tap) between an input and the one prefetched."""


@dataclass(frozen=True)
class DenseConv:
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
    """Tiles of positions that one unit of work covers."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, row mask if any, extras, y."""
        return _Build(self, name, lanes).function()


def pack_dense(weight: Floats, groups: int, filters: int) -> Floats:
    """`[F, C/groups, *K]` to blocks `[groups][blocks][C/groups][taps][filters]`.

    The last block of a group holds the filters that remain.
    """
    per_group = weight.shape[0] // groups
    flat = weight.reshape(groups, per_group, weight.shape[1], -1)
    packed = np.empty(weight.size, np.float32)
    whole, rest = divmod(per_group, filters)
    inside = packed.reshape(groups, per_group, -1)
    full = inside[:, : whole * filters].reshape(groups, whole, *flat.shape[2:], filters)
    blocks = flat[:, : whole * filters].reshape(groups, whole, filters, *flat.shape[2:])
    full[...] = blocks.transpose(0, 1, 3, 4, 2)
    if rest:
        last = inside[:, whole * filters :].reshape(groups, *flat.shape[2:], rest)
        last[...] = flat[:, whole * filters :].transpose(0, 2, 3, 1)
    return packed


class _Build:
    """State while one kernel is built."""

    def __init__(self, spec: DenseConv, name: str, lanes: int) -> None:
        self.spec = spec
        images, channels = spec.source.shape[:2]
        self.images = images
        self.channels = channels // spec.groups
        self.per_group = spec.result.shape[1] // spec.groups
        self.positions = spec.result.rows * spec.result.pitch
        self.tile = spec.vectors * lanes
        self.full_tiles, self.rest = divmod(self.positions, self.tile)
        weights = spec.result.shape[1] * self.channels * len(spec.taps)
        buffers = {
            "x": buffer_type(spec.source.elements),
            "w": buffer_type(weights),
        }
        if spec.has_bias:
            buffers["bias"] = buffer_type(spec.result.shape[1])
        if spec.result.row_gap:
            buffers["rows"] = buffer_type(row_mask_bytes(spec.result), i8)
        declare_extras(buffers, spec.extras)
        buffers["y"] = buffer_type(spec.result.elements)
        self.b = KernelBuilder(name, buffers, lanes=lanes)
        self.sink = PositionStore(self.b, spec.result, spec.steps, spec.extras)

    def function(self) -> func.FuncOp:
        """Split images x chunks x groups x filter blocks among the threads."""
        spec, b = self.spec, self.b
        blocks = -(-self.per_group // spec.filters)
        chunks = max(1, -(-self.full_tiles // spec.chunk))
        units = self.images * chunks * spec.groups * blocks

        def unit(number: SSAValue) -> None:
            block = b.remainder(number, blocks)
            rest = b.quotient(number, blocks)
            group = b.remainder(rest, spec.groups)
            rest = b.quotient(rest, spec.groups)
            chunk = b.remainder(rest, chunks)
            image = b.quotient(rest, chunks)
            self.unit(image, group, block, chunk, chunks)

        b.units(units, unit)
        return b.finish()

    def unit(
        self, image: Index, group: Index, block: Index, chunk: Index, chunks: int
    ) -> None:
        """One filter block over one chunk of tiles."""
        spec, b = self.spec, self.b
        last, few = divmod(self.per_group, spec.filters)

        def run(filters: int) -> None:
            self.block(image, group, block, chunk, chunks, filters)

        if not few:
            run(spec.filters)
        elif not last:
            run(few)
        else:
            b.when(b.equal(block, last), lambda: run(few), lambda: run(spec.filters))

    def block(
        self,
        image: Index,
        group: Index,
        block: Index,
        chunk: Index,
        chunks: int,
        filters: int,
    ) -> None:
        """All tiles of the chunk for `filters` filters; the last one does the rest."""
        spec, b = self.spec, self.b
        first = b.plus(b.times(group, self.per_group), b.times(block, spec.filters))
        weights = b.times(first, self.channels * len(spec.taps))
        source = b.plus(
            b.times(image, spec.source.strides[0]),
            b.times(group, self.channels * spec.source.strides[1]),
        )
        begin = b.times(chunk, spec.chunk)
        end = b.smaller(b.plus(begin, spec.chunk), self.full_tiles)

        def tile(number: SSAValue) -> None:
            at = b.times(number, self.tile)
            self.micro(image, first, source, weights, at, filters, spec.vectors, 0)

        def finish() -> None:
            if self.rest:
                vectors = -(-self.rest // b.lanes)
                at = self.full_tiles * self.tile
                tail = self.rest % b.lanes
                self.micro(image, first, source, weights, at, filters, vectors, tail)
            self.sink.zero_gaps(image, first, filters)

        if self.full_tiles:
            b.loop(begin, end, tile)
        if chunks == 1:
            finish()
        else:
            b.when(b.equal(chunk, chunks - 1), finish)

    def micro(
        self,
        image: Index,
        first: Index,
        source: Index,
        weights: Index,
        at: Index,
        filters: int,
        vectors: int,
        tail: int,
    ) -> None:
        """One register block: accumulate over channels and taps, then store."""
        spec, b = self.spec, self.b
        unroll = _unroll(self.channels, len(spec.taps))
        step = spec.source.strides[1]
        start = b.value(b.plus(source, at))

        def body(
            _: SSAValue, x_at: SSAValue, w_at: SSAValue, *acc: SSAValue
        ) -> Sequence[SSAValue]:
            values = list(acc)
            self.fetch_ahead(x_at, w_at, filters, vectors, unroll)
            for channel in range(unroll):
                for number, tap in enumerate(spec.taps):
                    offset = spec.source.origin + channel * step + tap
                    column = (channel * len(spec.taps) + number) * filters
                    self.column(values, x_at, w_at, offset, column, filters, vectors)
            return [
                b.value(b.plus(x_at, unroll * step)),
                b.value(b.plus(w_at, unroll * len(spec.taps) * filters)),
                *values,
            ]

        initial = [self.initial(first, f) for f in range(filters)]
        carried = [value for value in initial for _ in range(vectors)]
        results = b.loop(
            0,
            self.channels // unroll,
            body,
            carried=[start, b.value(weights), *carried],
        )[2:]
        self.sink.store(image, first, at, results, filters, vectors, tail)

    def fetch_ahead(
        self, x_at: SSAValue, w_at: SSAValue, filters: int, vectors: int, unroll: int
    ) -> None:
        """Ask for what later iterations read.

        Weights are read for the first time in the first tile of a block, from memory
        far away; planes are too far apart for the processor to guess the next one.
        """
        spec, b = self.spec, self.b
        columns = unroll * len(spec.taps)
        for at in range(0, columns * filters, CACHE_LINE):
            b.prefetch("w", w_at, offset=WEIGHTS_AHEAD + at)
        ahead = unroll * -(-COLUMNS_AHEAD // columns) * spec.source.strides[1]
        rows = sorted({tap // spec.source.pitch for tap in spec.taps})
        for channel in range(unroll):
            base = spec.source.origin + ahead + channel * spec.source.strides[1]
            for row in rows:
                for v in range(0, vectors * b.lanes, CACHE_LINE):
                    offset = base + row * spec.source.pitch + v
                    b.prefetch("x", x_at, offset=offset)

    def initial(self, first: Index, number: int) -> SSAValue:
        """Accumulators start at the bias."""
        b = self.b
        if not self.spec.has_bias:
            return b.constant(0.0)
        return b.splat(b.load("bias", first, lanes=1, offset=number))

    def column(
        self,
        acc: list[SSAValue],
        x_at: SSAValue,
        w_at: SSAValue,
        offset: int,
        column: int,
        filters: int,
        vectors: int,
    ) -> None:
        """One input column times the weights of every filter of the block."""
        b = self.b
        for f in range(filters):
            weight = b.splat(b.load("w", w_at, lanes=1, offset=column + f))
            for v in range(vectors):
                x = b.load("x", x_at, offset=offset + v * b.lanes, filter_=f)
                acc[f * vectors + v] = b.dot(acc[f * vectors + v], x, weight)


def _unroll(channels: int, taps: int) -> int:
    """Channels per loop iteration: enough work to hide the loop's own cost."""
    if taps > 2:
        return 1
    return next(u for u in (4, 2, 1) if channels % u == 0)
