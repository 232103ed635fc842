"""Means of quads whose windows are whole planes, or differ in size.

    sum[c] = sum over the window of q - zero point       exact
    v = sum[c] / count * scale                           two roundings

Then `v` is stored, or rounded to a byte as by `Requantize`. Windows of one size are in
`edgec.kernels.pool_quads`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type, vector
from edgec.dialects.lane.base import Buffer
from edgec.dialects.sq import MOST_POSITIONS
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import Part, has_gaps, zero_gaps
from edgec.kernels.layout import Layout, in_planes
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import UNROLL

Mask = SSAValue | None


@dataclass(frozen=True)
class MeanQuads:
    """The mean of each plane of `input`, a layout of quads.

    `output` has planes of one position: quads, or `channels` numbers in float32. Raises
    `InvalidInput` for layouts with phases and for larger planes.
    """

    input: Layout
    output: Layout
    channels: int
    quantized: Dequantize
    requantize: Requantize | None
    """None for a result in float32."""

    def __post_init__(self) -> None:
        require_unphased("averaging of quads", self.input, self.output)
        if math.prod(self.output.shape[2:]) != 1:
            raise InvalidInput(
                f"planes of a mean must have one position, got {self.output.shape}"
            )

    @property
    def count(self) -> int:
        """Positions of a plane."""
        return math.prod(self.input.shape[2:])

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y. Threads share the planes."""
        ending = Ending(self.output, self.channels, self.quantized, self.requantize)
        b = KernelBuilder(name, ending.buffers(self.input), lanes=lanes)
        source, groups = in_planes(self.input), self.input.shape[1]
        source, count = flat(source)

        def unit(number: SSAValue) -> None:
            n, group = b.quotient(number, groups), b.remainder(number, groups)
            start = b.plus(
                source.origin,
                b.times(n, source.strides[0]),
                b.times(group, source.strides[1]),
            )
            sums = plane_sums(b, source, start)
            zero = float(count * self.quantized.zero_point)
            divisor = b.constant(float(self.count), lanes=1)
            values: list[SSAValue] = []
            for acc in sums:
                value = b.fold("add", b.cast(acc, vector(lanes)))
                value = b.binary("sub", value, b.constant(zero, lanes=1))
                values.append(b.binary("div", value, divisor))
            ending.store(b, values, group, ending.plane(b, n, group))
            ending.zero_gaps(b, n, group)

        b.units(self.input.shape[0] * groups, unit)
        return b.finish()


def flat(source: Layout) -> tuple[Layout, int]:
    """A layout with one row for each plane if that is shorter, and how many positions.

    What stands between rows counts as zero points.
    """
    *outer, columns = source.shape[2:]
    steps = zip(outer, source.strides[2:-1], strict=True)
    length = columns + sum((n - 1) * step for n, step in steps)
    own = math.prod(source.shape[2:])
    is_near = length < 2 * own and length <= MOST_POSITIONS
    if source.size is not None or not is_near:
        return source, own
    shape = (*source.shape[:2], 1, length)
    return replace(
        source, shape=shape, strides=(*source.strides[:2], length, 1)
    ), length


def plane_sums(b: KernelBuilder, source: Layout, start: Index) -> Sequence[SSAValue]:
    """Sums of each of the four bytes, in lanes of i32; lanes that are off hold 0."""
    takes = [b.splat(b.integer(1 << 8 * k)) for k in range(QUAD)]
    *outer, columns = source.shape[2:]
    whole, tail = columns // b.lanes * b.lanes, columns % b.lanes

    def add(at: Index, sums: Sequence[SSAValue], mask: Mask = None) -> list[SSAValue]:
        found = b.load("x", at, mask=mask)
        pairs = zip(sums, takes, strict=True)
        return [b.dot_quads(acc, found, take, bounded=True) for acc, take in pairs]

    def row(at: Index, sums: Sequence[SSAValue]) -> Sequence[SSAValue]:
        def block(x: SSAValue, *carried: SSAValue) -> list[SSAValue]:
            return add(b.plus(at, x), carried)

        if whole > UNROLL * b.lanes:
            sums = b.loop(0, whole, block, step=b.lanes, carried=sums)
        else:
            for x in range(0, whole, b.lanes):
                sums = add(b.plus(at, x), sums)
        return add(b.plus(at, whole), sums, b.tail_mask(tail)) if tail else sums

    def rows(d: int, at: Index, sums: Sequence[SSAValue]) -> Sequence[SSAValue]:
        if d == len(outer):
            return row(at, sums)

        def inner(i: SSAValue, *carried: SSAValue) -> Sequence[SSAValue]:
            return rows(d + 1, b.plus(at, b.times(i, source.strides[2 + d])), carried)

        if outer[d] == 1:
            return rows(d + 1, at, sums)
        return b.loop(0, outer[d], inner, carried=sums)

    return rows(0, start, [b.splat(b.integer(0))] * QUAD)


@dataclass(frozen=True)
class Ending:
    """How means of four channels become numbers or bytes."""

    output: Layout
    channels: int
    quantized: Dequantize
    requantize: Requantize | None

    def buffers(self, source: Layout) -> dict[str, Buffer]:
        """The input `x` and the result `y`."""
        element = f32 if self.requantize is None else i32
        return {
            "x": buffer_type(source.elements, i32),
            "y": buffer_type(self.output.elements, element),
        }

    def plane(self, b: KernelBuilder, n: Index, group: Index) -> Index:
        """Where the results of four channels begin."""
        first = group if self.requantize is not None else b.times(group, QUAD)
        origin, strides = self.output.origin, self.output.strides
        return b.plus(origin, b.times(n, strides[0]), b.times(first, strides[1]))

    def store(
        self, b: KernelBuilder, values: Sequence[SSAValue], group: Index, at: Index
    ) -> None:
        """Scalars, of which those of channels that do not exist are left out."""
        scale = b.constant(self.quantized.scale, lanes=1)
        values = [b.binary("mul", value, scale) for value in values]
        if self.requantize is not None:
            quads = self.requantize.pack(b, [b.splat(value) for value in values])
            b.store(quads, "y", at, mask=b.tail_mask(1))
            return
        first, step = b.times(group, QUAD), self.output.strides[1]
        for k, value in enumerate(values):

            def one(k: int = k, value: SSAValue = value) -> None:
                b.store(value, "y", at, offset=k * step)

            if self.channels % QUAD == 0 or k == 0:
                one()
            else:
                b.when(b.less(b.plus(first, k), self.channels), one)

    def zero_gaps(
        self, b: KernelBuilder, n: Index, group: Index, part: Part | None = None
    ) -> None:
        """Of the planes of a quad, or of a part of their rows."""
        if not has_gaps(self.output):
            return
        if self.requantize is not None:
            zeros = b.splat(b.integer(self.requantize.gap))
            zero_gaps(b, "y", self.output, n, group, zeros, part=part)
            return
        first = b.times(group, QUAD)
        end = b.smaller(b.plus(first, QUAD), self.channels)

        def one(channel: SSAValue) -> None:
            zero_gaps(b, "y", self.output, n, channel, part=part)

        b.loop(first, end, one)
