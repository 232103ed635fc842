"""Dense convolution on lanes: a register block of filters x vectors of positions.

    acc[filters][vectors] = bias
    for c in channels:                      # a loop
        for t in taps:                      # unrolled
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

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index
from edgec.kernels.flat import FlatBuild, FlatConv

Floats = npt.NDArray[np.float32]

CACHE_LINE = 16
"""f32 elements of 64 bytes."""
WEIGHTS_AHEAD = 1024
"""Elements between a weight and the one prefetched: about 85 columns of 12 filters."""
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


class _Build(FlatBuild):
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
        """A loop over channels."""
        spec, b = self.spec, self.b
        unroll = _unroll(self.channels, len(spec.taps))
        step = spec.source.strides[1]
        start = b.value(b.plus(source, at))
        weights = b.value(b.times(first, self.channels * len(spec.taps)))

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

        trips = self.channels // unroll
        return b.loop(0, trips, body, carried=[start, weights, *initial])[2:]

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
