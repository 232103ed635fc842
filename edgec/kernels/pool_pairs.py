"""Max and average pooling of pairs, 1-D to 3-D.

As in `edgec.kernels.pool`, with a scratch row in float32 for each of the two channels;
results are rounded to bfloat16 once.
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
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.pool import Pool, PoolBuild
from edgec.kernels.pool_windows import RowTap
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors


@dataclass(frozen=True)
class PoolPairs(Pool):
    """`input` and `output` are layouts of pairs.

    Raises `InvalidInput` for layouts with phases.
    """

    def __post_init__(self) -> None:
        require_unphased("pooling of pairs", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        buffers = {
            "x": buffer_type(self.input.elements, i32),
            "y": buffer_type(self.output.elements, i32),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        return b.finish()


class _Build(PoolBuild):
    """Scratch rows hold numbers of one channel each."""

    scratch_rows = PAIR

    def gather_vectors(
        self, taps: Sequence[RowTap], columns: int, shift: int, to: int
    ) -> None:
        """The window's rows, combined for each half of the lanes."""
        b = self.b

        def columns_from(x: Index, offset: int, mask: SSAValue | None) -> None:
            halves: list[list[SSAValue]] = [[], []]
            for tap in taps:
                at = b.plus(tap.base, x)
                found = b.load("x", at, offset=tap.offset + shift + offset, mask=mask)
                unpack = lane.UnpackPairsOp(found)
                b.add(unpack)
                for half, value in zip(halves, unpack.results, strict=True):
                    half.append(value)
            for row, values in zip(self.rows, halves, strict=True):
                value = self.combined(values, b.lanes)
                b.store(value, row, x, offset=to + offset, mask=mask)

        for_vectors(b, columns, b.lanes, columns_from)

    def store(
        self, values: Sequence[SSAValue], y: Index, offset: int, mask: SSAValue | None
    ) -> None:
        """Both channels in a lane; one that does not exist stays zero."""
        pairs = self.b.add(lane.PackPairsOp(*values))
        self.b.store(pairs, "y", y, offset=offset, mask=mask)

    def zero_gaps(self, n: Index, c: Index) -> None:
        """Of one plane of the result."""
        zeros = self.b.splat(self.b.integer(0))
        zero_gaps(self.b, "y", self.spec.output, n, c, zeros, part=self.own_part)
