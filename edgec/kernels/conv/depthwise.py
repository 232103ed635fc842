"""Depthwise convolution on lanes: one filter's plane at a time.

    w[taps] = splats                        # once per plane
    for tile of positions:
        acc[vectors] = bias
        for t in taps: acc[*] += loads at base + offset[t] * w[t]
        epilogue, store

Each input value is used by the taps only, so the loop is bound by loads (taps loads per
vector of results), not by arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.kernels.builder import Index
from edgec.kernels.conv.plane_by_plane import PlaneBuild, PlaneConv
from edgec.kernels.conv.positions import Planes


@dataclass(frozen=True)
class DepthwiseConv(PlaneConv):
    """A convolution with one input channel per filter; pitches are equal.

    Taps are those of `Window.tap_offsets`.
    """

    vectors: int
    """Vectors of positions of a register block."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, row mask if any, extras, y."""
        return _Build(self, name, lanes).function()


class _Build(PlaneBuild):
    """Tiles of neighbouring positions."""

    def __init__(self, spec: DepthwiseConv, name: str, lanes: int) -> None:
        has_mask = spec.result.has_gaps_inside
        super().__init__(spec, name, lanes, has_row_mask=has_mask)
        self.spec = spec

    def plane(
        self,
        image: Index,
        filter_: Index,
        base: Index,
        weights: list[SSAValue],
        bias: SSAValue,
    ) -> None:
        """All tiles of a plane, then its gaps."""
        spec, b = self.spec, self.b
        planes = Planes.neighbours(filter_, 1)
        tile = spec.vectors * b.lanes
        full, rest = divmod(spec.result.rows * spec.result.pitch, tile)

        def micro(at: Index, vectors: int, tail: int) -> None:
            start = b.plus(base, at)
            values = [self.accumulate(start, v, weights, bias) for v in range(vectors)]
            self.sink.store(image, planes, at, values, vectors, tail)

        def whole(number: SSAValue) -> None:
            micro(b.times(number, tile), spec.vectors, 0)

        b.loop(0, full, whole)
        if rest:
            micro(full * tile, -(-rest // b.lanes), rest % b.lanes)
        self.sink.zero_gaps(image, planes)

    def accumulate(
        self, start: Index, vector: int, weights: list[SSAValue], bias: SSAValue
    ) -> SSAValue:
        """One vector of results."""
        b, spec = self.b, self.spec
        value = bias
        for tap, weight in zip(spec.taps, weights, strict=True):
            offset = spec.source.origin + tap + vector * b.lanes
            value = b.dot(value, b.load("x", start, offset=offset), weight)
        return value
