"""What the state gives to the gates, with a quantized weight in codes.

    W h = scale * sum(k) f32(w[k]) h[k], gate by gate

The state stays float32; weights become float32 in registers. What a thread reads in
each step is a quarter of the weight or less, so that it stays in a nearer cache.
Zeros are left out as in `column_gates`, where that makes it smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.linear.code_loop import CodeLoop, most_sums
from edgec.kernels.linear.codes import CodeShape
from edgec.kernels.linear.stored import StoredWeight
from edgec.kernels.linear.weight_only import (
    Arrange,
    dense_block,
    pack_weight,
    weight_shape,
)
from edgec.kernels.recurrent.gates import Arrays, Buffers

MOST_ROWS = 4
"""Rows that share the decoding of a weight."""


@dataclass(frozen=True)
class CodeGates:
    """`[G H, H]` in codes, in blocks of elements of one gate."""

    gates: int
    hidden: int
    rows: int
    codes: CodeShape
    """Of the blocks of all gates, `[blocks of elements][gate]`."""

    @property
    def work(self) -> int:
        """Multiply-adds of one row in one step."""
        return self.codes.stored_weights

    def lanes(self, lanes: int) -> int:
        """A vector holds at most one block."""
        return min(lanes, self.codes.block)

    def width(self, lanes: int) -> int:
        """One block."""
        del lanes
        return self.codes.block

    def buffers(self, lanes: int) -> Buffers:
        """The codes, and a scale for each output of a block."""
        del lanes
        padded = self.codes.blocks * self.codes.block
        return {**self.codes.buffers(), "scale": buffer_type(padded)}

    def accumulate(
        self,
        b: KernelBuilder,
        state: str,
        rows: Sequence[tuple[Index, int]],
        first: Index,
        vectors: int,
    ) -> list[list[list[SSAValue]]]:
        """As `Gates` says; gate by gate."""
        loop = CodeLoop(b, state, self.codes, most_sums=most_sums(b.lanes))
        number = b.times(b.quotient(first, self.codes.block), self.gates)
        found: list[list[list[SSAValue]]] = [[] for _ in rows]
        for gate in range(self.gates):
            own = b.value(b.plus(number, gate))
            sums = loop.block(own, rows)
            at = b.times(own, self.codes.block)
            scales = [b.load("scale", at, offset=v * b.lanes) for v in range(vectors)]
            for r, row in enumerate(found):
                values = sums[r * loop.vectors : r * loop.vectors + vectors]
                row.append(
                    [
                        b.binary("mul", value, scale)
                        for value, scale in zip(values, scales, strict=True)
                    ]
                )
        return found


def pack_code_gates(
    stored: StoredWeight, gates: int, rows: int, lanes: int
) -> tuple[CodeGates, Arrays]:
    """`[G H, H]` with a scale for each row, and its arrays.

    Raises `InvalidInput` for scales of groups.
    """
    few, block, arrange = _form(stored, gates, rows, lanes)
    codes = pack_weight(stored.weight, block, arrange=arrange)
    block = codes.shape.block
    arrays = {name: codes.arrays[name] for name in codes.shape.buffers()}
    arrays["scale"] = _arranged(stored.scale[:, None], gates, block)[:, 0]
    return CodeGates(gates, stored.weight.shape[1], few, codes.shape), arrays


def code_gates_shape(
    stored: StoredWeight, gates: int, rows: int, lanes: int
) -> CodeShape:
    """The stored weight of `pack_code_gates`, without packing it."""
    _, block, arrange = _form(stored, gates, rows, lanes)
    return weight_shape(stored.weight, block, arrange=arrange)


def _form(
    stored: StoredWeight, gates: int, rows: int, lanes: int
) -> tuple[int, int, Arrange]:
    """Rows that share a weight, elements of a dense block, and how those are ordered.

    Raises `InvalidInput` for scales of groups.
    """
    if stored.group is not None:
        raise InvalidInput(
            f"recurrent weights must have no groups, got groups of {stored.group}"
        )
    few = min(rows, MOST_ROWS)
    block = dense_block(lanes, few, stored.weight.shape[1])
    return few, block, lambda weight, size: _arranged(weight, gates, size)


def _arranged(rows: np.ndarray, gates: int, block: int) -> np.ndarray:
    """`[G H, …]` as `[blocks of elements][gate][block]`; what is missing is 0."""
    hidden, width = len(rows) // gates, rows.shape[1]
    blocks = -(-hidden // block)
    wide = np.zeros((gates, blocks * block, width), rows.dtype)
    wide[:, :hidden] = rows.reshape(gates, hidden, width)
    split = wide.reshape(gates, blocks, block, width).swapaxes(0, 1)
    return np.ascontiguousarray(split.reshape(-1, width))
