"""What the state gives to the gates of a recurrent layer: `W h`, gate by gate.

Lanes are elements of the state. The weight is packed so that all gates of a block of
elements are one stream, which is read once per step and block of rows. `Gates` is what
a recurrent kernel asks of a weight, however it is stored; here is the dense one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import MemRefType
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.linear.product import Operands, accumulate, best_block

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[np.generic]]
Buffers = dict[str, MemRefType[Any]]


class Gates(Protocol):
    """A weight `[G H, H]` in blocks of elements, for blocks of rows."""

    @property
    def gates(self) -> int:
        """Gates of an element."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the batch that share a load of a weight."""
        ...

    @property
    def work(self) -> int:
        """Multiply-adds of one row in one step."""
        ...

    def lanes(self, lanes: int) -> int:
        """Lanes of the kernel on a machine with `lanes`."""
        ...

    def width(self, lanes: int) -> int:
        """Elements of a block: a multiple of the kernel's lanes."""
        ...

    def buffers(self, lanes: int) -> Buffers:
        """Name and type of the buffers that hold the weight."""
        ...

    def accumulate(
        self,
        b: KernelBuilder,
        state: str,
        rows: Sequence[tuple[Index, int]],
        first: Index,
        vectors: int,
    ) -> list[list[list[SSAValue]]]:
        """`[row][gate][vector]` of the elements from `first` on.

        `rows` are base and constant offset of each row in the buffer `state`.
        """
        ...


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
        # The weights of a step of k take registers too, and one element of a row.
        registers, vectors = (32, 6 // gates) if lanes == 16 else (16, 1)
        vectors = min(most, vectors)
        fitting = (registers - 1) // (gates * vectors) - 1
        return DenseGates(gates, hidden, -(-rows // -(-rows // fitting)), vectors)

    @property
    def work(self) -> int:
        """All weights."""
        return self.gates * self.hidden**2

    def lanes(self, lanes: int) -> int:
        """Those of the machine."""
        return lanes

    def width(self, lanes: int) -> int:
        """Whole vectors."""
        return self.vectors * lanes

    def buffers(self, lanes: int) -> Buffers:
        """`w`, as `pack` makes it."""
        padded = -(-self.hidden // lanes) * lanes
        return {"w": buffer_type(padded * self.gates * self.hidden)}

    def pack(self, weight: Floats, lanes: int) -> Arrays:
        """`w`: `[G H, H]` as blocks `[blocks][k][gate][vectors * lanes]`, flat.

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
        return {"w": np.concatenate(blocks)}

    def accumulate(
        self,
        b: KernelBuilder,
        state: str,
        rows: Sequence[tuple[Index, int]],
        first: Index,
        vectors: int,
    ) -> list[list[list[SSAValue]]]:
        """As `Gates` says; all gates of a block at once."""
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
