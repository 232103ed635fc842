"""The loop over the columns that a block of filters keeps; lanes are the filters.

    for k in the columns that the block keeps:
        w[vectors] = the block's weights of column k
        for r in rows: acc[r][*] += splat(x[r][where[k]]) * w[*]

Several columns are summed apart (*parts*), as a multiply-add takes longer than the
loads that feed it. Used where each weight serves few rows: linear layers, and the state
of recurrent ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder

MOST_SUMS = 12
"""Registers of sums."""
MOST_PARTS = 4
"""Columns that are summed apart."""
CACHE_LINE = 16
"""f32 elements of 64 bytes."""
WEIGHTS_AHEAD = 512
"""Elements between a weight and the one that is fetched."""


@dataclass(frozen=True)
class ColumnLoop:
    """Sums over the columns of a block.

    The kernel has buffers `w`, the weights `[columns][block]`, and `where`, the place
    of each column in a row of `x`.
    """

    b: KernelBuilder
    x: str
    """Buffer of the rows."""
    block: int
    """Filters of a block: a multiple of the lanes."""

    @property
    def vectors(self) -> int:
        """Registers of a block."""
        return self.block // self.b.lanes

    def sums(
        self, begin: SSAValue, end: SSAValue, places: Sequence[tuple[Index, int]]
    ) -> list[SSAValue]:
        """`[row * vectors + vector]` over columns `begin` to `end`.

        `places` are base and constant offset of each row in `x`.
        """
        b, size = self.b, len(places) * self.vectors
        parts = max(1, min(MOST_PARTS, MOST_SUMS // size))
        whole = b.times(b.quotient(b.minus(end, begin), parts), parts)
        middle = b.value(b.plus(begin, whole))
        w_at = b.value(b.times(begin, self.block))
        zeros = [b.constant(0.0)] * (size * parts)
        many = self._body(parts, places)
        w_at, *sums = b.loop(begin, middle, many, step=parts, carried=[w_at, *zeros])
        if parts > 1:
            one = self._body(1, places)
            sums[:size] = b.loop(middle, end, one, carried=[w_at, *sums[:size]])[1:]
        return [self._total(sums[n::size]) for n in range(size)]

    def _body(
        self, count: int, places: Sequence[tuple[Index, int]]
    ) -> Callable[..., Sequence[SSAValue]]:
        """One iteration, of `count` columns, each into sums of its own."""
        b, size = self.b, len(places) * self.vectors

        def body(k: SSAValue, w_at: SSAValue, *acc: SSAValue) -> Sequence[SSAValue]:
            sums = list(acc)
            for line in range(0, count * self.block, CACHE_LINE):
                b.prefetch("w", w_at, offset=WEIGHTS_AHEAD + line)
            for part in range(count):
                column = b.load_index("where", k, part)
                weights = [
                    b.load("w", w_at, offset=part * self.block + v * b.lanes)
                    for v in range(self.vectors)
                ]
                for r, (base, offset) in enumerate(places):
                    at = b.plus(base, column)
                    x = b.splat(b.load(self.x, at, lanes=1, offset=offset))
                    for v, weight in enumerate(weights):
                        number = part * size + r * self.vectors + v
                        sums[number] = b.dot(sums[number], x, weight)
            return [b.value(b.plus(w_at, count * self.block)), *sums]

        return body

    def _total(self, parts: Sequence[SSAValue]) -> SSAValue:
        """The sum of what the parts hold."""
        first, *others = parts
        for other in others:
            first = self.b.binary("add", first, other)
        return first
