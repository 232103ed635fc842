"""Integer convolutions: four channels in each lane, sums in 32 bits.

The kernel of compressed columns with another product: a column is four channels of one
tap, its weights are four bytes for each filter, and `lane.dot_quads` adds all four
products to the lane. A dense weight keeps all columns. Inputs are unsigned bytes with a
zero point z; sums start at `-z sum(w)`, and gaps between rows hold z, so that what
stands outside of the image adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, f32, i8, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.columns import Columns, pack
from edgec.dialects.lane import PAIR_BOUND, QUAD, buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.columns import ColumnBuild, ColumnConv, pack_columns
from edgec.kernels.conv.positions import declare_extras, row_mask_bytes
from edgec.kernels.conv.quad_store import QuadStore, SumStore
from edgec.kernels.requantize import Requantize

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class QuadConv(ColumnConv):
    """A convolution of bytes; `source` is a layout of quads, groups of four channels.

    So is `result`, unless it is float32. `filters` is a multiple of four, there is one
    group of the convolution, and no bias: `shift` has it.
    """

    requantize: Requantize | None
    """None for a result in float32."""
    bounded: bool
    """Whether columns are split so that pairs of products fit 16 bits: for targets
    without a dot product."""

    @property
    def num_filters(self) -> int:
        """Filters, those included that fill the last quad of the result."""
        return self.result.shape[1] * (1 if self.requantize is None else QUAD)

    @property
    def blocks_of_group(self) -> int:
        """Blocks of `filters` filters, the last one perhaps of fewer."""
        return -(-self.num_filters // self.filters)

    def sink(self, b: KernelBuilder) -> SumStore:
        """What is done with the sums."""
        end = (b, self.result, self.steps, self.extras)
        if self.requantize is None:
            return SumStore(*end)
        return QuadStore(*end, self.requantize)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the tables of `QuadTables`, rows, extras, y."""
        return _Build(self, name, lanes).function()


@dataclass(frozen=True)
class QuadTables:
    """Arrays of a `QuadConv`."""

    w: Ints
    """`[columns][filters of the block]`, four bytes each, flat."""
    where: Ints
    """As in `ColumnTables`."""
    starts: Ints
    """As in `ColumnTables`."""
    sums: Ints
    """`[filters]` where sums start."""


def pack_quads(weight: Bytes, zero_point: int, spec: QuadConv) -> QuadTables:
    """Tables of a weight `[F, C, *K]` for inputs with this zero point."""
    columns = quad_columns(weight, spec.num_filters, spec.filters, bounded=spec.bounded)
    tables = pack_columns(columns, spec)
    sums = sum_starts(weight, zero_point, spec.num_filters)
    w = tables.w.view(np.int32)
    return QuadTables(w, tables.where, tables.starts, sums)


def sum_starts(weight: Bytes, zero_point: int, filters: int) -> Ints:
    """What the zero point of the input takes away from each filter's sum."""
    sums = np.zeros(filters, np.int64)
    sums[: len(weight)] = -zero_point * weight.reshape(len(weight), -1).sum(1, np.int64)
    return sums.astype(np.int32)


def quad_columns(weight: Bytes, filters: int, block: int, *, bounded: bool) -> Columns:
    """The kept columns of quads, of `filters` filters in blocks.

    `bounded`: a column of which a pair of bytes has more than `PAIR_BOUND` stands
    there twice, with half of each weight, as `lane.dot_quads` promises.
    """
    columns = pack(cast(Any, as_quads(weight, filters)), block)
    return _split(columns) if bounded else columns


def _split(columns: Columns) -> Columns:
    """The same sums from columns whose pairs are bounded."""
    parts = columns.weight.view(np.int8).astype(np.int16)
    pairs = parts.reshape(columns.num_columns, columns.block * QUAD // 2, 2)
    most = np.maximum(pairs.clip(min=0).sum(2), -pairs.clip(max=0).sum(2))
    times = 1 + (most > PAIR_BOUND).any(1)
    number = np.repeat(np.arange(len(times)), times)
    is_second = np.append(False, number[1:] == number[:-1])[: len(number)]
    wide = parts[number]
    half = wide >> 1
    is_halved = (times[number] == 2)[:, None]
    wide = np.where(is_halved, np.where(is_second[:, None], wide - half, half), wide)
    before = np.append(0, np.cumsum(times))
    return replace(
        columns,
        offset=before[columns.offset].astype(np.int32),
        index=columns.index[number],
        weight=np.ascontiguousarray(wide.astype(np.int8)).view(columns.weight.dtype),
    )


def as_quads(weight: Bytes, filters: int) -> Ints:
    """`[F, C, *K]` as `[filters, ceil(C / 4), *K]` quads; what is missing is zero."""
    count, channels, *window = weight.shape
    groups = -(-channels // QUAD)
    padded = np.zeros((filters, groups * QUAD, *window), np.int8)
    padded[:count, :channels] = weight
    split = padded.reshape(filters, groups, QUAD, *window)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1)).view("<i4")[..., 0]


def quad_buffers(
    spec: QuadConv, tables: Mapping[str, MemRefType[Any]]
) -> dict[str, MemRefType[Any]]:
    """Arguments of a kernel, in order: the numbers of each filter stand for a bias."""
    buffers = {"x": buffer_type(spec.source.elements, i32), **tables}
    buffers["sums"] = buffer_type(spec.num_filters, i32)
    for name in ("scale", "shift"):
        buffers[name] = buffer_type(spec.num_filters, f32)
    if spec.result.has_gaps_inside:
        buffers["rows"] = buffer_type(row_mask_bytes(spec.result), i8)
    declare_extras(buffers, spec.extras)
    element = f32 if spec.requantize is None else i32
    buffers["y"] = buffer_type(spec.stored.elements, element)
    return buffers


class _Build(ColumnBuild):
    """State while one kernel is built."""

    element: Attribute = i32

    def __init__(self, spec: QuadConv, name: str, lanes: int) -> None:
        self.quads = spec
        super().__init__(spec, name, lanes)
        self.per_group = spec.num_filters

    def buffers(
        self, tables: Mapping[str, MemRefType[Any]]
    ) -> dict[str, MemRefType[Any]]:
        """As `quad_buffers`."""
        return quad_buffers(self.quads, tables)

    def make_sink(self) -> SumStore:
        """From sums to numbers or bytes."""
        return self.quads.sink(self.b)

    def start(self, first: Index, number: int) -> SSAValue:
        """What the zero point of the input takes away."""
        return self.b.splat(self.b.load("sums", first, lanes=1, offset=number))

    def multiply(self, acc: SSAValue, x: SSAValue, weight: SSAValue) -> SSAValue:
        """Four channels at once."""
        return self.b.dot_quads(acc, x, weight, bounded=self.quads.bounded)
