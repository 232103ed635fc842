"""From float32 to quads of bytes and back.

    quantize:    q = clamp(round(x * inverse)) + zero, four channels in each lane
    dequantize:  x = (q - zero) * scale

Threads share the planes of quads.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import QUAD, buffer_type, vector
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import has_gaps, zero_gaps
from edgec.kernels.lane_rows import Row, check_groups, for_rows
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Requantize
from edgec.kernels.sweep import for_vectors

Mask = SSAValue | None


@dataclass(frozen=True)
class QuantizeQuads:
    """`source` in float32 to `result`, a layout of quads of its channels."""

    source: Layout
    result: Layout
    requantize: Requantize

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements),
            "y": buffer_type(self.result.elements, i32),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        gap = b.splat(b.integer(self.requantize.gap))

        def row(planes: Row) -> None:
            def quad(x: Index, offset: int, mask: Mask) -> None:
                values = [
                    b.load("x", b.plus(at, x), offset=offset, mask=mask)
                    for at in planes.channels
                ]
                packed = self.requantize.pack(b, values)
                b.store(packed, "y", b.plus(planes.group, x), offset=offset, mask=mask)

            for_vectors(b, self.source.shape[-1], lanes, quad)

        def gaps(n: Index, group: Index) -> None:
            if has_gaps(self.result):
                zero_gaps(b, "y", self.result, n, group, gap)

        for_rows(b, self.source, self.result, QUAD, row, gaps)
        return b.finish()


@dataclass(frozen=True)
class DequantizeQuads:
    """`source`, a layout of quads of the channels of `result`, to float32."""

    source: Layout
    result: Layout
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        check_groups(self.result, self.source, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements, i32),
            "y": buffer_type(self.result.elements),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        zero = b.constant(float(self.zero_point))

        def row(planes: Row) -> None:
            def numbers(x: Index, offset: int, mask: Mask) -> None:
                quad = b.load("x", b.plus(planes.group, x), offset=offset, mask=mask)
                unpack = lane.UnpackQuadsOp(quad)
                b.add(unpack)
                for at, byte in zip(planes.channels, unpack.results, strict=False):
                    value = b.cast(byte, vector(lanes))
                    value = b.binary("sub", value, zero)
                    value = b.binary("mul", value, b.constant(self.scale))
                    b.store(value, "y", b.plus(at, x), offset=offset, mask=mask)

            for_vectors(b, self.result.shape[-1], lanes, numbers)

        def gaps(n: Index, group: Index) -> None:
            def channel(number: Index) -> None:
                zero_gaps(b, "y", self.result, n, number)

            if has_gaps(self.result):
                first = b.times(group, QUAD)
                end = b.smaller(b.plus(first, QUAD), self.result.shape[1])
                b.loop(first, end, channel)

        for_rows(b, self.result, self.source, QUAD, row, gaps)
        return b.finish()
