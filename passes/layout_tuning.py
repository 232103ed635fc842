"""What: choose the layout of every tensor and the schedule of every convolution.

Why: zero padding that lies in the gaps between rows costs a few lanes; testing for the
border at run time, or copying the input to pad it, costs a pass over memory. Rows of
one pitch from layer to layer make a tap a constant offset and leave no row tails. The
right register block depends on the size of the plane: at 7x7 a tile of 3 vectors wastes
half.

How: (1) `sq.convert_layout` parts the network where pitches of their own are predicted
to save more than the copies cost (`analysis.choices`); (2) tensors that flat-position
convolutions tie together form groups of one pitch, the longest that a member needs
(`analysis.rows`), and with depth of one number of rows from slice to slice; (3) each
tensor gets the gaps that its readers need; (4) `sq.convert_layout` is inserted where a
layout cannot be had for nothing: a caller's own input, a result, a reshape between
tensors with gaps, and the split into phases before a stride; (5) each convolution
without a schedule gets the register block, or the tile and channel block, with the
fewest predicted cycles (`analysis.schedules`).

Invariants: needs a `kernel` on every `sq.conv` (after `choose-kernel`); leaves
schedules in them and layouts on their tensors; arguments and results of the function
stay plain. Values do not change.

Source: PatDNN (ASPLOS 2020), section 5.5 (parameter tuning by a model); Anderson and
Gregg (CGO 2018) for layouts as one problem of the whole network; the layout is this
project's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, NoneAttr, TensorType
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.dialects import nn, sq
from edgec.kernels.cost import Registers
from edgec.kernels.gaps import has_gaps
from edgec.kernels.layout import layout
from edgec.passes.analysis.choices import Copy, Layer, choose, conversion_cycles
from edgec.passes.analysis.rows import (
    Grid,
    convolutions,
    family_of,
    is_full,
    is_split,
    phase_layout,
    place,
    row_groups,
)
from edgec.passes.analysis.schedules import Machine, best_schedule, cycles_of
from edgec.passes.base import ReportingPass


def separate(copies: Sequence[Copy]) -> int:
    """Give readers a tensor of their own where they shall have another grid."""
    made: dict[tuple[SSAValue, Grid], SSAValue] = {}
    for copy in copies:
        key = (copy.value, copy.grid)
        if key not in made:
            op = sq.ConvertLayoutOp(copy.value, NoneAttr())
            insert_after(op, copy.value)
            made[key] = op.result
        for index, value in enumerate(copy.reader.operands):
            if value is copy.value:
                copy.reader.operands[index] = made[key]
    return len(made)


def copy_fixed(convs: Sequence[sq.ConvOp]) -> None:
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
) -> None:
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


def plain_reshapes(module: ModuleOp) -> None:
    """Close the gaps before reshapes between two tensors with gaps.

    Rows of two lengths fall out of step, so no nest of loops copies from one to the
    other. Linear layers on integers, which flatten what they read, take none either.
    """
    for op in list(module.walk()):
        if not isinstance(op, nn.ReshapeOp | sq.LinearOp):
            continue
        is_linear = isinstance(op, sq.LinearOp)
        if has_gaps(layout(op.input)) and (is_linear or has_gaps(layout(op.result))):
            copy = sq.ConvertLayoutOp(op.input, NoneAttr())
            block = op.parent_block()
            assert block is not None
            block.insert_op_before(copy, op)
            op.operands[0] = copy.result


def plain_results(module: ModuleOp) -> None:
    """Convert results of the function back to row-major without gaps."""
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


def lay_out(op: ModuleOp, convs: Sequence[sq.ConvOp]) -> int:
    """Give tensors layouts, and copy where one is not to be had otherwise."""
    copy_fixed(convs)
    groups, layouts = row_groups(op), 0
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
            layouts += 1
    plain_reshapes(op)
    split_phases(convs, phases)
    plain_results(op)
    return layouts


def has_layouts(module: ModuleOp) -> bool:
    """Whether the pass has been here: it leaves conversions, or nothing to convert."""
    return any(isinstance(op, sq.ConvertLayoutOp) for op in module.walk())


def chosen_family(layer: Layer) -> tuple[str, ...]:
    """The one family that `choose-kernel` has left."""
    if isinstance(layer, sq.ConvOp):
        return (family_of(layer),)
    return ("dense",) if layer.kernel is None else (layer.kernel.family.data,)


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
    separate: bool = True
    """Let parts of a network have a pitch of their own; off to measure the gain."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count what has a layout or a schedule, and predict cycles of one core."""
        names = ("layouts", "conversions", "separated", "schedules")
        cycles = ("layer_cycles", "conversion_cycles")
        counts: dict[str, int] = dict.fromkeys((*names, *cycles), 0)
        convs = convolutions(op)
        if has_layouts(op):
            return counts
        registers = Registers(self.lanes, self.registers)
        machine = Machine(
            registers, self.l1_bytes, self.l2_bytes, self.tune, self.share
        )
        if self.separate and convs:
            choices = choose(op, registers, self.l1_bytes, chosen_family)
            counts["separated"] = separate(choices.copies)
        counts["layouts"] = lay_out(op, convs)
        for conv in convs:
            if conv.kernel is not None and not conv.kernel.settings:
                settings = best_schedule(conv, machine).settings
                family = family_of(conv)
                conv.properties["kernel"] = sq.KernelAttr.of(family, settings)
            counts["schedules"] += 1
            counts["layer_cycles"] += round(cycles_of(conv, machine))
        for copy in op.walk():
            if isinstance(copy, sq.ConvertLayoutOp):
                counts["conversions"] += 1
                counts["conversion_cycles"] += round(conversion_cycles(copy.input))
        return counts
