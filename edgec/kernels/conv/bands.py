"""Registers whose lanes come from several bands of rows.

A row of 28 positions fills 1.75 registers of 16 lanes, and a tile of whole registers
computes 14 % for nothing. Cut the plane into 4 bands of rows, and let a register hold 4
neighbouring positions of each: 28 is 7 times 4, and no lane is wasted. Positions of one
register are then at the same place in each band, so that a window position is still one
distance for all lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder

BANDS = (1, 2, 4)
"""How many bands may share a register."""


@dataclass(frozen=True)
class Bands:
    """`count` bands of a plane of `rows` rows, in registers of `lanes` lanes."""

    count: int
    rows: int
    lanes: int

    @property
    def columns(self) -> int:
        """Neighbouring positions of one band in a register."""
        return self.lanes // self.count

    @property
    def height(self) -> int:
        """Rows of a band."""
        return -(-self.rows // self.count)

    @property
    def starts(self) -> tuple[int, ...]:
        """First row of each band; the last ones overlap where rows do not divide."""
        last = self.rows - self.height
        return tuple(min(number * self.height, last) for number in range(self.count))

    def load(
        self,
        b: KernelBuilder,
        buffer: str,
        at: Index,
        *,
        offset: int,
        pitch: int,
        mask: SSAValue | None = None,
    ) -> SSAValue:
        """A register; `at` and `offset` are the place in the first band."""
        return b.concat(
            [
                b.load(
                    buffer,
                    at,
                    lanes=self.columns,
                    offset=offset + start * pitch,
                    mask=mask,
                )
                for start in self.starts
            ]
        )

    def store(
        self,
        b: KernelBuilder,
        value: SSAValue,
        buffer: str,
        at: Index,
        *,
        offset: int,
        pitch: int,
        mask: SSAValue | None = None,
    ) -> None:
        """The inverse of `load`."""
        for number, start in enumerate(self.starts):
            part = b.slice(value, number * self.columns, self.columns)
            b.store(part, buffer, at, offset=offset + start * pitch, mask=mask)
