"""Convolutions of bfloat16: two channels in each lane, sums in float32.

The kernel of compressed columns with another product: a column is two channels of one
tap, its weights are a pair for each filter, rounded to bfloat16 when they are packed,
and `lane.dot_pairs` adds both products to the lane. A dense weight keeps all columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, f32, i8, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects import lane
from edgec.dialects.bf16 import PAIR, pairs_of, rounded
from edgec.dialects.columns import Columns, pack
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.conv.columns import ColumnBuild, ColumnConv, pack_columns
from edgec.kernels.conv.pair_store import PairStore
from edgec.kernels.conv.positions import declare_extras, row_mask_bytes

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PairConv(ColumnConv):
    """A convolution of pairs; `source` is a layout of pairs of channels.

    So is `result` if it is `packed`: then the layer has an even number of filters, as
    what steps make of a filter that is not there need not be zero. `filters` is even,
    and there is one group of the convolution.
    """

    packed: bool

    @property
    def num_filters(self) -> int:
        """Filters of the layer."""
        return self.result.shape[1] * (PAIR if self.packed else 1)

    @property
    def blocks_of_group(self) -> int:
        """Blocks of `filters` filters, the last one perhaps of fewer."""
        return -(-self.num_filters // self.filters)

    def sink(self, b: KernelBuilder) -> PairStore:
        """What is done with the sums."""
        return PairStore(b, self.result, self.steps, self.extras, packed=self.packed)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the tables of `PairTables`, bias, rows, extras, y."""
        return _Build(self, name, lanes).function()


@dataclass(frozen=True)
class PairTables:
    """Arrays of a `PairConv`."""

    w: Ints
    """`[columns][filters of the block]`, a pair each, flat."""
    where: Ints
    """As in `ColumnTables`."""
    starts: Ints
    """As in `ColumnTables`."""


def pack_pairs(weight: Floats, spec: PairConv) -> PairTables:
    """Tables of a weight `[F, C, *K]`."""
    columns = pair_columns(weight, spec.num_filters, spec.filters)
    tables = pack_columns(columns, spec)
    return PairTables(tables.w.view(np.int32), tables.where, tables.starts)


def pair_columns(weight: Floats, filters: int, block: int) -> Columns:
    """The kept columns of pairs, of `filters` filters in blocks."""
    return pack(cast(Any, as_pairs(weight, filters)), block)


def as_pairs(weight: Floats, filters: int) -> Ints:
    """`[F, C, *K]` as `[filters, ceil(C / 2), *K]` pairs; what is missing is zero."""
    count, channels, *window = weight.shape
    groups = -(-channels // PAIR)
    padded = np.zeros((filters, groups * PAIR, *window), np.float32)
    # A zero is +0, whose pair is 0: columns of nothing but 0 are left out.
    padded[:count, :channels] = rounded(weight) + np.float32(0)
    split = padded.reshape(filters, groups, PAIR, *window)
    return pairs_of(np.moveaxis(split, 2, -1))


def count_pair_columns(weight: Floats, blocks: Sequence[int]) -> dict[int, int]:
    """The columns of `pair_columns` for each number of filters, without making them."""
    kept = as_pairs(weight, len(weight)).reshape(len(weight), -1) != 0
    counts: dict[int, int] = {}
    for block in blocks:
        starts = np.arange(0, len(weight), block, dtype=np.int64)
        counts[block] = int(np.logical_or.reduceat(kept, starts, axis=0).sum())
    return counts


def pair_buffers(
    spec: PairConv, tables: Mapping[str, MemRefType[Any]]
) -> dict[str, MemRefType[Any]]:
    """Arguments of a kernel, in order: as `FlatBuild`, of pairs."""
    buffers = {"x": buffer_type(spec.source.elements, i32), **tables}
    if spec.has_bias:
        buffers["bias"] = buffer_type(spec.num_filters)
    if spec.result.has_gaps_inside:
        buffers["rows"] = buffer_type(row_mask_bytes(spec.result), i8)
    declare_extras(buffers, spec.extras)
    element = i32 if spec.packed else f32
    buffers["y"] = buffer_type(spec.result.elements, element)
    return buffers


class _Build(ColumnBuild):
    """State while one kernel is built."""

    element: Attribute = i32

    def __init__(self, spec: PairConv, name: str, lanes: int) -> None:
        self.pairs = spec
        super().__init__(spec, name, lanes)
        self.per_group = spec.num_filters

    def buffers(
        self, tables: Mapping[str, MemRefType[Any]]
    ) -> dict[str, MemRefType[Any]]:
        """As `pair_buffers`."""
        return pair_buffers(self.pairs, tables)

    def make_sink(self) -> PairStore:
        """To numbers or pairs."""
        return self.pairs.sink(self.b)

    def multiply(
        self, acc: SSAValue, x: SSAValue, weights: Sequence[SSAValue]
    ) -> SSAValue:
        """Two channels at once."""
        (weight,) = weights
        return self.b.add(lane.DotPairsOp(acc, x, weight))
