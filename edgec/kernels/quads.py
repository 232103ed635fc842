"""From float32 to quads of bytes and back.

    quantize:    q = clamp(round(x * inverse)) + zero, four channels in each lane
    dequantize:  x = (q - zero) * scale

Threads share the planes of quads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import QUAD, buffer_type, vector
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import has_gaps, zero_gaps
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
        _check(self.source, self.result)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements),
            "y": buffer_type(self.result.elements, i32),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        gap = b.splat(b.integer(self.requantize.gap))

        def row(planes: _Row) -> None:
            def quad(x: Index, offset: int, mask: Mask) -> None:
                values = [
                    b.load("x", b.plus(at, x), offset=offset, mask=mask)
                    for at in planes.channels
                ]
                packed = self.requantize.pack(b, values)
                b.store(packed, "y", b.plus(planes.quads, x), offset=offset, mask=mask)

            for_vectors(b, self.source.shape[-1], lanes, quad)

        def gaps(n: Index, group: Index) -> None:
            if has_gaps(self.result):
                zero_gaps(b, "y", self.result, n, group, gap)

        _for_rows(b, self.source, self.result, row, gaps)
        return b.finish()


@dataclass(frozen=True)
class DequantizeQuads:
    """`source`, a layout of quads of the channels of `result`, to float32."""

    source: Layout
    result: Layout
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        _check(self.result, self.source)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements, i32),
            "y": buffer_type(self.result.elements),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        zero = b.constant(float(self.zero_point))

        def row(planes: _Row) -> None:
            def numbers(x: Index, offset: int, mask: Mask) -> None:
                quad = b.load("x", b.plus(planes.quads, x), offset=offset, mask=mask)
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

        _for_rows(b, self.result, self.source, row, gaps)
        return b.finish()


@dataclass(frozen=True)
class _Row:
    """Where a row begins."""

    quads: Index
    channels: tuple[Index, ...]
    """Of each channel of the quad; the last quad may have fewer."""


def _check(numbers: Layout, quads: Layout) -> None:
    """The same tensor, four channels in a lane."""
    batch, channels, *size = numbers.shape
    expected = (batch, -(-channels // QUAD), *size)
    if quads.shape != expected:
        raise InvalidInput(
            f"quads of {numbers.shape} must have the shape {expected}, "
            f"got {quads.shape}"
        )
    if numbers.is_split or quads.is_split:
        raise InvalidInput(f"layouts must have no phases, got {numbers} and {quads}")


def _for_rows(
    b: KernelBuilder,
    numbers: Layout,
    quads: Layout,
    row: Callable[[_Row], None],
    gaps: Callable[[Index, Index], None],
) -> None:
    """`row` for each row of this thread's quads, then `gaps` of their planes."""
    groups, channels = quads.shape[1], numbers.shape[1]
    deep = numbers.shape[2] if len(numbers.shape) == 5 else 1

    def plane(n: Index, group: Index, count: int) -> None:
        def one(number: Index) -> None:
            y, z = b.remainder(number, rows), b.quotient(number, rows)
            starts = [
                b.plus(
                    place.origin,
                    b.times(n, place.strides[0]),
                    b.times(first, place.strides[1]),
                    b.times(z, place.strides[2] if deep > 1 else 0),
                    b.times(y, place.pitch),
                )
                for place, first in ((quads, group), (numbers, b.times(group, QUAD)))
            ]
            step = numbers.strides[1]
            found = tuple(b.plus(starts[1], k * step) for k in range(count))
            row(_Row(starts[0], found))

        rows = numbers.shape[-2]
        b.repeat(deep * rows, one)
        gaps(n, group)

    def unit(number: SSAValue) -> None:
        n, group = b.quotient(number, groups), b.remainder(number, groups)
        last = channels - (groups - 1) * QUAD
        if last == QUAD:
            plane(n, group, QUAD)
        elif groups == 1:
            plane(n, group, last)
        else:
            b.when(
                b.equal(b.value(group), groups - 1),
                lambda: plane(n, group, last),
                lambda: plane(n, group, QUAD),
            )

    b.units(numbers.shape[0] * groups, unit)
