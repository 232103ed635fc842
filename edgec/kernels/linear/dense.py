"""Linear layers: rows times packed weights, with an epilogue.

Lanes are the output columns. Weights are packed so that each block of columns is one
stream, read once per block of rows; with a single row that is all there is to do, and
the kernel runs at the speed of memory.

In bfloat16 the inputs of a row stand in pairs, and so do the weights of an output: half
the bytes, and `lane.dot_pairs` multiplies both numbers of a lane. Sums and all that
follows are float32; a result of pairs is rounded when it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.epilogue import apply_steps
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.linear.product import (
    Block,
    Operands,
    accumulate,
    best_block,
    column_masks,
    for_blocks,
)
from edgec.kernels.softmax import require_unphased
from edgec.kernels.views import Affine, Sizes, broadcast, collapse

Element = TypeVar("Element", np.float32, np.int32)

ROW_BLOCKS = 8
"""Row blocks per unit of work: they read the same weights, from cache."""


def linear_block(lanes: int, rows: int, columns: int) -> Block:
    """The register block; a single row takes four vectors to hide latency."""
    if rows == 1:
        return Block(1, min(4, -(-columns // lanes)))
    return best_block(lanes, rows, columns)


def pack_linear(
    weight: npt.NDArray[Element], lanes: int, vectors: int
) -> npt.NDArray[Element]:
    """`[N, K]` numbers or pairs to blocks `[blocks][K][vectors * lanes]`, flat.

    Missing columns are 0; the last block has only the vectors it needs.
    """
    columns, depth = weight.shape
    width = vectors * lanes
    blocks: list[npt.NDArray[Element]] = []
    for start in range(0, columns, width):
        part = weight[start : start + width]
        wide = -(-part.shape[0] // lanes) * lanes
        packed = np.zeros((depth, wide), weight.dtype)
        packed[:, : part.shape[0]] = part.T
        blocks.append(packed.reshape(-1))
    return np.concatenate(blocks)


@dataclass(frozen=True)
class Linear:
    """`y[..., n] = steps(sum(k) x[..., k] w[n, k] + bias[n])`.

    Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Layout, ...]
    block: Block
    reads_pairs: bool = False
    """Input and weight are pairs of bfloat16 numbers; then so may be the result."""
    writes_pairs: bool = False

    def __post_init__(self) -> None:
        require_unphased("linear", self.input, self.output, *self.extras)

    @property
    def numbers(self) -> Layout:
        """A layout with the shape of the result as float32 numbers."""
        if not self.writes_pairs:
            return self.output
        *lead, pairs = self.output.shape
        return replace(self.output, shape=(*lead, PAIR * pairs))

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, bias if any, one per extra operand, y."""
        columns, depth = self.numbers.shape[-1], self.input.shape[-1]
        element = i32 if self.reads_pairs else f32
        buffers = {
            "x": buffer_type(self.input.elements, element),
            "w": buffer_type(-(-columns // lanes) * lanes * depth, element),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(columns)
        for number, extra in enumerate(self.extras):
            buffers[f"extra{number}"] = buffer_type(extra.elements)
        stored = i32 if self.writes_pairs else f32
        buffers["y"] = buffer_type(self.output.elements, stored)
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        if not self.writes_pairs:
            zero_all_gaps(b, "y", self.output)
        return b.finish()


@dataclass(frozen=True)
class Rows:
    """Addresses of the rows of a tensor, numbered in row-major order."""

    sizes: Sizes
    place: Affine

    @staticmethod
    def of(sizes: Sizes, place: Affine) -> Rows:
        """With neighbouring dimensions merged."""
        merged, (moved,) = collapse(sizes, [place])
        return Rows(merged, moved)

    def start(self, b: KernelBuilder, row: Index) -> Index:
        """Address of a row."""
        parts: list[Index] = [self.place.origin]
        rest = row
        for d in range(len(self.sizes) - 1, 0, -1):
            index = b.remainder(rest, self.sizes[d])
            parts.append(b.times(index, self.place.strides[d]))
            rest = b.quotient(rest, self.sizes[d])
        return b.plus(*parts, b.times(rest, self.place.strides[0]))

    def several(
        self, b: KernelBuilder, first: Index, count: int
    ) -> list[tuple[Index, int]]:
        """Base and constant offset of `count` rows from `first` on."""
        if len(self.sizes) == 1:
            base = self.start(b, first)
            return [(base, r * self.place.strides[0]) for r in range(count)]
        return [(self.start(b, b.plus(first, r)), 0) for r in range(count)]


class LinearEnds:
    """Where the rows of a linear layer lie, and what ends the sum of each output."""

    def __init__(
        self,
        b: KernelBuilder,
        source: Layout,
        result: Layout,
        steps: Sequence[Step],
        extras: Sequence[Layout],
    ) -> None:
        self.b, self.steps = b, steps
        shape = result.shape
        sizes = shape[:-1]
        self.rows = math.prod(sizes)
        self.x, self.y = (
            Rows.of(sizes, Affine(place.origin, place.strides[:-1]))
            for place in (source, result)
        )
        ones, zeros = (1,) * len(shape), (0,) * len(shape)
        places = [broadcast(extra, shape).affine(ones, zeros) for extra in extras]
        self.extra_steps = [place.strides[-1] for place in places]
        self.extra_rows = [
            Rows.of(sizes, Affine(p.origin, p.strides[:-1])) for p in places
        ]

    def sides(self, row: Index, rows: int) -> list[list[tuple[Index, int]]]:
        """For each extra operand the places of `rows` rows."""
        return [place.several(self.b, row, rows) for place in self.extra_rows]

    def finish(
        self,
        value: SSAValue,
        sides: Sequence[tuple[Index, int]],
        first: Index,
        vector: int,
        mask: SSAValue | None,
    ) -> SSAValue:
        """The steps on one register of outputs, `vector` registers after `first`."""
        b = self.b

        def extra(number: int) -> SSAValue:
            (base, offset), step = sides[number], self.extra_steps[number]
            name = f"extra{number}"
            if step == 0:
                return b.splat(b.load(name, base, lanes=1, offset=offset))
            at = b.plus(base, first)
            return b.load(name, at, offset=offset + vector * b.lanes, mask=mask)

        return apply_steps(b, value, self.steps, extra)


class _Build:
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: Linear) -> None:
        self.b, self.spec = b, spec
        self.columns = spec.numbers.shape[-1]
        self.depth = spec.input.shape[-1]
        self.ends = LinearEnds(b, spec.input, spec.numbers, spec.steps, spec.extras)
        self.rows = self.ends.rows

    def build(self) -> None:
        """Units are blocks of columns x groups of row blocks."""
        b, block = self.b, self.spec.block
        width = block.vectors * b.lanes
        row_blocks = -(-self.rows // block.rows)
        groups = -(-row_blocks // ROW_BLOCKS)

        def unit(number: SSAValue) -> None:
            group = b.remainder(number, groups)
            begin = b.times(group, ROW_BLOCKS)
            end = b.smaller(b.plus(begin, ROW_BLOCKS), row_blocks)

            def columns(first: Index, count: int) -> None:
                def rows(row_block: Index) -> None:
                    for_blocks(
                        b,
                        self.rows,
                        block.rows,
                        row_block,
                        lambda row, many: self._block(row, many, first, count),
                    )

                if row_blocks == 1:
                    rows(0)
                else:
                    b.loop(begin, end, rows)

            for_blocks(b, self.columns, width, b.quotient(number, groups), columns)

        begin, end = b.share(-(-self.columns // width) * groups)
        b.loop(begin, end, unit)

    def _block(self, row: Index, rows: int, first: Index, columns: int) -> None:
        """One register block, from its first row and column on."""
        b = self.b
        masks = column_masks(b, columns, self.spec.block.vectors)
        operands = Operands(
            a="x",
            rows=self.ends.x.several(b, row, rows),
            a_step=1,
            b="w",
            b_base=b.times(first, self.depth),
            b_step=len(masks) * b.lanes,
        )
        # The packed columns are whole vectors, only the result has a tail.
        multiply = self._dot_pairs if self.spec.reads_pairs else None
        totals = accumulate(b, operands, self.depth, [None] * len(masks), multiply)
        targets = self.ends.y.several(b, row, rows)
        extras = self.ends.sides(row, rows)
        biases = [
            b.load("bias", first, offset=v * b.lanes, mask=mask)
            for v, mask in enumerate(masks)
            if self.spec.has_bias
        ]
        for r, values in enumerate(totals):
            sides = [places[r] for places in extras]
            done: list[SSAValue] = []
            for v, (total, mask) in enumerate(zip(values, masks, strict=True)):
                biased = b.binary("add", total, biases[v]) if biases else total
                done.append(self.ends.finish(biased, sides, first, v, mask))
            if self.spec.writes_pairs:
                self._store_pairs(done, targets[r], first, columns)
            else:
                self._store_numbers(done, targets[r], first, masks)

    def _dot_pairs(self, acc: SSAValue, w: SSAValue, x: SSAValue) -> SSAValue:
        """Both numbers of each lane."""
        return self.b.add(lane.DotPairsOp(acc, w, x))

    def _store_numbers(
        self,
        values: Sequence[SSAValue],
        target: tuple[Index, int],
        first: Index,
        masks: Sequence[SSAValue | None],
    ) -> None:
        """Registers of results as they are."""
        b, (base, offset) = self.b, target
        for v, (value, mask) in enumerate(zip(values, masks, strict=True)):
            at = b.plus(base, first)
            b.store(value, "y", at, offset=offset + v * b.lanes, mask=mask)

    def _store_pairs(
        self,
        values: Sequence[SSAValue],
        target: tuple[Index, int],
        first: Index,
        columns: int,
    ) -> None:
        """Two registers of neighbouring results as one of pairs."""
        b, (base, offset) = self.b, target
        at = b.plus(base, b.quotient(first, PAIR))
        for number in range(0, len(values), PAIR):
            left = columns - number * b.lanes
            parts = [*values[number : number + PAIR], b.constant(0.0)][:PAIR]
            pairs = b.add(lane.PackPairsOp(*parts, in_order=True))
            mask = b.tail_mask(left // PAIR) if left < PAIR * b.lanes else None
            place = offset + number * b.lanes // PAIR
            b.store(pairs, "y", at, offset=place, mask=mask)
