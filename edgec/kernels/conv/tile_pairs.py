"""Convolutions of bfloat16 on tiles: two channels in each lane, as those of `pairs`.

The loops are in `tile_build`; sums are float32, and the end is that of `pairs`. A
column that only fills its group has weights of zero, but a zero times an infinity is
none: its lanes are cleared when it is gathered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import MemRefType, f32, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index
from edgec.kernels.conv.pair_store import PairStore
from edgec.kernels.conv.pairs import PairConv, as_pairs, pair_buffers
from edgec.kernels.conv.tile_build import (
    TileBuild,
    filled,
    table_sizes,
    weights_of,
    where_of,
)
from edgec.kernels.conv.tile_columns import group_columns

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TilePairConv(PairConv):
    """A convolution of bfloat16 on tiles; settings as those of `TileConv`."""

    tiles: int
    """Tiles of filters that are multiplied together."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, those of `TilePairTables`, bias, rows, extras, y."""
        return _Build(self, name, lanes).function()


@dataclass(frozen=True)
class TilePairTables:
    """Arrays of a `TilePairConv`."""

    w: Ints
    """`[groups][filters of the block][columns]`, a pair each, flat."""
    where: Ints
    """`[groups][columns]`, as in `ColumnTables`."""
    starts: Ints
    """As in `GroupedColumns`."""
    real: Ints
    """`[groups][columns]`: all bits, or none for a column that only fills its group."""


def pack_tile_pairs(weight: Floats, spec: PairConv) -> TilePairTables:
    """Tables of a weight `[F, C, *K]`."""
    found = group_columns(as_pairs(weight, spec.num_filters), spec.filters)
    real = np.where(found.weight.any(1), -1, 0).astype(np.int32)
    return TilePairTables(
        w=weights_of(found, spec),
        where=where_of(found, spec),
        starts=found.starts,
        real=filled(real, table_sizes(spec)[0]),
    )


class _Build(TileBuild):
    """State while one kernel is built."""

    element: Attribute = f32

    def __init__(self, spec: TilePairConv, name: str, lanes: int) -> None:
        self.pairs = spec
        tables = {"real": buffer_type(table_sizes(spec)[0], i32)}
        super().__init__(spec, spec.tiles, spec.num_filters, name, lanes, tables)

    def buffers(
        self, tables: Mapping[str, MemRefType[Any]]
    ) -> dict[str, MemRefType[Any]]:
        """As `pair_buffers`."""
        return pair_buffers(self.pairs, tables)

    def make_sink(self) -> PairStore:
        """To numbers or pairs."""
        return self.pairs.sink(self.b)

    def product(self, acc: int, lhs: int, rhs: int) -> None:
        """Pairs, to float32."""
        self.tiles.dot_pairs(acc, lhs, rhs)

    def gathered(self, value: SSAValue, entry: Index, number: int) -> SSAValue:
        """Zeros of a column that only fills its group."""
        b = self.b
        real = b.splat(b.load("real", entry, lanes=1, offset=number))
        return b.add(arith.AndIOp(value, real))

    def start(self, first: Index, number: int) -> SSAValue | None:
        """The bias."""
        if not self.pairs.has_bias:
            return None
        return self.b.splat(self.b.load("bias", first, lanes=1, offset=number))

    def plus(self, value: SSAValue, start: SSAValue) -> SSAValue:
        """In float32."""
        return self.b.binary("add", value, start)
