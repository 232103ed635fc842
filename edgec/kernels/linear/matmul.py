"""Products of matrices, batched and broadcast.

Lanes are the columns of the result. Where many rows use it, a block of columns of the
right side is first copied to the thread's scratch, so that it is one stream: rows of a
large matrix lie in different pages, and the processor keeps few of them at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
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

    def __post_init__(self) -> None:
        require_unphased("matmul", self.lhs, self.rhs, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: a, b, y."""
        buffers = {
            "a": buffer_type(self.lhs.elements),
            "b": buffer_type(self.rhs.elements),
            "y": buffer_type(self.output.elements),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        zero_all_gaps(b, "y", self.output)
        return b.finish()


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
        self.packed = (
            b.scratch(size) if blocks >= PACK_FROM and size <= PACK_ELEMENTS else None
        )

    def build(self) -> None:
        """Units are batch entries x blocks of columns x groups of rows."""
        b, spec = self.b, self.spec
        lead = tuple(self.batch)
        places = [
            self._batch_place(layout) for layout in (spec.lhs, spec.rhs, spec.output)
        ]
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
        here = b.plus(bases[1], first)
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
                    b.store(value, "y", target, offset=offset, mask=mask)

        b.repeat(-(-rows // spec.block.rows), block)

    def _pack(self, here: Index, masks: Sequence[SSAValue | None]) -> None:
        """Copy a block of columns to scratch; missing columns become 0."""
        b, packed = self.b, self.packed
        assert packed is not None
        width = len(masks) * b.lanes

        def row(k: Index) -> None:
            at = b.plus(here, b.times(k, self.spec.rhs.strides[-2]))
            to = b.times(k, width)
            for v, mask in enumerate(masks):
                value = b.load("b", at, offset=v * b.lanes, mask=mask)
                b.store(value, packed, to, offset=v * b.lanes)

        b.repeat(self.depth, row)
