"""Column-sparse linear layers for few rows: lanes are the outputs of a block.

    for block of filters:
        for k in the columns that the block keeps:
            w[vectors] = the block's weights of column k
            for r in rows: acc[r][*] += splat(x[r][where[k]]) * w[*]
        epilogue, store

Each weight is read once, in order, so that the kernel runs at the speed of memory; an
index costs four bytes for each column of a block. Where rows are many and weights few,
the loop over rows is outside: a column of blocks writes lines that are a row apart, and
rows of 2 KB share two sets of L1 (512 filters took four times as long as 528). The loop
over columns is that of `column_loop`.

Source: RTMobile (DAC 2020), section III, for blocks of rows that keep the same columns;
GRIM (TPAMI 2021), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.columns import Columns
from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.cost_columns import most_rows
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.linear.column_loop import ColumnLoop
from edgec.kernels.linear.dense import LinearEnds
from edgec.kernels.linear.product import column_masks, for_blocks
from edgec.kernels.softmax import require_unphased

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

MIN_BLOCK = 4
"""Filters of the smallest block whose weights are a register."""
MANY_ROWS = 16
"""Blocks of rows that are enough units of work for the threads."""
NEAR_BYTES = 2**18
"""Weights that stay in L2 while all blocks of rows read them."""


@dataclass(frozen=True)
class ColumnLinear:
    """`y[..., n] = steps(sum(k) x[..., k] w[n, k] + bias[n])`, w in compressed columns.

    The blocks hold filters in their own order. Raises `InvalidInput` for a layout with
    phases.
    """

    input: Layout
    output: Layout
    block: int
    """Filters of a block: a power of two, at least `MIN_BLOCK`."""
    columns: int
    """Columns kept, over all blocks."""
    has_bias: bool
    steps: tuple[Step, ...]
    extras: tuple[Layout, ...]

    def __post_init__(self) -> None:
        require_unphased("linear", self.input, self.output, *self.extras)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, w, where, starts, bias if any, extras, y."""
        filters = self.output.shape[-1]
        blocks = -(-filters // self.block)
        buffers = {
            "x": buffer_type(self.input.elements),
            "w": buffer_type(max(1, self.columns * self.block)),
            "where": buffer_type(max(1, self.columns), i32),
            "starts": buffer_type(blocks + 1, i32),
        }
        if self.has_bias:
            buffers["bias"] = buffer_type(filters)
        for number, extra in enumerate(self.extras):
            buffers[f"extra{number}"] = buffer_type(extra.elements)
        buffers["y"] = buffer_type(self.output.elements)
        b = KernelBuilder(name, buffers, lanes=min(lanes, self.block))
        _Build(b, self).build(blocks)
        zero_all_gaps(b, "y", self.output)
        return b.finish()


@dataclass(frozen=True)
class LinearTables:
    """Arrays of a `ColumnLinear`."""

    w: Floats
    """`[columns][block]`, flat."""
    where: Ints
    """Place of each column in a row of the input."""
    starts: Ints
    """`[blocks + 1]` first column of each block."""


def pack_linear_columns(columns: Columns, step: int) -> LinearTables:
    """Tables for inputs whose neighbours in a row are `step` apart."""
    where = columns.index if columns.num_columns else np.zeros(1, np.int32)
    flat = columns.weight.reshape(-1)
    return LinearTables(
        w=flat if flat.size else np.zeros(1, np.float32),
        where=(where * step).astype(np.int32),
        starts=columns.offset,
    )


class _Build:
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: ColumnLinear) -> None:
        self.b, self.spec = b, spec
        self.filters = spec.output.shape[-1]
        self.vectors = spec.block // b.lanes
        self.ends = LinearEnds(b, spec.input, spec.output, spec.steps, spec.extras)
        self.rows = self.ends.rows

    def build(self, blocks: int) -> None:
        """Units are blocks of filters, or a few rows where all weights stay near.

        Blocks of filters read their weights from far away once; rows are written from
        end to end, which caches like better where there are many.
        """
        b = self.b
        few = min(self.rows, most_rows(self.vectors))
        count = -(-self.rows // few)
        num_bytes = 4 * self.spec.columns * (self.spec.block + 1)

        def rows(block: Index, number: Index) -> None:
            for_blocks(
                b,
                self.rows,
                few,
                number,
                lambda row, many: self.tile(b.value(block), row, many),
            )

        if count >= MANY_ROWS and num_bytes <= NEAR_BYTES:
            b.units(
                count,
                lambda number: b.repeat(blocks, lambda block: rows(block, number)),
            )
        else:
            b.units(
                blocks,
                lambda block: b.repeat(count, lambda number: rows(block, number)),
            )

    def tile(self, block: SSAValue, row: Index, rows: int) -> None:
        """One block of filters for a few rows."""
        b, spec = self.b, self.spec
        places = self.ends.x.several(b, row, rows)
        begin = b.load_index("starts", block)
        end = b.load_index("starts", block, 1)
        totals = ColumnLoop(b, "x", spec.block).sums(begin, end, places)
        last, few = divmod(self.filters, spec.block)

        def store(filters: int) -> None:
            self.store(block, row, rows, totals, filters)

        if not few:
            store(spec.block)
        else:
            is_last = b.equal(block, last)
            b.when(is_last, lambda: store(few), lambda: store(spec.block))

    def store(
        self,
        block: SSAValue,
        row: Index,
        rows: int,
        totals: Sequence[SSAValue],
        filters: int,
    ) -> None:
        """The epilogue of a block with `filters` filters, and its store."""
        b = self.b
        first = b.times(block, self.spec.block)
        masks = column_masks(b, filters, self.vectors)
        targets = self.ends.y.several(b, row, rows)
        extras = self.ends.sides(row, rows)
        for v, mask in enumerate(masks):
            bias = None
            if self.spec.has_bias:
                bias = b.load("bias", first, offset=v * b.lanes, mask=mask)
            for r, (base, offset) in enumerate(targets):
                value = totals[r * self.vectors + v]
                if bias is not None:
                    value = b.binary("add", value, bias)
                sides = [places[r] for places in extras]
                value = self.ends.finish(value, sides, first, v, mask)
                at = b.plus(base, first)
                b.store(value, "y", at, offset=offset + v * b.lanes, mask=mask)
