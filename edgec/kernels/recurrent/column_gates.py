"""What the state gives to the gates, with the weight in compressed columns.

A block of elements has its columns for each gate, so there is one loop per gate. The
stream of weights that a thread reads is the same in each step: pruned ten times, those
of a layer of 1024 elements stay in the level 2 caches of two cores.

Source: Dong et al., "RTMobile" (DAC 2020), section III: blocks of rows that keep the
same columns (BSP), for recurrent networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects import columns
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.cost_columns import most_rows
from edgec.kernels.linear.column_loop import ColumnLoop
from edgec.kernels.recurrent.gates import Arrays, Buffers, Floats

BLOCKS = (16, 8, 4)
"""Elements of a block; larger ones save few indices and have fewer columns to drop."""
INDEX_COST = 4
"""What the index of a column costs, in weights: its load, and one of the state."""

WORK_COST = 2
"""What a stored weight costs in a step of a small layer, by one of a dense layer: its
loops are short (measured for an LSTM of 100 elements with 42 % of its weights)."""


@dataclass(frozen=True)
class ColumnGates:
    """`[G H, H]` in compressed columns of `block` elements of one gate."""

    gates: int
    hidden: int
    rows: int
    block: int
    columns: int
    """Columns kept, over all blocks and gates."""

    @staticmethod
    def of(weight: Floats, gates: int, rows: int) -> ColumnGates:
        """The block with the least to read; the pruner's may lie across gates."""
        hidden = weight.shape[1]
        kept = {size: _columns(weight, gates, size).num_columns for size in BLOCKS}
        block = min(BLOCKS, key=lambda size: kept[size] * (size + INDEX_COST))
        few = min(rows, most_rows(gates))
        return ColumnGates(gates, hidden, few, block, kept[block])

    @property
    def work(self) -> int:
        """Multiply-adds of dense gates that take as long as the stored weights."""
        return WORK_COST * self.columns * self.block

    def lanes(self, lanes: int) -> int:
        """A vector holds at most one block."""
        return min(lanes, self.block)

    def width(self, lanes: int) -> int:
        """One block, on every machine."""
        del lanes
        return self.block

    def buffers(self, lanes: int) -> Buffers:
        """Weights and tables, as `pack` makes them."""
        del lanes
        blocks = self.gates * -(-self.hidden // self.block)
        return {
            "w": buffer_type(max(1, self.columns * self.block)),
            "where": buffer_type(max(1, self.columns), i32),
            "starts": buffer_type(blocks + 1, i32),
        }

    def pack(self, weight: Floats) -> Arrays:
        """`w` `[columns][block]`, `where` `[columns]`, and `starts`."""
        stored = _columns(weight, self.gates, self.block)
        if not stored.num_columns:
            return {
                "w": np.zeros(1, np.float32),
                "where": np.zeros(1, np.int32),
                "starts": stored.offset,
            }
        return {
            "w": stored.weight.reshape(-1),
            "where": stored.index,
            "starts": stored.offset,
        }

    def accumulate(
        self,
        b: KernelBuilder,
        state: str,
        rows: Sequence[tuple[Index, int]],
        first: Index,
        vectors: int,
    ) -> list[list[list[SSAValue]]]:
        """As `Gates` says; gate by gate."""
        loop = ColumnLoop(b, state, self.block)
        number = b.times(b.quotient(first, self.block), self.gates)
        sums: list[list[SSAValue]] = []
        for gate in range(self.gates):
            begin = b.load_index("starts", number, gate)
            end = b.load_index("starts", number, gate + 1)
            sums.append(loop.sums(begin, end, rows))
        size = loop.vectors
        return [
            [total[r * size : r * size + vectors] for total in sums]
            for r in range(len(rows))
        ]


def _columns(weight: Floats, gates: int, block: int) -> columns.Columns:
    """Blocks `[block of elements][gate]`; rows that the last one lacks are 0."""
    hidden = weight.shape[1]
    blocks = -(-hidden // block)
    rows = np.zeros((gates, blocks * block, hidden), np.float32)
    rows[:, :hidden] = weight.reshape(gates, hidden, hidden)
    split = rows.reshape(gates, blocks, block, hidden).transpose(1, 0, 2, 3)
    return columns.pack(np.ascontiguousarray(split.reshape(-1, hidden)), block)
