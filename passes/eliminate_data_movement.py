"""Fold ops that only move elements into the addresses of those who read or write them.

What: the result of a transpose, reshape, slice or broadcast becomes its input seen with
other strides, or the input is written where the result is to lie; parts of a
concatenation are written in place.

Why: attention splits its heads and merges them again, which moves every activation four
times per layer and computes nothing. A matrix product reads and writes rows that are
some distance apart as easily as neighbours.

How: layouts are strides, an origin and a buffer (`#sq.strided`), and each op of
movement maps the layout of its input to one of its result (`edgec.kernels.strides`).
One walk over these ops, in order, with three attempts. (1) Forward: the layout follows
the op and those of movement behind it up to readers that compute; if the table of
mapping types does not forbid any pair and every reader's kernel takes those strides,
the op is free. (2) Backward: otherwise, if only this op reads its input and the kernel
that writes the input can write those strides, that kernel does the moving. (3) One copy
for two: an op before a reshape that must copy anyway becomes free, since a copy reads
with any strides; with (2) a transpose, a reshape and a transpose are one copy. Then
concatenations, the last first: what a kernel writes for one of them alone goes straight
to its place.

Invariants: needs layouts (after `layout-tuning`), leaves `#sq.strided` on results of
ops of movement and on what is read by them. Arguments and results of the function and
tensors with a `#sq.lane` layout keep their layouts. Values do not change.

Source: Niu et al., "SmartMem: Layout Transformation Elimination and Adaptation for
Efficient DNN Execution on Mobile" (ASPLOS 2024), section 3.2; which pairs may become
one op: DNNFusion (PLDI 2021), table 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, NoneAttr, TensorType
from xdsl.ir import Block, Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.dialects import nn, sq
from edgec.kernels.gaps import has_gaps
from edgec.kernels.layout import Layout, stored_shape
from edgec.kernels.move import reshaped_pair
from edgec.kernels.operands import (
    has_aligned_parts,
    in_place,
    layout_of,
)
from edgec.kernels.strides import View, is_same_place, part_of, seen_through, written
from edgec.passes.analysis.mapping import (
    MAPPING_TYPES,
    MappingType,
    Verdict,
    fusion,
    mapping_type,
)
from edgec.passes.base import ReportingPass

Move = nn.TransposeOp | nn.SliceOp | nn.BroadcastOp | nn.PadOp
Matmul = nn.MatmulOp | sq.MatmulOp
Linear = nn.LinearOp | sq.LinearOp
Pointwise = nn.UnaryOp | nn.BinaryOp | sq.ElementwiseOp
Rowwise = nn.SoftmaxOp | nn.LayerNormOp | nn.ReduceOp

STATISTICS = ("moves", "read_in_place", "written_in_place", "parts_in_place", "copies")


def is_free(op: Operation) -> bool:
    """Whether the result of an op of movement lies where its input lies."""
    if not isinstance(op, View):
        return False
    view = seen_through(op, layout_of(op.input))
    return view is not None and is_same_place(view, layout_of(op.result))


def can_read(op: Operation, operand: int, place: Layout) -> bool:
    """Whether the kernel of `op` takes an operand of such a layout.

    Kernels read along the last dimension; those that read an operand several times
    must find neighbours there.
    """
    step = place.strides[-1] if place.strides else 1
    if isinstance(op, nn.ReshapeOp):
        return reshaped_pair(place, layout_of(op.result)) is not None
    if isinstance(op, Linear):
        is_weight = op.operands[operand] in (op.weight, op.bias)
        is_near = step == 1 or (operand > 0 and step == 0)
        return is_near and not is_weight and is_dense(op)
    if isinstance(op, Rowwise):
        return operand == 0 and step == 1
    if isinstance(op, Pointwise) and sq.has_integers(*op.operands, op.result):
        return step == 1
    if isinstance(op, nn.CastOp) and sq.has_bf16(op.input, op.result):
        return step == 1
    return isinstance(op, Move | Matmul | Pointwise | nn.ConcatOp | nn.CastOp)


def can_write(op: Operation, place: Layout) -> bool:
    """Whether the kernel of `op` writes such a layout as fast as another."""
    is_near = place.strides[-1:] == (1,)
    if isinstance(op, nn.ReshapeOp):
        return reshaped_pair(layout_of(op.input), place) is not None
    if isinstance(op, Linear):
        return is_near and is_dense(op)
    if isinstance(op, Matmul | Pointwise | nn.SoftmaxOp | nn.LayerNormOp):
        return is_near
    return isinstance(op, Move)


def is_dense(op: Linear) -> bool:
    """Whether a linear layer runs on a kernel that takes rows of any distance."""
    is_flat = len(nn.shape_of(op.input)) == 2 or not sq.has_integers(op.input)
    return is_flat and not isinstance(op.weight.owner, sq.WeightOp)


def can_follow(op: Operation, place: Layout, kind: MappingType) -> bool:
    """Whether all readers of an op of movement take its result at `place`.

    `kind` is the mapping type of it and those before it.
    """
    for use in op.results[0].uses:
        reader = use.operation
        if type(reader) not in MAPPING_TYPES:
            return False
        pair = fusion(kind, mapping_type(reader, use.index))
        if pair.verdict is Verdict.BREAK:
            return False
        if isinstance(reader, View):
            view = seen_through(reader, place)
            if view is None or not can_follow(reader, view, pair.result):
                return False
        elif not can_read(reader, use.index, place):
            return False
    return True


def read_in_place(op: View) -> bool:
    """Attempt (1): readers find the result of `op` in the buffer of its input."""
    place = seen_through(op, layout_of(op.input))
    if place is None or not can_follow(op, place, mapping_type(op)):
        return False
    put(op.result, place)
    return True


def write_in_place(op: View) -> bool:
    """Attempt (2): who makes the input of `op` writes the result."""
    place = written(op, layout_of(op.result))
    writer = op.input.owner
    if place is None or isinstance(writer, Block) or has_gaps(layout_of(op.result)):
        return False
    is_alone = op.input.has_one_use() and is_own(op.input) and is_own(op.result)
    if not is_alone or is_free(writer) or not can_write(writer, place):
        return False
    if fusion(mapping_type(writer), mapping_type(op)).verdict is Verdict.BREAK:
        return False
    put(op.input, place)
    return True


def read_by_copy(op: View) -> bool:
    """Attempt (3): the reshape that reads `op` copies in its stead.

    It gains where that one copies anyway, or spares the op behind it the same.
    """
    place = seen_through(op, layout_of(op.input))
    reader = sole_reader(op)
    if place is None or not isinstance(reader, nn.ReshapeOp):
        return False
    if not can_read(reader, 0, place):
        return False
    behind = sole_reader(reader)
    copies_later = isinstance(behind, nn.TransposeOp) and not is_free(behind)
    if is_free(reader) and not copies_later:
        return False
    put(op.result, place)
    return True


def sole_reader(op: Operation) -> Operation | None:
    """The op that reads the result of `op`, if there is but one."""
    uses = list(op.results[0].uses)
    return uses[0].operation if len(uses) == 1 else None


def is_own(value: SSAValue) -> bool:
    """Whether a tensor can still be given a layout: none is set, none is demanded."""
    is_returned = any(type(u.operation) not in MAPPING_TYPES for u in value.uses)
    return not is_returned and isinstance(nn.tensor_type(value).encoding, NoneAttr)


def put(value: SSAValue, place: Layout) -> None:
    """Give a tensor a layout."""
    old = nn.tensor_type(value)
    encoding = sq.StridedAttr.of(place.strides, place.origin, place.elements)
    type_ = TensorType(old.element_type, old.get_shape(), encoding)
    Rewriter.replace_value_with_new_type(value, type_)


def place_parts(op: nn.ConcatOp) -> int:
    """Write the inputs of a concatenation where they belong; how many."""
    whole, axis, start = layout_of(op.result), op.axis.value.data, 0
    count = 0
    if not has_aligned_parts(op):
        return count
    for value in op.inputs:
        shape, writer = stored_shape(value), value.owner
        place = part_of(whole, axis, start, shape)
        start += shape[axis]
        if place is None or has_gaps(whole) or isinstance(writer, Block):
            continue
        is_alone = value.has_one_use() and is_own(value) and not is_free(writer)
        is_whole = isinstance(writer, nn.ConcatOp) or can_write(writer, place)
        if is_alone and is_whole:
            put(value, place)
            count += 1
    return count


@dataclass(frozen=True)
class EliminateDataMovement(ReportingPass):
    """Fold ops that only move elements into the addresses of readers and writers.

    **Before**

    ```mlir
    func.func @main(%q: tensor<3x4xf32>, %k: tensor<3x4xf32>) -> tensor<3x6xf32> {
      %a = nn.reshape %q : (tensor<3x4xf32>) -> tensor<3x2x2xf32>
      %b = nn.transpose %a {permutation = array<i64: 1, 0, 2>}
        : (tensor<3x2x2xf32>) -> tensor<2x3x2xf32>
      %c = nn.reshape %k : (tensor<3x4xf32>) -> tensor<3x2x2xf32>
      %d = nn.transpose %c {permutation = array<i64: 1, 2, 0>}
        : (tensor<3x2x2xf32>) -> tensor<2x2x3xf32>
      %e = nn.matmul %b, %d
        : (tensor<2x3x2xf32>, tensor<2x2x3xf32>) -> tensor<2x3x3xf32>
      %f = nn.transpose %e {permutation = array<i64: 1, 0, 2>}
        : (tensor<2x3x3xf32>) -> tensor<3x2x3xf32>
      %g = nn.reshape %f : (tensor<3x2x3xf32>) -> tensor<3x6xf32>
      %h = nn.unary relu %g : (tensor<3x6xf32>) -> tensor<3x6xf32>
      func.return %h : tensor<3x6xf32>
    }
    ```

    **After**

    ```mlir
    #rows = #sq.strided<strides = [4, 2, 1], origin = 0, elements = 12>
    #heads = #sq.strided<strides = [2, 4, 1], origin = 0, elements = 12>
    #columns = #sq.strided<strides = [2, 1, 4], origin = 0, elements = 12>
    #merged = #sq.strided<strides = [3, 6, 1], origin = 0, elements = 82>
    func.func @main(%q: tensor<3x4xf32>, %k: tensor<3x4xf32>) -> tensor<3x6xf32> {
      %a = nn.reshape %q : (tensor<3x4xf32>) -> tensor<3x2x2xf32, #rows>
      %b = nn.transpose %a {permutation = array<i64: 1, 0, 2>}
        : (tensor<3x2x2xf32, #rows>) -> tensor<2x3x2xf32, #heads>
      %c = nn.reshape %k : (tensor<3x4xf32>) -> tensor<3x2x2xf32, #rows>
      %d = nn.transpose %c {permutation = array<i64: 1, 2, 0>}
        : (tensor<3x2x2xf32, #rows>) -> tensor<2x2x3xf32, #columns>
      %e = nn.matmul %b, %d : (tensor<2x3x2xf32, #heads>,
        tensor<2x2x3xf32, #columns>) -> tensor<2x3x3xf32, #merged>
      %f = nn.transpose %e {permutation = array<i64: 1, 0, 2>}
        : (tensor<2x3x3xf32, #merged>) -> tensor<3x2x3xf32>
      %g = nn.reshape %f : (tensor<3x2x3xf32>) -> tensor<3x6xf32>
      %h = nn.unary relu %g : (tensor<3x6xf32>) -> tensor<3x6xf32>
      func.return %h : tensor<3x6xf32>
    }
    ```
    """

    name = "eliminate-data-movement"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return ops of movement, how many became free by what, and those that copy."""
        counts: dict[str, int] = dict.fromkeys(STATISTICS, 0)
        moves = [move for move in op.walk() if isinstance(move, View)]
        concats = [move for move in op.walk() if isinstance(move, nn.ConcatOp)]
        counts["moves"] = len(moves) + len(concats)
        for move in moves:
            if is_free(move) or not is_own(move.result):
                continue
            if read_in_place(move):
                counts["read_in_place"] += 1
            elif write_in_place(move):
                counts["written_in_place"] += 1
            elif read_by_copy(move):
                counts["read_in_place"] += 1
        for concat in reversed(concats):
            counts["parts_in_place"] += place_parts(concat)
        counts["copies"] = sum(not is_free(move) for move in moves)
        counts["copies"] += sum(not all(in_place(concat)) for concat in concats)
        return counts
