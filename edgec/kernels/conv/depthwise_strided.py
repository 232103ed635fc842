"""Depthwise convolution with a stride: one row of results at a time.

Splitting the input into phases would read and write all of it, for a kernel that then
uses each value about twice. Instead each tap is a load with a stride (two loads and a
shuffle for a stride of 2), from rows that keep their own pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.positions import Extra, Planes, PositionStore, declare_extras
from edgec.kernels.layout import SLACK, Layout


@dataclass(frozen=True)
class StridedDepthwiseConv:
    """A strided convolution with one input channel per filter; any pitches.

    Filter `f` reads channel `f * C / F`. Weights are `[F, taps]`, as torch stores them.
    """

    source: Layout
    result: Layout
    taps: tuple[int, ...]
    """Offset of each tap, in elements (`Window.direct_offsets`)."""
    stride: tuple[int, int]
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, extras, y."""
        images, filters = self.result.shape[:2]
        buffers = {
            "x": buffer_type(self.source.elements),
            "w": buffer_type(filters * len(self.taps)),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(filters)
        declare_extras(buffers, self.extras)
        buffers["y"] = buffer_type(self.result.elements)
        b = KernelBuilder(name, buffers, lanes=lanes)
        plane = _Plane(self, b)

        def unit(number: SSAValue) -> None:
            plane.build(b.quotient(number, filters), b.remainder(number, filters))

        b.units(images * filters, unit)
        return b.finish()


class _Plane:
    """Builds the work on one plane of results."""

    def __init__(self, spec: StridedDepthwiseConv, builder: KernelBuilder) -> None:
        self.spec, self.b = spec, builder
        self.sink = PositionStore(builder, spec.result, spec.steps, spec.extras)

    def build(self, image: Index, filter_: Index) -> None:
        """All rows of a plane, then its gaps."""
        spec, b = self.spec, self.b
        multiplier = spec.result.shape[1] // spec.source.shape[1]
        base = b.plus(
            b.times(image, spec.source.strides[0]),
            b.times(b.quotient(filter_, multiplier), spec.source.strides[1]),
        )
        weights_at = b.times(filter_, len(spec.taps))
        weights = [
            b.splat(b.load("w", weights_at, lanes=1, offset=t))
            for t in range(len(spec.taps))
        ]
        bias = (
            b.splat(b.load("bias", filter_, lanes=1))
            if spec.has_bias
            else b.constant(0.0)
        )

        def row(y: SSAValue) -> None:
            start = b.plus(base, b.times(y, spec.stride[0] * spec.source.pitch))
            for x in range(0, spec.result.columns, b.lanes):
                # The last vector moves back into the row and computes some again.
                at = min(x, max(0, spec.result.columns - b.lanes))
                value = self.accumulate(start, at * spec.stride[1], weights, bias)
                self.sink.store_rows(image, filter_, y, at, [value])

        b.loop(0, spec.result.rows, row)
        self.sink.zero_row_gaps(image, filter_)
        self.sink.zero_gaps(image, Planes.neighbours(filter_, 1))

    def accumulate(
        self, start: Index, at: int, weights: list[SSAValue], bias: SSAValue
    ) -> SSAValue:
        """One vector of results."""
        b, spec = self.b, self.spec
        value, columns = bias, spec.result.columns
        # Lanes beyond a short row read the slack, unless the stride takes them further.
        beyond = (b.lanes - columns) * spec.stride[1]
        mask = b.tail_mask(columns) if beyond > SLACK else None
        for tap, weight in zip(spec.taps, weights, strict=True):
            offset = spec.source.origin + tap + at
            x = b.load("x", start, offset=offset, stride=spec.stride[1], mask=mask)
            value = b.dot(value, x, weight)
        return value
