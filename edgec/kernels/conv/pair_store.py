"""The end of a convolution of pairs: sums in float32, and pairs again.

v = steps(sum)                        as after any convolution; an extra operand in
                                      pairs counts as the numbers it holds
y = v, or the nearest bfloat16        two filters in each lane
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.bf16 import PAIR
from edgec.dialects.sq import Step
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.conv.held_store import HeldStore
from edgec.kernels.conv.positions import Extra
from edgec.kernels.layout import Layout


class PairStore(HeldStore):
    """Stores numbers, or with `packed` pairs of two filters."""

    def __init__(
        self,
        builder: KernelBuilder,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Extra],
        *,
        packed: bool,
    ) -> None:
        super().__init__(builder, result, steps, extras)
        self.packed = packed
        self.held = PAIR if packed else 1
        self.element = i32 if packed else f32

    def unpack(self, lanes: SSAValue) -> Sequence[SSAValue]:
        """Two numbers."""
        unpack = lane.UnpackPairsOp(lanes)
        self.b.add(unpack)
        return unpack.results

    def pack(self, filters: Sequence[SSAValue]) -> SSAValue:
        """The nearest numbers in bfloat16."""
        lower, upper = filters
        return self.b.add(lane.PackPairsOp(lower, upper))

    def gap(self) -> SSAValue:
        """Zeros, of numbers or of pairs."""
        b = self.b
        return b.splat(b.integer(0)) if self.packed else super().gap()
