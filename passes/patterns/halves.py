"""Tensors in bfloat16: casts, layers that compute in it, ops that hand it on."""

from __future__ import annotations

import math

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType, bf16, f32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.context import weights_of
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.passes.constants import decode_weight
from edgec.passes.patterns.rewriting import erase_dead

Mover = nn.PoolOp | nn.ConcatOp | nn.ResizeOp | nn.SliceOp
"""Ops that take tensors of bf16 as they are."""


def cast(value: SSAValue, element: Attribute) -> SSAValue:
    """The tensor in another precision; casts there and back are left out."""
    held = held_bf16(value)
    if held is not None and element == bf16:
        return held
    for use in value.uses:
        reader = use.operation
        if isinstance(reader, nn.CastOp) and element_of(reader.result) == element:
            return reader.result
    op, owner = nn.CastOp(value, element), value.owner
    if isinstance(owner, Operation):
        block = owner.parent_block()
        assert block is not None
        block.insert_op_after(op, owner)
    else:
        first = owner.first_op
        assert first is not None
        owner.insert_op_before(op, first)
    return op.result


def held_bf16(value: SSAValue) -> SSAValue | None:
    """The tensor of bf16 that a float32 one is a cast of; None if it is another."""
    owner = value.owner
    if isinstance(owner, nn.CastOp) and sq.has_bf16(owner.input):
        return owner.input
    return None


def element_of(value: SSAValue) -> Attribute:
    """The type of the numbers of a tensor."""
    return nn.tensor_type(value).element_type


def retype(value: SSAValue, element: Attribute) -> SSAValue:
    """Give a result another element type."""
    type_ = TensorType(element, nn.shape_of(value))
    return Rewriter.replace_value_with_new_type(value, type_)


def hold_bf16(op: Operation) -> None:
    """Let the result of an op hold bf16; all readers get it back in float32."""
    readers = list(op.results[0].uses)
    result = retype(op.results[0], bf16)
    back = nn.CastOp(result, f32)
    block = op.parent_block()
    assert block is not None
    block.insert_op_after(back, op)
    for use in readers:
        use.operation.operands[use.index] = back.result


def lower_layer(op: sq.ConvOp | sq.LinearOp, ctx: Context) -> None:
    """Let a layer compute in bfloat16."""
    if isinstance(op.weight.owner, sq.WeightOp):
        decode_weight(op, weights_of(ctx))
    if isinstance(op, sq.LinearOp):
        lower_linear(op)
    else:
        lower_conv(op)


def lower_conv(op: sq.ConvOp) -> None:
    """Let a convolution compute in bfloat16."""
    op.operands[0] = cast(op.input, bf16)
    for number, extra in enumerate(op.extras):
        held = held_bf16(extra)
        if held is not None and nn.shape_of(extra) == nn.shape_of(op.result):
            first = len(op.operands) - len(op.extras)
            op.operands[first + number] = held
    # What steps make of a filter that fills a pair may be infinite.
    if nn.shape_of(op.result)[1] % PAIR == 0:
        hold_bf16(op)


def lower_linear(op: sq.LinearOp) -> None:
    """Let a linear layer compute in bfloat16, on a matrix: its rows are pairs."""
    shape = nn.shape_of(op.result)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    new = op
    if len(shape) > 2:
        extras = [
            _reshaped(extra, rows_of_extra(nn.shape_of(extra), shape) or (), op)
            for extra in op.extras
        ]
        flat = _reshaped(op.input, (rows, nn.shape_of(op.input)[-1]), op)
        steps = [step for step in op.epilogue if isinstance(step, sq.StepAttr)]
        type_ = TensorType(f32, (rows, columns))
        new = sq.LinearOp(flat, op.weight, op.bias, extras, steps, type_)
        new.attributes.update(op.attributes)
        Rewriter.replace_op(op, [new, nn.ReshapeOp(new.result, shape)])
    new.operands[0] = cast(new.input, bf16)
    if columns % PAIR == 0:
        hold_bf16(new)


def rows_of_extra(
    extra: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The shape of an extra operand where the result has its rows in one dimension.

    None if it has one number for several rows, and others for others.
    """
    if extra == shape:
        return math.prod(shape[:-1]), shape[-1]
    if len(shape) == 2:
        return extra
    is_for_all = all(size == 1 for size in extra[:-1])
    return extra[-1:] if is_for_all else None


def _reshaped(value: SSAValue, shape: tuple[int, ...], place: Operation) -> SSAValue:
    """The same elements in another shape, before an op."""
    maker = value.owner
    if nn.shape_of(value) == shape:
        return value
    if isinstance(maker, nn.ReshapeOp) and nn.shape_of(maker.input) == shape:
        return maker.input
    op, block = nn.ReshapeOp(value, shape), place.parent_block()
    assert block is not None
    block.insert_op_before(op, place)
    return op.result


def is_mover(op: Operation) -> bool:
    """Whether an op can take bf16, if its operands are such."""
    if isinstance(op, nn.ConcatOp):
        *before, _ = [nn.shape_of(value) for value in op.inputs]
        is_whole = all(shape[1] % PAIR == 0 for shape in before)
        return op.axis.value.data == 1 and len(before[0]) > 2 and is_whole
    if isinstance(op, nn.SliceOp):
        before, after = nn.shape_of(op.input), nn.shape_of(op.result)
        return len(before) > 2 and before[1] == after[1]
    if isinstance(op, nn.ResizeOp):
        return op.kind.data is nn.ResizeKind.NEAREST
    return isinstance(op, nn.PoolOp)


def is_wanted(value: SSAValue) -> bool:
    """Whether something reads a tensor in bf16, or would if it were."""
    readers = [use.operation for use in value.uses]
    return any(
        (isinstance(reader, nn.CastOp) and sq.has_bf16(reader.result))
        or (is_mover(reader) and is_wanted(reader.results[0]))
        for reader in readers
    )


def move_bf16(op: Operation) -> bool:
    """Let an op between layers in bfloat16 take bf16; whether it does."""
    found = map(held_bf16, op.operands)
    held = [value for value in found if value is not None]
    if len(held) < len(op.operands) or not is_mover(op):
        return False
    if not is_wanted(op.results[0]):
        return False
    for number, value in enumerate(held):
        op.operands[number] = value
    hold_bf16(op)
    return True


def drop_casts(module: ModuleOp) -> None:
    """Leave out casts there and back, and what is rounded for nobody."""
    for op in list(module.walk()):
        if isinstance(op, nn.CastOp) and sq.has_bf16(op.result):
            found = cast(op.input, bf16)
            if found is not op.result:
                op.result.replace_all_uses_with(found)
    erase_dead(module)
    for op in list(module.walk()):
        if not isinstance(op, sq.ConvOp | sq.LinearOp) or not sq.has_bf16(op.result):
            continue
        readers = [use.operation for use in op.result.uses]
        if all(isinstance(reader, nn.CastOp) for reader in readers):
            result = retype(op.result, f32)
            for reader in readers:
                reader.results[0].replace_all_uses_with(result)
    erase_dead(module)
