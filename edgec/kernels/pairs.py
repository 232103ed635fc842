"""From float32 to pairs of bfloat16 numbers and back.

Threads share the planes of pairs.
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
from edgec.kernels.layout import Layout
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
