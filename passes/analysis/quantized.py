"""Which ops work on quantized tensors as they are, and which of these are stored so."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD


def keeps_quads(op: Operation) -> bool:
    """Whether an op only moves values, channels stay together, and there is a kernel.

    Four channels share a lane of what integer kernels read (`kernels.layout`).
    """
    match op:
        case nn.ReshapeOp():
            return has_same_channels(op.input, op.result)
        case nn.SliceOp():
            sizes = nn.shape_of(op.input), nn.shape_of(op.result)
            return len(sizes[0]) > 1 and sizes[0][1] == sizes[1][1]
        case nn.ConcatOp():
            axis, sizes = op.axis.value.data, [nn.shape_of(v) for v in op.inputs]
            return axis != 1 or all(size[1] % QUAD == 0 for size in sizes[:-1])
        case _:
            return False


def has_same_channels(one: SSAValue, other: SSAValue) -> bool:
    """Whether two shapes have the same first two dimensions, and one more at least."""
    shapes = nn.shape_of(one), nn.shape_of(other)
    return shapes[0][:2] == shapes[1][:2] and min(map(len, shapes)) > 2


def stored_in_bytes(module: ModuleOp) -> set[SSAValue]:
    """The quantized activations that integer kernels read, and what these come from.

    With a tensor go those that ops which keep quads make of it, or make it of. Of all
    others only the numbers count that they stand for.
    """
    pending: list[SSAValue] = []
    for op in module.walk():
        if isinstance(op, sq.ConvOp | sq.LinearOp | sq.ElementwiseOp):
            pending += [*op.operands, *op.results]
    found: set[SSAValue] = set()
    while pending:
        value = pending.pop()
        maker = value.owner
        if value in found or sq.quant_type(value) is None:
            continue
        if isinstance(maker, nn.ConstantOp):
            continue
        found.add(value)
        around = [use.operation for use in value.uses]
        around += [maker] if isinstance(maker, Operation) else []
        for op in around:
            if keeps_quads(op):
                pending += [*op.operands, *op.results]
    return found
