"""Depthwise convolution with a stride: one row of results at a time.

Splitting the input into phases would read and write all of it, for a kernel that then
uses each value about twice. Instead each tap is a load with a stride (two loads and a
shuffle for a stride of 2), from rows that keep their own pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.kernels.builder import Index
from edgec.kernels.conv.plane_by_plane import Plane, PlaneBuild, PlaneConv
from edgec.kernels.conv.positions import Planes
from edgec.kernels.layout import SLACK


@dataclass(frozen=True)
class StridedDepthwiseConv(PlaneConv):
    """A strided convolution with one input channel per filter; any pitches.

    Taps are those of `Window.direct_offsets`.
    """

    stride: tuple[int, int]

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, extras, y."""
        return _Build(self, name, lanes).function()


class _Build(PlaneBuild):
    """Rows of results."""

    def __init__(self, spec: StridedDepthwiseConv, name: str, lanes: int) -> None:
        super().__init__(spec, name, lanes, has_row_mask=False)
        self.spec = spec

    @property
    def steps_of_plane(self) -> int:
        """Rows."""
        return self.spec.result.rows

    def steps(self, plane: Plane, begin: Index, end: Index) -> None:
        """Some rows of a plane."""
        spec, b = self.spec, self.b

        def row(y: SSAValue) -> None:
            start = b.plus(plane.base, b.times(y, spec.stride[0] * spec.source.pitch))
            for x in range(0, spec.result.columns, b.lanes):
                # The last vector moves back into the row and computes some again.
                at = min(x, max(0, spec.result.columns - b.lanes))
                value = self.accumulate(plane, start, at * spec.stride[1])
                self.sink.store_rows(plane.image, plane.filter_, y, at, [value])

        b.loop(begin, end, row)

    def finish(self, plane: Plane) -> None:
        """The gaps."""
        self.sink.zero_row_gaps(plane.image, plane.filter_)
        self.sink.zero_gaps(plane.image, Planes.neighbours(plane.filter_, 1))

    def accumulate(self, plane: Plane, start: Index, at: int) -> SSAValue:
        """One vector of results."""
        b, spec = self.b, self.spec
        value, columns = plane.bias, spec.result.columns
        # Lanes beyond a short row read the slack, unless the stride takes them further.
        beyond = (b.lanes - columns) * spec.stride[1]
        mask = b.tail_mask(columns) if beyond > SLACK else None
        for tap, weight in zip(spec.taps, plane.weights, strict=True):
            offset = spec.source.origin + tap + at
            x = b.load("x", start, offset=offset, stride=spec.stride[1], mask=mask)
            value = b.dot(value, x, weight)
        return value
