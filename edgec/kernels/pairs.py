"""From float32 to pairs of bfloat16 numbers and back.

Threads share the planes of pairs, or the rows of a matrix, whose pairs are neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import has_gaps, zero_gaps
from edgec.kernels.lane_rows import Row, check_groups, for_rows
from edgec.kernels.layout import Layout, in_planes
from edgec.kernels.linear.product import column_masks, for_blocks
from edgec.kernels.sweep import for_vectors

Mask = SSAValue | None


@dataclass(frozen=True)
class ToPairs:
    """`source` in float32 to `result`, a layout of pairs of its channels."""

    source: Layout
    result: Layout

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, PAIR)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements),
            "y": buffer_type(self.result.elements, i32),
        }
        b = KernelBuilder(name, types, lanes=lanes)

        def row(planes: Row) -> None:
            def pair(x: Index, offset: int, mask: Mask) -> None:
                values = [
                    b.load("x", b.plus(at, x), offset=offset, mask=mask)
                    for at in planes.channels
                ]
                if len(values) < PAIR:
                    values.append(b.constant(0.0))
                packed = b.add(lane.PackPairsOp(*values))
                b.store(packed, "y", b.plus(planes.group, x), offset=offset, mask=mask)

            for_vectors(b, self.source.shape[-1], lanes, pair)

        def gaps(n: Index, group: Index) -> None:
            if has_gaps(self.result):
                zeros = b.splat(b.integer(0))
                zero_gaps(b, "y", self.result, n, group, zeros)

        for_rows(b, self.source, self.result, PAIR, row, gaps)
        return b.finish()


@dataclass(frozen=True)
class RowsToPairs:
    """A matrix in float32 to a layout of pairs of its columns; both have whole rows."""

    source: Layout
    result: Layout

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, PAIR)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements),
            "y": buffer_type(self.result.elements, i32),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        rows, columns = self.source.shape
        width = PAIR * lanes

        def unit(row: SSAValue) -> None:
            x, y = (
                b.plus(place.origin, b.times(row, place.strides[0]))
                for place in (self.source, self.result)
            )

            def vector(first: Index, count: int) -> None:
                at = b.plus(x, first)
                masks = column_masks(b, count, PAIR)
                parts = [
                    b.load("x", at, offset=number * lanes, mask=mask)
                    for number, mask in enumerate(masks)
                ]
                parts = [*parts, b.constant(0.0)][:PAIR]
                packed = b.add(lane.PackPairsOp(*parts, in_order=True))
                mask = b.tail_mask(-(-count // PAIR)) if count < width else None
                b.store(packed, "y", b.plus(y, b.quotient(first, PAIR)), mask=mask)

            b.repeat(
                -(-columns // width),
                lambda number: for_blocks(b, columns, width, number, vector),
            )

        b.units(rows, unit)
        return b.finish()


def to_pairs(source: Layout, result: Layout) -> ToPairs | RowsToPairs:
    """The kernel for a tensor that lies so."""
    is_matrix = len(source.shape) == 2 and source.strides[1] == result.strides[1] == 1
    if is_matrix:
        return RowsToPairs(source, result)
    return ToPairs(in_planes(source), in_planes(result))


@dataclass(frozen=True)
class FromPairs:
    """`source`, a layout of pairs of the channels of `result`, to float32."""

    source: Layout
    result: Layout

    def __post_init__(self) -> None:
        check_groups(self.result, self.source, PAIR)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        types = {
            "x": buffer_type(self.source.elements, i32),
            "y": buffer_type(self.result.elements),
        }
        b = KernelBuilder(name, types, lanes=lanes)

        def row(planes: Row) -> None:
            def numbers(x: Index, offset: int, mask: Mask) -> None:
                pair = b.load("x", b.plus(planes.group, x), offset=offset, mask=mask)
                unpack = lane.UnpackPairsOp(pair)
                b.add(unpack)
                for at, value in zip(planes.channels, unpack.results, strict=False):
                    b.store(value, "y", b.plus(at, x), offset=offset, mask=mask)

            for_vectors(b, self.result.shape[-1], lanes, numbers)

        def gaps(n: Index, group: Index) -> None:
            def channel(number: Index) -> None:
                zero_gaps(b, "y", self.result, n, number)

            if has_gaps(self.result):
                first = b.times(group, PAIR)
                end = b.smaller(b.plus(first, PAIR), self.result.shape[1])
                b.loop(first, end, channel)

        for_rows(b, self.result, self.source, PAIR, row, gaps)
        return b.finish()
