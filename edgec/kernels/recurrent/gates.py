"""What the state gives to the gates of a recurrent layer: `W h`, gate by gate.

Lanes are elements of the state. The weight is packed so that all gates of a block of
elements are one stream, which is read once per step and block of rows. A weight that is
stored in another way gets a class of its own with the same three methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.linear.product import Operands, accumulate, best_block

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DenseGates:
    """`[G H, H]` in blocks of `vectors` vectors of elements, for blocks of `rows`."""

    gates: int
    hidden: int
    rows: int
    vectors: int

    @staticmethod
    def of(lanes: int, gates: int, hidden: int, rows: int) -> DenseGates:
        """Blocks whose accumulators fit the registers.

        One row is bound by loads; it needs some accumulators to hide the latency of
        multiply-adds, and many blocks for many threads.
        """
        most = -(-hidden // lanes)
        if rows == 1:
            return DenseGates(gates, hidden, 1, min(most, 4 if gates == 1 else 2))
        if gates == 1:
            block = best_block(lanes, rows, hidden)
            return DenseGates(gates, hidden, block.rows, block.vectors)
        accumulators, vectors = (24, 2) if lanes == 16 else (12, 1)
        vectors = min(most, vectors)
        fitting = accumulators // (gates * vectors)
        return DenseGates(gates, hidden, -(-rows // -(-rows // fitting)), vectors)

    def elements(self, lanes: int) -> int:
        """Of the packed weight."""
        return -(-self.hidden // lanes) * lanes * self.gates * self.hidden

    def pack(self, weight: Floats, lanes: int) -> Floats:
        """`[G H, H]` to blocks `[blocks][k][gate][vectors * lanes]`, flat.

        Missing elements are 0; the last block has only the vectors it needs.
        """
        split = weight.reshape(self.gates, self.hidden, self.hidden)
        width = self.vectors * lanes
        blocks: list[Floats] = []
        for start in range(0, self.hidden, width):
            part = split[:, start : start + width]
            wide = -(-part.shape[1] // lanes) * lanes
            packed = np.zeros((self.hidden, self.gates, wide), np.float32)
            packed[:, :, : part.shape[1]] = part.transpose(2, 0, 1)
            blocks.append(packed.reshape(-1))
        return np.concatenate(blocks)

    def accumulate(
        self,
        b: KernelBuilder,
        state: str,
        rows: Sequence[tuple[Index, int]],
        first: Index,
        vectors: int,
    ) -> list[list[list[SSAValue]]]:
        """`[row][gate][vector]` of the elements from `first` on.

        `rows` are base and constant offset of each row in the buffer `state`; the
        buffer `w` holds the packed weight.
        """
        count = self.gates * vectors
        operands = Operands(
            a=state,
            rows=rows,
            a_step=1,
            b="w",
            b_base=b.times(first, self.gates * self.hidden),
            b_step=count * b.lanes,
        )
        totals = accumulate(b, operands, self.hidden, [None] * count)
        starts = range(0, count, vectors)
        return [[row[start : start + vectors] for start in starts] for row in totals]
