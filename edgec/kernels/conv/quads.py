"""Integer convolutions: four channels in each lane, sums in 32 bits.

The kernel of compressed columns with another product: a column is four channels of one
tap, its weights are four bytes for each filter, and `lane.dot_quads` adds all four
products to the lane. A dense weight keeps all columns. Inputs are unsigned bytes with a
zero point z; sums start at `-z sum(w)`, and gaps between rows hold z, so that what
stands outside of the image adds nothing.

Targets without a dot product add pairs of products in 16 bits, which saturate where a
pair of weights sums to more than `PAIR_BOUND`. A column with such a pair is *wide*: it
has two slots in the tables, of 16-bit weights for the even and for the odd channels
(`lane.dot_words`). Wide columns stand behind the others of their block, and have a loop
of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType, f32, i8, i32
from xdsl.ir import Attribute, SSAValue

from edgec.dialects import lane
from edgec.dialects.columns import Columns, pack
from edgec.dialects.lane import PAIR_BOUND, QUAD, buffer_type
from edgec.dialects.quad_ending import Addend
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
    """Whether there are wide columns: for targets without a dot product."""
    addend: Addend | None
    """What is added to sums in units of the result; its bytes count as they are."""

    @property
    def num_filters(self) -> int:
        """Filters, those included that fill the last quad of the result."""
        return self.result.shape[1] * (1 if self.requantize is None else QUAD)

    @property
    def blocks_of_group(self) -> int:
        """Blocks of `filters` filters, the last one perhaps of fewer."""
        return -(-self.num_filters // self.filters)

    @property
    def num_starts(self) -> int:
        """Entries of the table of where blocks, and their wide columns, begin."""
        return self.blocks_of_group * (2 if self.bounded else 1) + 1

    def sink(self, b: KernelBuilder) -> SumStore:
        """What is done with the sums."""
        end = (b, self.result, self.steps, self.extras)
        if self.requantize is None:
            return SumStore(*end)
        return QuadStore(*end, self.requantize, self.addend)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, the tables of `QuadTables`, rows, extras, y."""
        return _Build(self, name, lanes).function()


@dataclass(frozen=True)
class QuadTables:
    """Arrays of a `QuadConv`."""

    w: Ints
    """`[slots][filters of the block]`, four bytes or two halves each, flat."""
    where: Ints
    """As in `ColumnTables`."""
    starts: Ints
    """As in `ColumnTables`; if `bounded`, between the first slots of two blocks is the
    first one of a wide column."""
    sums: Ints
    """`[filters]` where sums start."""


def pack_quads(weight: Bytes, zero_point: int, spec: QuadConv) -> QuadTables:
    """Tables of a weight `[F, C, *K]` for inputs with this zero point."""
    slots, wide = quad_columns(
        weight, spec.num_filters, spec.filters, bounded=spec.bounded
    )
    tables, starts = pack_columns(slots, spec), slots.offset
    if spec.bounded:
        starts = np.append(np.stack([starts[:-1], wide], 1), starts[-1])
    sums = sum_starts(weight, zero_point, spec.num_filters)
    return QuadTables(tables.w.view(np.int32), tables.where, starts, sums)


def sum_starts(weight: Bytes, zero_point: int, filters: int) -> Ints:
    """What the zero point of the input takes away from each filter's sum."""
    sums = np.zeros(filters, np.int64)
    sums[: len(weight)] = -zero_point * weight.reshape(len(weight), -1).sum(1, np.int64)
    return sums.astype(np.int32)


class QuadColumns(NamedTuple):
    """The kept columns of quads."""

    slots: Columns
    """As the tables hold them: wide columns count twice."""
    wide: Ints
    """`[blocks]` the first slot of a wide column, or else where the block ends."""


def quad_columns(
    weight: Bytes, filters: int, block: int, *, bounded: bool
) -> QuadColumns:
    """The kept columns of `filters` filters in blocks.

    `bounded`: a column of which a pair of bytes has more than `PAIR_BOUND`, which
    `lane.dot_quads` would not be promised, is wide.
    """
    columns = pack(cast(Any, as_quads(weight, filters)), block)
    return _split(columns) if bounded else QuadColumns(columns, columns.offset[1:])


def _split(columns: Columns) -> QuadColumns:
    """Wide columns behind the others of their block, in two slots each."""
    parts = columns.weight.view(np.int8).astype(np.int16)
    pairs = parts.reshape(columns.num_columns, columns.block * QUAD // 2, 2)
    most = np.maximum(pairs.clip(min=0).sum(2), -pairs.clip(max=0).sum(2))
    is_wide = (most > PAIR_BOUND).any(1)
    blocks = len(columns.offset) - 1
    of_block = np.repeat(np.arange(blocks), np.diff(columns.offset))
    order = np.lexsort((is_wide, of_block))
    takes = 1 + is_wide[order]
    number = np.repeat(order, takes)
    # Even bytes, then odd ones.
    halves = np.moveaxis(pairs[order[takes == 2]], 2, 1).astype("<i2")
    weight = columns.weight.view(np.int32)[number]
    weight[takes.repeat(takes) == 2] = (
        halves.copy().view("<i4").reshape(-1, columns.block)
    )
    each = np.bincount(of_block, minlength=blocks)
    twice = np.bincount(of_block[is_wide], minlength=blocks)
    offset = np.append(0, np.cumsum(each + twice)).astype(np.int32)
    slots = replace(
        columns,
        offset=offset,
        index=columns.index[number],
        weight=weight.view(columns.weight.dtype),
    )
    return QuadColumns(slots, (offset[1:] - 2 * twice).astype(np.int32))


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

    def accumulate(
        self,
        first: Index,
        source: Index,
        at: Index,
        initial: Sequence[SSAValue],
        filters: int,
        vectors: int,
    ) -> Sequence[SSAValue]:
        """A loop over the columns of the block; if `bounded`, another of wide ones."""
        if not self.quads.bounded:
            return super().accumulate(first, source, at, initial, filters, vectors)
        b = self.b
        entry = b.value(b.times(self.block_of(first), 2))
        begin, wide, end = (b.load_index("starts", entry, n) for n in range(3))
        start = b.plus(source, at)
        sums = self.over_columns((begin, wide), start, initial, filters, vectors)
        return self.over_columns((wide, end), start, sums, filters, vectors, slots=2)

    def multiply(
        self, acc: SSAValue, x: SSAValue, weights: Sequence[SSAValue]
    ) -> SSAValue:
        """Four channels at once, or even and odd ones apart."""
        b = self.b
        if len(weights) == 1:
            return b.dot_quads(acc, x, weights[0], bounded=self.quads.bounded)
        even, odd = weights
        acc = b.add(lane.DotWordsOp(acc, x, even))
        return b.add(lane.DotWordsOp(acc, x, odd, odd=True))
