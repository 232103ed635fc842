"""From float32 to quads of bytes and back.

    quantize:    q = clamp(round(x * inverse)) + zero, four channels in each lane
    dequantize:  x = (q - zero) * scale

Threads share the planes of quads, or the rows of a matrix, whose quads are neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import QUAD, buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.lane_rows import check_groups, pack_kernel, unpack_kernel
from edgec.kernels.layout import Layout, in_planes
from edgec.kernels.linear.product import column_masks, for_blocks
from edgec.kernels.requantize import Dequantize, Requantize


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
        places = (self.source, self.result, QUAD)
        to = self.requantize
        return pack_kernel(name, lanes, places, to.pack, to.gap)


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
        places = (self.source, self.result, QUAD)
        return unpack_kernel(name, lanes, places, self._unpack)

    def _unpack(self, b: KernelBuilder, quads: SSAValue) -> Sequence[SSAValue]:
        """What each byte stands for."""
        numbers = (b.cast(byte, b.vector_type()) for byte in b.unpack_quads(quads))
        zero, scale = b.constant(float(self.zero_point)), b.constant(self.scale)
        moved = (b.binary("sub", number, zero) for number in numbers)
        return [b.binary("mul", number, scale) for number in moved]


@dataclass(frozen=True)
class QuantizeRows:
    """A matrix in float32 to one of quads of its columns; both have whole rows."""

    source: Layout
    result: Layout
    requantize: Requantize

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        b = _builder(name, lanes, (self.source, f32), (self.result, i32))

        def block(x: Index, y: Index, count: int) -> None:
            parts = [
                b.load("x", x, offset=number * lanes, mask=mask)
                for number, mask in enumerate(column_masks(b, count, QUAD))
            ]
            parts += [b.constant(0.0)] * (QUAD - len(parts))
            quads = self.requantize.pack(b, _every_fourth(b, parts))
            b.store(quads, "y", y, mask=_quads_mask(b, count))

        _for_rows(b, self.source, self.result, block)
        return b.finish()


@dataclass(frozen=True)
class DequantizeRows:
    """A matrix of quads of the columns of `result` to float32; both have whole rows."""

    source: Layout
    result: Layout
    stands_for: Dequantize

    def __post_init__(self) -> None:
        check_groups(self.result, self.source, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        b = _builder(name, lanes, (self.source, i32), (self.result, f32))

        def block(y: Index, x: Index, count: int) -> None:
            quads = b.load("x", x, mask=_quads_mask(b, count))
            parts = b.unpack_quads(quads, in_order=True)
            masks = column_masks(b, count, QUAD)
            for number, (part, mask) in enumerate(zip(parts, masks, strict=False)):
                value = self.stands_for.apply(b, part)
                b.store(value, "y", y, offset=number * lanes, mask=mask)

        _for_rows(b, self.result, self.source, block)
        return b.finish()


def _builder(
    name: str, lanes: int, x: tuple[Layout, Attribute], y: tuple[Layout, Attribute]
) -> KernelBuilder:
    places = {"x": x, "y": y}
    types = {
        key: buffer_type(place.elements, element)
        for key, (place, element) in places.items()
    }
    return KernelBuilder(name, types, lanes=lanes)


def _quads_mask(b: KernelBuilder, count: int) -> SSAValue | None:
    """Of the quads of so many columns, of at most a register."""
    quads = -(-count // QUAD)
    return b.tail_mask(quads) if quads < b.lanes else None


def _every_fourth(b: KernelBuilder, parts: Sequence[SSAValue]) -> list[SSAValue]:
    """Of four registers, one after the other, every fourth lane, from each of four."""

    def apart(low: SSAValue, high: SSAValue) -> Sequence[SSAValue]:
        op = lane.DeinterleaveOp(low, high)
        b.add(op)
        return op.results

    halves = zip(apart(*parts[:2]), apart(*parts[2:]), strict=True)
    (first, third), (second, fourth) = (apart(*half) for half in halves)
    return [first, second, third, fourth]


def _for_rows(
    b: KernelBuilder,
    numbers: Layout,
    quads: Layout,
    block: Callable[[Index, Index, int], None],
) -> None:
    """`block(number, quad, count)` for each register of quads of each row: places."""
    rows, columns = numbers.shape
    width = QUAD * b.lanes

    def unit(row: SSAValue) -> None:
        x, y = (
            b.plus(place.origin, b.times(row, place.strides[0]))
            for place in (numbers, quads)
        )

        def part(first: Index, count: int) -> None:
            block(b.plus(x, first), b.plus(y, b.quotient(first, QUAD)), count)

        b.repeat(
            -(-columns // width),
            lambda number: for_blocks(b, columns, width, number, part),
        )

    b.units(rows, unit)


def is_matrix(*places: Layout) -> bool:
    """Whether each tensor is a matrix with whole rows."""
    return all(len(at.shape) == 2 and at.strides[1] == 1 for at in places)


def quantize_kernel(
    source: Layout, result: Layout, requantize: Requantize
) -> QuantizeQuads | QuantizeRows:
    """The kernel for a tensor that lies so."""
    if is_matrix(source, result):
        return QuantizeRows(source, result, requantize)
    return QuantizeQuads(in_planes(source), in_planes(result), requantize)


def dequantize_kernel(
    source: Layout, result: Layout, stands_for: Dequantize
) -> DequantizeQuads | DequantizeRows:
    """The kernel for a tensor that lies so."""
    if is_matrix(source, result):
        return DequantizeRows(source, result, stands_for)
    planes = in_planes(source), in_planes(result)
    return DequantizeQuads(*planes, stands_for.scale, stands_for.zero_point)
