"""Products of matrices, batched and broadcast, with an epilogue.

Lanes are the columns of the result. Where many rows use it, a block of columns of the
right side is first copied to the thread's scratch, so that it is one stream: rows of a
large matrix lie in different pages, and the processor keeps few of them at hand. A
right side whose columns are not neighbours (a transposed one) is always copied so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.epilogue import apply_steps
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.linear.product import (
    Block,
    Operands,
    accumulate,
    column_masks,
    for_blocks,
)
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_units
from edgec.kernels.views import Affine, View, broadcast

ROWS_PER_UNIT = 128
"""Rows of the result per unit of work; they share one packed block of columns."""

PACK_FROM = 4
"""Row blocks from which on packing pays."""

PACK_ELEMENTS = 1 << 18
"""Largest packed block: 1 MiB, half of a usual level 2 cache."""


@dataclass(frozen=True)
class Matmul:
    """`[..., M, K] x [..., K, N]`; the leading dimensions broadcast.

    Raises `InvalidInput` for a layout with phases.
    """

    lhs: Layout
    rhs: Layout
    output: Layout
    block: Block
    steps: tuple[Step, ...] = ()
    extras: tuple[Layout, ...] = ()
    """Extra operands of the steps; they broadcast to the result."""

    def __post_init__(self) -> None:
        require_unphased("matmul", self.lhs, self.rhs, self.output, *self.extras)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: a, b, one per extra operand, y."""
        buffers = {
            "a": buffer_type(self.lhs.elements),
            "b": buffer_type(self.rhs.elements),
        }
        for number, extra in enumerate(self.extras):
            buffers[f"extra{number}"] = buffer_type(extra.elements)
        buffers["y"] = buffer_type(self.output.elements)
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        zero_all_gaps(b, "y", self.output)
        return b.finish()


@dataclass(frozen=True)
class _Cell:
    """One register of a block of results, and the matrices of the extra operands."""

    bases: Sequence[Index]
    row: Index
    column: Index
    rows: int
    columns: int
    """It stands so many rows and columns after `row` and `column`."""
    mask: SSAValue | None


class _Build:
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: Matmul) -> None:
        self.b, self.spec = b, spec
        *self.batch, self.rows, self.columns = spec.output.shape
        self.depth = spec.lhs.shape[-1]
        block = spec.block
        self.width = block.vectors * b.lanes
        blocks = min(self.rows, ROWS_PER_UNIT) // block.rows
        size = self.depth * self.width
        pays = blocks >= PACK_FROM and size <= PACK_ELEMENTS
        is_needed = spec.rhs.strides[-1] != 1
        self.packed = b.scratch(size) if pays or is_needed else None
        shape = spec.output.shape
        ones, zeros = (1,) * len(shape), (0,) * len(shape)
        self.extras = [broadcast(e, shape).affine(ones, zeros) for e in spec.extras]

    def build(self) -> None:
        """Units are batch entries x blocks of columns x groups of rows."""
        b, spec = self.b, self.spec
        lead = tuple(self.batch)
        places = [
            self._batch_place(layout) for layout in (spec.lhs, spec.rhs, spec.output)
        ]
        places += [Affine(place.origin, place.strides[:-2]) for place in self.extras]
        per_unit = max(1, ROWS_PER_UNIT // spec.block.rows) * spec.block.rows
        blocks = -(-self.columns // self.width)
        groups = -(-self.rows // per_unit)
        units = [Affine(p.origin, (*p.strides, 0, 0)) for p in places]

        def unit(point: list[Index], bases: list[Index]) -> None:
            column_block, group = point[-2:]
            for_blocks(
                b,
                self.columns,
                self.width,
                column_block,
                lambda first, columns: for_blocks(
                    b,
                    self.rows,
                    per_unit,
                    group,
                    lambda row, rows: self._panel(bases, row, rows, first, columns),
                ),
            )

        for_units(b, (*lead, blocks, groups), units, unit)

    def _batch_place(self, layout: Layout) -> Affine:
        """The first element of each matrix, as a function of the batch entry."""
        batch = Layout(layout.shape[:-2], layout.strides[:-2], layout.origin)
        view: View = broadcast(batch, tuple(self.batch))
        size = len(self.batch)
        return view.affine((1,) * size, (0,) * size)

    def _panel(
        self, bases: Sequence[Index], row: Index, rows: int, first: Index, columns: int
    ) -> None:
        """A group of rows times one block of columns."""
        b, spec = self.b, self.spec
        masks = column_masks(b, columns, spec.block.vectors)
        here = b.plus(bases[1], b.times(first, spec.rhs.strides[-1]))
        step, source, base = spec.rhs.strides[-2], b["b"], here
        if self.packed is not None:
            self._pack(here, masks)
            step, source, base = len(masks) * b.lanes, self.packed, 0
            loads: list[SSAValue | None] = [None] * len(masks)
        else:
            loads = masks

        def block(number: Index) -> None:
            for_blocks(
                b,
                rows,
                spec.block.rows,
                number,
                lambda at, count: one(b.plus(row, at), count),
            )

        def one(at: Index, count: int) -> None:
            start = b.plus(bases[0], b.times(at, spec.lhs.strides[-2]))
            a_rows = [(start, r * spec.lhs.strides[-2]) for r in range(count)]
            a_step = spec.lhs.strides[-1]
            operands = Operands("a", a_rows, a_step, source, base, step)
            totals = accumulate(b, operands, self.depth, loads)
            target = b.plus(bases[2], b.times(at, spec.output.strides[-2]), first)
            for r, values in enumerate(totals):
                for v, (value, mask) in enumerate(zip(values, masks, strict=True)):
                    offset = r * spec.output.strides[-2] + v * b.lanes
                    cell = _Cell(bases[3:], at, first, r, v * b.lanes, mask)
                    done = apply_steps(b, value, spec.steps, partial(self._extra, cell))
                    b.store(done, "y", target, offset=offset, mask=mask)

        b.repeat(-(-rows // spec.block.rows), block)

    def _extra(self, cell: _Cell, number: int) -> SSAValue:
        """The lanes of an extra operand that belong to a register."""
        b, name = self.b, f"extra{number}"
        down, along = self.extras[number].strides[-2:]
        parts = b.times(cell.row, down), b.times(cell.column, along)
        at, offset = b.plus(cell.bases[number], *parts), cell.rows * down
        if along == 0:
            return b.splat(b.load(name, at, lanes=1, offset=offset))
        offset += cell.columns * along
        return b.load(name, at, offset=offset, stride=along, mask=cell.mask)

    def _pack(self, here: Index, masks: Sequence[SSAValue | None]) -> None:
        """Copy a block of columns to scratch; missing columns become 0."""
        b, packed = self.b, self.packed
        assert packed is not None
        width, step = len(masks) * b.lanes, self.spec.rhs.strides[-1]

        def row(k: Index) -> None:
            at = b.plus(here, b.times(k, self.spec.rhs.strides[-2]))
            to = b.times(k, width)
            for v, mask in enumerate(masks):
                offset = v * b.lanes * step
                value = b.load("b", at, offset=offset, stride=step, mask=mask)
                b.store(value, packed, to, offset=v * b.lanes)

        b.repeat(self.depth, row)
