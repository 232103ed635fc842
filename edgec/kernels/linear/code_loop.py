"""The loop over the codes of a block of outputs; lanes are the outputs.

    for step:
        codes[vectors] = a row of the block
        for part, for vector: quad = decode(codes[vector], part)
            input quads:   acc[r][vector] = dot_quads(acc, splat(x[r][part]), quad)
            float inputs:  for byte of quad: acc += splat(x[r][4 part + byte]) * byte

A weight is decoded once for all rows. Inputs are summed apart as far as registers go,
as a multiply-add takes longer than what feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.linear.codes import TABLE_STEP, CodeShape

CACHE_LINE = 16
"""Lanes of 64 bytes."""
LINES_AHEAD = 32
"""Cache lines between a weight and the one that is fetched."""
MOST_APART = 4
"""Inputs that are summed apart."""

Places = Sequence[tuple[Index, int]]


def most_sums(lanes: int) -> int:
    """Registers of sums: of 32 with AVX-512, else of 16."""
    return 24 if lanes == 16 else 10


@dataclass(frozen=True)
class CodeLoop:
    """Sums over the inputs of a block; the kernel has the buffers of the shape."""

    b: KernelBuilder
    x: str
    """Buffer of the rows."""
    shape: CodeShape
    bounded: bool = False
    """What `lane.dot_quads` is promised."""
    most_sums: int = 12
    """Registers of sums."""

    @property
    def vectors(self) -> int:
        """Registers of a block."""
        return self.shape.block // self.b.lanes

    def block(self, number: Index, places: Places) -> list[SSAValue]:
        """`[row * vectors + vector]` over all inputs of a block.

        `places` are base and constant offset of each row in `x`.
        """
        b, shape = self.b, self.shape
        if shape.is_sparse:
            begin = b.load_index("starts", number)
            end = b.load_index("starts", number, 1)
            return self.sums(begin, begin, end, places)
        whole, rest = divmod(shape.inputs, shape.per_step)
        per_block = -(-shape.inputs // shape.per_step)
        first = b.times(number, per_block)
        return self.sums(first, 0, whole, places, rest)

    def sums(
        self, row: Index, begin: Index, end: Index, places: Places, rest: int = 0
    ) -> list[SSAValue]:
        """Steps `begin` to `end`, whose codes stand from row `row` on.

        After them come `rest` inputs, which are no whole step.
        """
        b, shape = self.b, self.shape
        size = len(places) * self.vectors
        apart = max(1, min(MOST_APART, shape.per_step, self.most_sums // size))
        zero = b.splat(b.integer(0)) if shape.is_quads else b.constant(0.0)
        acc = [zero] * (size * apart)
        w_at = b.value(b.times(row, shape.block))
        count = b.minus(end, begin)

        def body(step: SSAValue, w_at: SSAValue, *acc: SSAValue) -> list[SSAValue]:
            for line in range(0, shape.block, CACHE_LINE):
                b.prefetch("w", w_at, offset=LINES_AHEAD * CACHE_LINE + line)
            done = self._step(step, w_at, acc, places, shape.per_step)
            return [b.value(b.plus(w_at, shape.block)), *done]

        if count != 0:
            w_at, *acc = b.loop(begin, end, body, carried=[w_at, *acc])
        if rest:
            acc = self._step(end, w_at, acc, places, rest)
        return [self._total(acc[n::size]) for n in range(size)]

    def _step(
        self,
        step: Index,
        w_at: SSAValue,
        acc: Sequence[SSAValue],
        places: Places,
        count: int,
    ) -> list[SSAValue]:
        """One row of codes, for the first `count` inputs of the step."""
        b, shape, sums = self.b, self.shape, list(acc)
        size = len(places) * self.vectors
        codes = [b.load("w", w_at, offset=v * b.lanes) for v in range(self.vectors)]
        tables = [
            b.load("table", 0, offset=number * TABLE_STEP)
            for number in range(shape.tables if shape.bits < 8 else 0)
        ]
        first = b.times(step, shape.per_step)
        per_quad = 1 if shape.is_quads else QUAD
        add = self._add_quads if shape.is_quads else b.dot
        for part in range(-(-count // per_quad)):
            weights = [self._inputs(code, tables, part) for code in codes]
            for number in range(part * per_quad, min(count, (part + 1) * per_quad)):
                column: Index = first
                shift = number
                if shape.is_sparse:
                    column, shift = b.load_index("where", first, number), 0
                own = number * size % len(sums)
                for r, (base, offset) in enumerate(places):
                    at = b.plus(base, column)
                    x = b.splat(b.load(self.x, at, lanes=1, offset=offset + shift))
                    for v in range(self.vectors):
                        place = own + r * self.vectors + v
                        weight = weights[v][number % per_quad]
                        sums[place] = add(sums[place], x, weight)
        return sums

    def _add_quads(self, acc: SSAValue, x: SSAValue, weight: SSAValue) -> SSAValue:
        return self.b.dot_quads(acc, x, weight, bounded=self.bounded)

    def _inputs(
        self, codes: SSAValue, tables: Sequence[SSAValue], part: int
    ) -> list[SSAValue]:
        """The weights of the inputs of a part: one quad, or four vectors of float32."""
        b, quad = self.b, codes
        if tables:
            half, number = divmod(part, len(tables))
            quad = b.decode_quads(codes, tables[number], half)
        if self.shape.is_quads:
            return [quad]
        parts = b.unpack_quads(quad, signed=True)
        return [b.cast(byte, b.vector_type()) for byte in parts]

    def _total(self, parts: Sequence[SSAValue]) -> SSAValue:
        """The sum of what stands apart."""
        first, *others = parts
        for other in others:
            first = self.add(first, other)
        return first

    def add(self, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """The sum of two vectors of sums."""
        if self.shape.is_quads:
            return self.b.add(arith.AddiOp(lhs, rhs))
        return self.b.binary("add", lhs, rhs)
