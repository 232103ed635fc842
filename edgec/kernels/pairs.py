"""From float32 to pairs of bfloat16 numbers and back.

Threads share the planes of pairs, or the rows of a matrix, whose pairs are neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.lane_rows import check_groups, pack_kernel, unpack_kernel
from edgec.kernels.layout import Layout, in_planes
from edgec.kernels.linear.product import column_masks, for_blocks


@dataclass(frozen=True)
class ToPairs:
    """`source` in float32 to `result`, a layout of pairs of its channels."""

    source: Layout
    result: Layout

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, PAIR)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        places = (self.source, self.result, PAIR)
        return pack_kernel(name, lanes, places, _pack, gap=0)


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
        places = (self.source, self.result, PAIR)
        return unpack_kernel(name, lanes, places, _unpack)


def _pack(b: KernelBuilder, values: Sequence[SSAValue]) -> SSAValue:
    """A number that is missing is zero."""
    return b.add(lane.PackPairsOp(*[*values, b.constant(0.0)][:PAIR]))


def _unpack(b: KernelBuilder, pairs: SSAValue) -> Sequence[SSAValue]:
    op = lane.UnpackPairsOp(pairs)
    b.add(op)
    return op.results
