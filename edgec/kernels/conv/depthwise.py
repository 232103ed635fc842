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
from edgec.kernels.conv.plane_by_plane import Plane, PlaneBuild, PlaneConv
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
        self.tile = spec.vectors * lanes
        self.positions = spec.result.rows * spec.result.pitch

    @property
    def steps_of_plane(self) -> int:
        """Full tiles."""
        return self.positions // self.tile

    def steps(self, plane: Plane, begin: Index, end: Index) -> None:
        """Some tiles of a plane."""

        def tile(number: SSAValue) -> None:
            self._tile(plane, self.b.times(number, self.tile))

        self.b.loop(begin, end, tile)

    def finish(self, plane: Plane) -> None:
        """The last tile, if it is not full, and the gaps."""
        rest = self.positions % self.tile
        if rest:
            self._tile(plane, self.steps_of_plane * self.tile, rest)
        self.sink.zero_gaps(plane.image, Planes.neighbours(plane.filter_, 1))

    def _tile(self, plane: Plane, at: Index, positions: int | None = None) -> None:
        """The tile at a position; of fewer positions if it is not full."""
        b, count = self.b, positions or self.tile
        vectors, start = -(-count // b.lanes), b.plus(plane.base, at)
        values = [self.accumulate(plane, start, v) for v in range(vectors)]
        planes = Planes.neighbours(plane.filter_, 1)
        self.sink.store(plane.image, planes, at, values, vectors, count % b.lanes)

    def accumulate(self, plane: Plane, start: Index, vector: int) -> SSAValue:
        """One vector of results."""
        b, spec = self.b, self.spec
        value = plane.bias
        for tap, weight in zip(spec.taps, plane.weights, strict=True):
            offset = spec.source.origin + tap + vector * b.lanes
            value = b.dot(value, b.load("x", start, offset=offset), weight)
        return value
