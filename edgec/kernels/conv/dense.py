"""Dense convolution on lanes: a register block of filters x vectors of positions.

    acc[filters][vectors] = bias
    for c in channels:                      # a loop
        for t in taps:                      # unrolled; in parts, if there are many
            x[vectors] = loads at base + offset[t]
            for f in filters: acc[f][*] += x[*] * w[c][t][f]
    epilogue, store

A pointwise convolution is the same with one tap. As built here each filter loads its
inputs itself; `load-redundancy-elimination` shares the loads among the filters of a
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from xdsl.dialects import arith, func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index
from edgec.kernels.conv.flat import FlatConv, RegisterBuild

Floats = npt.NDArray[np.float32]

CACHE_LINE = 16
"""f32 elements of 64 bytes."""
WEIGHTS_AHEAD = 1024
"""Elements between a weight and the one prefetched: about 85 columns of 12 filters."""
MOST_TAPS = 64
"""Taps whose code is written out. Measured for a window of 5x5x5, slices in a loop are
1.6 times as fast and compile in a fifth of the time: 125 taps of 24 registers are more
code than the instruction cache holds."""
MOST_STEPS = 4
"""Largest period of the distances of its parts: the stride of AlexNet."""
COLUMNS_AHEAD = 18
"""Columns (channel and tap) between an input and the one prefetched."""


@dataclass(frozen=True)
class DenseConv(FlatConv):
    """Every filter of a group reads every channel of the group at every tap."""

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


class _Build(RegisterBuild):
    """State while one kernel is built."""

    def __init__(self, spec: DenseConv, name: str, lanes: int) -> None:
        channels = spec.source.shape[1] // spec.groups
        weights = spec.result.shape[1] * channels * len(spec.taps)
        super().__init__(spec, name, lanes, {"w": buffer_type(weights)})
        self.spec = spec

    def accumulate(
        self,
        first: Index,
        source: Index,
        at: Index,
        initial: Sequence[SSAValue],
        filters: int,
        vectors: int,
    ) -> Sequence[SSAValue]:
        """A loop over channels, and over parts of the window if it is large."""
        spec, b = self.spec, self.b
        unroll = _unroll(self.channels, len(spec.taps))
        step = spec.source.strides[1]
        start = b.value(b.plus(source, at))
        weights = b.value(b.times(first, self.channels * len(spec.taps)))
        taps, parts, steps = split_window(spec.taps)

        def part(
            number: SSAValue, x_at: SSAValue, w_at: SSAValue, *acc: SSAValue
        ) -> Sequence[SSAValue]:
            values = list(acc)
            apart = self.distance(number, steps) if parts > 1 else unroll * step
            self.fetch_ahead(x_at, w_at, taps, filters, vectors, unroll)
            for channel in range(unroll):
                for position, tap in enumerate(taps):
                    offset = spec.source.origin + channel * step + tap
                    column = (channel * len(taps) + position) * filters
                    self.column(values, x_at, w_at, offset, column, filters, vectors)
            return [
                b.value(b.plus(x_at, apart)),
                b.value(b.plus(w_at, unroll * len(taps) * filters)),
                *values,
            ]

        def channel(
            _: SSAValue, x_at: SSAValue, w_at: SSAValue, *acc: SSAValue
        ) -> Sequence[SSAValue]:
            rest = b.loop(0, parts, part, carried=[x_at, w_at, *acc])[1:]
            return [b.value(b.plus(x_at, step)), *rest]

        trips, body = self.channels // unroll, part if parts == 1 else channel
        return b.loop(0, trips, body, carried=[start, weights, *initial])[2:]

    def distance(self, part: Index, steps: Sequence[int]) -> Index:
        """From a part of the window to the next one."""
        b, last = self.b, len(steps) - 1
        found: Index = steps[last]
        if last:
            turn = b.remainder(part, len(steps))
            for number, step in enumerate(steps[:last]):
                is_it = b.equal(turn, number)
                found = b.add(arith.SelectOp(is_it, b.value(step), b.value(found)))
        return found

    def fetch_ahead(
        self,
        x_at: SSAValue,
        w_at: SSAValue,
        taps: Sequence[int],
        filters: int,
        vectors: int,
        unroll: int,
    ) -> None:
        """Ask for what later iterations read.

        Weights are read for the first time in the first tile of a block, from memory
        far away; planes are too far apart for the processor to guess the next one.
        """
        spec, b = self.spec, self.b
        columns = unroll * len(taps)
        for at in range(0, columns * filters, CACHE_LINE):
            b.prefetch("w", w_at, offset=WEIGHTS_AHEAD + at)
        ahead = unroll * -(-COLUMNS_AHEAD // columns) * spec.source.strides[1]
        rows = sorted({tap // spec.source.pitch for tap in taps})
        for channel in range(unroll):
            base = spec.source.origin + ahead + channel * spec.source.strides[1]
            for row in rows:
                for v in range(0, vectors * b.lanes, CACHE_LINE):
                    offset = base + row * spec.source.pitch + v
                    b.prefetch("x", x_at, offset=offset)

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


def split_window(taps: tuple[int, ...]) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """A large window as parts that are alike: taps of one, parts, distances.

    Slices, or rows, of a window are. The distances from one to the next come again and
    again, with a period of the stride: in turn they lie in each of the phases.
    """
    for parts in range(1, len(taps)):
        size, rest = divmod(len(taps), parts)
        if size > MOST_TAPS or rest:
            continue
        starts = taps[::size]
        apart = tuple(after - before for before, after in pairwise(starts))
        is_alike = all(
            tap == taps[i % size] + starts[i // size] - taps[0]
            for i, tap in enumerate(taps)
        )
        period = next(
            (
                p
                for p in range(1, MOST_STEPS + 1)
                if apart[p:] == apart[: len(apart) - p]
            ),
            None,
        )
        if is_alike and period is not None:
            return taps[:size], parts, apart[:period]
    return taps, 1, ()


def _unroll(channels: int, taps: int) -> int:
    """Channels per loop iteration: enough work to hide the loop's own cost."""
    if taps > 2:
        return 1
    return next(u for u in (4, 2, 1) if channels % u == 0)
