"""Integer convolutions on tiles: four channels in each lane, as those of `quads`.

The loops are in `tile_build`; the end is that of `quads`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import MemRefType, i32
from xdsl.ir import Attribute, SSAValue

from edgec.kernels.builder import Index
from edgec.kernels.conv.quad_store import SumStore
from edgec.kernels.conv.quads import (
    QuadConv,
    QuadTables,
    as_quads,
    quad_buffers,
    sum_starts,
)
from edgec.kernels.conv.tile_build import TileBuild, weights_of, where_of
from edgec.kernels.conv.tile_columns import group_columns

Bytes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class TileConv(QuadConv):
    """A convolution of bytes on tiles.

    `filters` is a multiple of 16, `vectors` counts tiles of 16 positions, and `columns`
    those of all groups, which are full.
    """

    tiles: int
    """Tiles of filters that are multiplied together."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the tables of `pack_tiles`, rows, extras, y."""
        return _Build(self, name, lanes).function()


def pack_tiles(weight: Bytes, zero_point: int, spec: QuadConv) -> QuadTables:
    """Tables of a weight `[F, C, *K]` for inputs with this zero point.

    `w` is `[groups][filters of the block][columns]`, `where` `[groups][columns]`, and
    `starts` as in `GroupedColumns`.
    """
    found = group_columns(as_quads(weight, spec.num_filters), spec.filters)
    return QuadTables(
        w=weights_of(found, spec),
        where=where_of(found, spec),
        starts=found.starts,
        sums=sum_starts(weight, zero_point, spec.num_filters),
    )


class _Build(TileBuild):
    """State while one kernel is built."""

    element: Attribute = i32

    def __init__(self, spec: TileConv, name: str, lanes: int) -> None:
        self.quads = spec
        super().__init__(spec, spec.tiles, spec.num_filters, name, lanes, {})

    def buffers(
        self, tables: Mapping[str, MemRefType[Any]]
    ) -> dict[str, MemRefType[Any]]:
        """As `quad_buffers`."""
        return quad_buffers(self.quads, tables)

    def make_sink(self) -> SumStore:
        """From sums to numbers or bytes."""
        return self.quads.sink(self.b)

    def product(self, acc: int, lhs: int, rhs: int) -> None:
        """Signed bytes times unsigned ones."""
        self.tiles.dot(acc, lhs, rhs)

    def start(self, first: Index, number: int) -> SSAValue:
        """What the zero point of the input takes away."""
        return self.b.splat(self.b.load("sums", first, lanes=1, offset=number))

    def plus(self, value: SSAValue, start: SSAValue) -> SSAValue:
        """Modulo 2^32."""
        return self.b.add(arith.AddiOp(value, start))
