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
from xdsl.dialects.builtin import i8
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.positions import (
    Extra,
    Planes,
    PositionStore,
    declare_extras,
    row_mask_bytes,
)
from edgec.kernels.layout import Layout


@dataclass(frozen=True)
class DepthwiseConv:
    """A convolution with one input channel per filter; pitches are equal.

    Filter `f` reads channel `f * C / F`. Weights are `[F, taps]`, as torch stores them.
    """

    source: Layout
    result: Layout
    taps: tuple[int, ...]
    """Offset of each tap from the position, in elements (`Window.tap_offsets`)."""
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]
    vectors: int
    """Vectors of positions of a register block."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, row mask if any, extras, y."""
        images, filters = self.result.shape[:2]
        buffers = {
            "x": buffer_type(self.source.elements),
            "w": buffer_type(filters * len(self.taps)),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(filters)
        if self.result.has_gaps_inside:
            buffers["rows"] = buffer_type(row_mask_bytes(self.result), i8)
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

    def __init__(self, spec: DepthwiseConv, builder: KernelBuilder) -> None:
        self.spec, self.b = spec, builder
        self.sink = PositionStore(builder, spec.result, spec.steps, spec.extras)

    def build(self, image: Index, filter_: Index) -> None:
        """All tiles of a plane, then its gaps."""
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
