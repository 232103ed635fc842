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
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import Bands
from edgec.kernels.conv.positions import Extra, Planes, PositionStore
from edgec.kernels.layout import Layout


class PairStore(PositionStore):
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
        self._parts: dict[tuple[int, int, int], Sequence[SSAValue]] = {}

    def store(
        self,
        image: Index,
        planes: Planes,
        at: Index,
        values: Sequence[SSAValue],
        vectors: int,
        tail: int,
    ) -> None:
        """As `PositionStore`; planes of a result in pairs hold two filters."""
        self._parts.clear()
        if not self.packed:
            super().store(image, planes, at, values, vectors, tail)
            return
        b = self.b
        ((first, count),) = planes.runs
        put = self.target(image, b.quotient(first, PAIR), 0, at)
        sides = [self.side(extra, image, first, at) for extra in self.extras]
        for v in range(vectors):
            mask = self.rows(at, v)
            exists = b.tail_mask(tail) if tail and v == vectors - 1 else None
            for group in range(count // PAIR):
                lower, upper = (
                    self.finish(values[f * vectors + v], sides, f, v, exists)
                    for f in (group * PAIR, group * PAIR + 1)
                )
                pair = b.add(lane.PackPairsOp(lower, upper))
                if mask is not None:
                    pair = b.select(mask, pair, self.gap())
                put(pair, group, v * b.lanes, exists)

    def side(self, extra: Extra, image: Index, first: Index, at: Index) -> Index:
        """As `PositionStore`; planes of an extra in pairs hold two filters."""
        return super().side(extra, image, self.b.quotient(first, extra.held), at)

    def other(
        self,
        number: int,
        sides: Sequence[Index],
        f: int,
        v: int,
        exists: SSAValue | None,
        bands: Bands,
    ) -> SSAValue:
        """As `PositionStore`; two filters share what is read of an extra in pairs."""
        if self.extras[number].held == 1:
            return super().other(number, sides, f, v, exists, bands)
        group, half = divmod(f, PAIR)
        key = (number, group, v)
        if key not in self._parts:
            pairs = super().other(number, sides, group, v, exists, bands)
            unpack = lane.UnpackPairsOp(pairs)
            self.b.add(unpack)
            self._parts[key] = unpack.results
        return self._parts[key][half]

    def gap(self) -> SSAValue:
        """Zeros, of numbers or of pairs."""
        b = self.b
        return b.splat(b.integer(0)) if self.packed else super().gap()
