"""What: choose the layout of every tensor and the schedule of every convolution.

Why: zero padding that lies in the gaps between rows costs a few lanes; testing for the
border at run time, or copying the input to pad it, costs a pass over memory. Rows of
one pitch from layer to layer make a tap a constant offset and leave no row tails. The
right register block depends on the size of the plane: at 7x7 a tile of 3 vectors wastes
half.

How: (1) tensors that flat-position convolutions tie together form groups of one pitch,
the longest that a member needs (`analysis.rows`), and with depth of one number of rows
from slice to slice; (2) each tensor gets the gaps that its readers need; (3)
`sq.convert_layout` is inserted where a layout cannot be had for nothing: a caller's own
input, a result, a reshape between tensors with gaps, and the split into phases before a
stride; (4) each convolution gets the register block, or the tile and channel block,
with the fewest predicted cycles (`edgec.kernels.cost`).

Invariants: needs a `kernel` on every `sq.conv` (after `choose-kernel`); leaves
schedules in them and layouts on their tensors; arguments and results of the function
stay plain. Values do not change.

Source: PatDNN (ASPLOS 2020), section 5.5 (parameter tuning by a model); the layout is
this project's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, NoneAttr, TensorType
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.dialects import nn, sq
from edgec.kernels.conv.pattern_loops import FORMS
from edgec.kernels.cost import Block as RegisterBlock
from edgec.kernels.cost import (
    Registers,
    Tile,
    best_block,
    best_tile,
    num_tiles,
)
from edgec.kernels.cost_columns import best_columns_block
from edgec.kernels.gaps import has_gaps
from edgec.kernels.layout import layout
from edgec.passes.analysis.rows import (
    convolutions,
    is_full,
    is_split,
    phase_layout,
    place,
    row_groups,
)
from edgec.passes.analysis.sparse import column_layer, sparse_layer
from edgec.passes.base import ReportingPass

FEW_TILES = 4
"""Tiles of a sparse layer below which its filters are split too."""
CHUNK_UNITS = 32
"""Units of work per layer to aim for, so that threads finish together."""


@dataclass(frozen=True)
class Machine:
    """What schedules depend on."""

    registers: Registers
    l1_bytes: int
    l2_bytes: int


def positions_of(op: sq.ConvOp) -> int:
    """Positions of a plane that a flat-position kernel computes."""
    result = layout(op.result)
    return result.rows * result.pitch


def dense_schedule(op: sq.ConvOp, machine: Machine) -> dict[str, int]:
    """Register block and tiles per unit of a dense convolution."""
    weight = nn.shape_of(op.weight)
    block = best_block(
        machine.registers,
        positions=positions_of(op),
        filters=weight[0] // op.groups.value.data,
        columns=math.prod(weight[1:]),
    )
    return _flat_schedule(op, block, machine)


def columns_schedule(
    op: sq.ConvOp, encoding: sq.ColumnsAttr, machine: Machine
) -> dict[str, int]:
    """Register block and tiles per unit of a convolution in compressed columns."""
    layer = column_layer(op, encoding, positions_of(op))
    block = best_columns_block(layer, machine.registers)
    return _flat_schedule(op, block, machine)


def _flat_schedule(
    op: sq.ConvOp, block: RegisterBlock, machine: Machine
) -> dict[str, int]:
    """Tiles per unit: many units, and what a unit reads stays in L2.

    Rows of one slice are shared by neighbouring tiles, slices are too far apart.
    """
    weight, result = nn.shape_of(op.weight), nn.shape_of(op.result)
    groups = op.groups.value.data
    tile = block.vectors * machine.registers.lanes
    tiles = max(1, positions_of(op) // tile)
    units = result[0] * groups * -(-weight[0] // groups // block.filters)
    chunks = min(tiles, max(1, -(-CHUNK_UNITS // units)))
    planes = weight[1] * math.prod(weight[2:-2])
    in_l2 = max(1, machine.l2_bytes // 3 // (planes * tile * 4))
    chunk = min(-(-tiles // chunks), in_l2)
    return {"filters": block.filters, "vectors": block.vectors, "chunk": chunk}


def pattern_schedule(
    op: sq.ConvOp,
    encoding: sq.PatternAttr | sq.ColumnsAttr,
    machine: Machine,
    *,
    tuned: bool,
    share: bool,
) -> dict[str, int]:
    """Tile, channel block and parts of a pattern-sparse convolution.

    `form` is the number of a form in `edgec.kernels.conv.pattern_loops`. Without tuning
    the kernel reads its input in place, all channels at once, with the taps as
    constants.
    """
    result, lanes = nn.shape_of(op.result), machine.registers.lanes
    layer = sparse_layer(op, encoding)
    if tuned:
        tile = best_tile(layer, machine.registers, machine.l1_bytes)
    else:
        tile = best_tile(layer, machine.registers, machine.l1_bytes, most_bands=1)
        tile = Tile(tile.rows, layer.channels)
    tiles = result[0] * num_tiles(layer, tile, lanes)
    # Each part packs all channels again, which pays only where tiles are very few.
    splits = 1 if tiles >= FEW_TILES else -(-2 * FEW_TILES // tiles)
    splits = min(splits, max(1, result[1] // 16))
    if tuned or isinstance(encoding, sq.ColumnsAttr):
        form = "pairs" if share else "table"
    else:
        form = "runs" if encoding.is_ordered else "switch"
    return {
        "form": FORMS.index(form),
        "packed": int(tuned),
        "rows": tile.rows,
        "bands": tile.bands,
        "block": tile.channels,
        "splits": splits,
    }


def copy_fixed(convs: Sequence[sq.ConvOp]) -> int:
    """Copy what convolutions read but nobody here writes: arguments and constants.

    A copy can be given any layout, and kernels may read past its end. An input that is
    split into phases is copied by that.
    """
    copies: dict[SSAValue, SSAValue] = {}
    for conv in convs:
        full = [x for x in conv.extras if is_full(x, conv.result)]
        inputs = () if is_split(conv) else (conv.input,)
        for value in (*inputs, *full):
            fixed = isinstance(value.owner, Block | nn.ConstantOp)
            if fixed and value not in copies:
                copy = sq.ConvertLayoutOp(value, NoneAttr())
                insert_after(copy, value)
                copies[value] = copy.result
        for index, value in enumerate(conv.operands):
            if value in copies and (value in inputs or value in full):
                conv.operands[index] = copies[value]
    return len(copies)


def insert_after(op: Operation, value: SSAValue) -> None:
    """Insert `op` where `value` is just defined."""
    owner = value.owner
    if isinstance(owner, Block):
        first = owner.first_op
        assert first is not None
        owner.insert_op_before(op, first)
    else:
        block = owner.parent_block()
        assert block is not None
        block.insert_op_after(op, owner)


def split_phases(
    convs: Sequence[sq.ConvOp], phases: Sequence[sq.LaneAttr | None]
) -> int:
    """Convert the inputs of strided convolutions; equal conversions are shared."""
    made: dict[tuple[SSAValue, sq.LaneAttr], SSAValue] = {}
    for conv, phase in zip(convs, phases, strict=True):
        if phase is None:
            continue
        key = (conv.input, phase)
        if key not in made:
            copy = sq.ConvertLayoutOp(conv.input, phase)
            insert_after(copy, conv.input)
            made[key] = copy.result
        conv.operands[0] = made[key]
    return len(made)


def plain_reshapes(module: ModuleOp) -> int:
    """Close the gaps before reshapes between two tensors with gaps.

    Rows of two lengths fall out of step, so no nest of loops copies from one to the
    other.
    """
    conversions = 0
    for op in list(module.walk()):
        if not isinstance(op, nn.ReshapeOp):
            continue
        if has_gaps(layout(op.input)) and has_gaps(layout(op.result)):
            copy = sq.ConvertLayoutOp(op.input, NoneAttr())
            block = op.parent_block()
            assert block is not None
            block.insert_op_before(copy, op)
            op.operands[0] = copy.result
            conversions += 1
    return conversions


def plain_results(module: ModuleOp) -> int:
    """Convert results of the function back to row-major without gaps."""
    conversions = 0
    for op in module.walk():
        if not isinstance(op, func.ReturnOp):
            continue
        for index, value in enumerate(op.operands):
            if isinstance(nn.tensor_type(value).encoding, NoneAttr):
                continue
            copy = sq.ConvertLayoutOp(value, NoneAttr())
            block = op.parent_block()
            assert block is not None
            block.insert_op_before(copy, op)
            op.operands[index] = copy.result
            conversions += 1
    return conversions


@dataclass(frozen=True)
class LayoutTuning(ReportingPass):
    """Give the tensors of convolutions layouts, and convolutions schedules.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %w = nn.constant "w" : tensor<2x1x3x3xf32>
      %y = sq.conv %x, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>,
        padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64,
        epilogue = [], kernel = #sq.kernel<"dense">}
        : tensor<1x1x4x4xf32>, tensor<2x1x3x3xf32> -> tensor<1x2x4x4xf32>
      func.return %y : tensor<1x2x4x4xf32>
    }
    ```

    **After**

    ```mlir
    #in = #sq.lane<pitch = 5, plane = 32, origin = 16, phase = [1, 1]>
    #out = #sq.lane<pitch = 5, plane = 32, origin = 0, phase = [1, 1]>
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %p = sq.convert_layout %x
        : (tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32, #in>
      %w = nn.constant "w" : tensor<2x1x3x3xf32>
      %y = sq.conv %p, %w {stride = array<i64: 1, 1>, padding_low = array<i64: 1, 1>,
        padding_high = array<i64: 1, 1>, dilation = array<i64: 1, 1>, groups = 1 : i64,
        epilogue = [],
        kernel = #sq.kernel<"dense", {chunk = 1, filters = 2, vectors = 3}>}
        : tensor<1x1x4x4xf32, #in>, tensor<2x1x3x3xf32> -> tensor<1x2x4x4xf32, #out>
      %r = sq.convert_layout %y
        : (tensor<1x2x4x4xf32, #out>) -> tensor<1x2x4x4xf32>
      func.return %r : tensor<1x2x4x4xf32>
    }
    ```
    """

    name = "layout-tuning"

    lanes: int = 8
    """f32 lanes of a vector register."""
    registers: int = 16
    """Number of vector registers."""
    l1_bytes: int = 32768
    """Level 1 data cache of a core."""
    l2_bytes: int = 1048576
    """Level 2 cache of a core."""
    tune: bool = True
    """Pack strips and block channels of sparse layers; off to measure what it gains."""
    share: bool = True
    """One load for two taps of sparse layers; off to measure what it gains."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count tensors with a layout, conversions, and scheduled convolutions."""
        machine = Machine(
            Registers(self.lanes, self.registers), self.l1_bytes, self.l2_bytes
        )
        counts = {"layouts": 0, "conversions": 0, "schedules": 0}
        convs = convolutions(op)
        if any(c.kernel is not None and c.kernel.settings for c in convs):
            return counts
        counts["conversions"] += copy_fixed(convs)
        groups = row_groups(op)
        phases = [
            phase_layout(conv, groups.grid(conv.result)) if is_split(conv) else None
            for conv in convs
        ]
        for value in list(groups.parent):
            shape, gaps = nn.shape_of(value), groups.gaps_of(value)
            encoding = place(shape, gaps, groups.grid(value))
            if encoding is not None:
                old = nn.tensor_type(value)
                type_ = TensorType(old.element_type, shape, encoding)
                Rewriter.replace_value_with_new_type(value, type_)
                counts["layouts"] += 1
        counts["conversions"] += plain_reshapes(op)
        counts["conversions"] += split_phases(convs, phases)
        for conv in convs:
            self._schedule(conv, machine)
            counts["schedules"] += 1
        counts["conversions"] += plain_results(op)
        return counts

    def _schedule(self, op: sq.ConvOp, machine: Machine) -> None:
        assert op.kernel is not None
        family = op.kernel.family.data
        encoding = nn.tensor_type(op.weight).encoding
        if family == "pattern":
            assert isinstance(encoding, sq.PatternAttr | sq.ColumnsAttr)
            settings = pattern_schedule(
                op, encoding, machine, tuned=self.tune, share=self.share
            )
        elif family == "columns":
            assert isinstance(encoding, sq.ColumnsAttr)
            settings = columns_schedule(op, encoding, machine)
        elif family == "depthwise":
            settings = {"vectors": 4}
        else:
            settings = dense_schedule(op, machine)
        op.properties["kernel"] = sq.KernelAttr.of(family, settings)
