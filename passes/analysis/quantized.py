"""Which ops work on quantized tensors as they are, and which of these are stored so."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD

STEP_RANKS = (2, 3, 4, 5)
"""Of tensors on which elementwise kernels on quads work."""

INTEGER = sq.ConvOp | sq.LinearOp | sq.AverageOp | sq.ResizeOp
"""What computes on integers if its first operand is quantized."""


def keeps_quads(op: Operation) -> bool:
    """Whether an op moves or chooses values within channels, and there is a kernel.

    Four channels share a lane of what integer kernels read (`kernels.layout`).
    """
    match op:
        case nn.ReshapeOp():
            return has_same_channels(op.input, op.result)
        case nn.SliceOp():
            return _slices_quads(op)
        case nn.PadOp():
            maker = op.input.owner
            is_made = isinstance(maker, sq.DequantizeOp)
            type_ = sq.quant_type(maker.input if is_made else op.input)
            return type_ is not None and pads_quads(op, type_)
        case sq.ShuffleChannelsOp():
            return True
        case nn.ConcatOp():
            return len(nn.shape_of(op.result)) > 1
        case _:
            return _chooses(op)


def _slices_quads(op: nn.SliceOp) -> bool:
    """Whether a slice takes all channels, or some neighbours and nothing else."""
    sizes = nn.shape_of(op.input), nn.shape_of(op.result)
    if len(sizes[0]) < 2 or sizes[0][1] == sizes[1][1]:
        return len(sizes[0]) > 1
    is_rest_whole = sizes[0][0] == sizes[1][0] and sizes[0][2:] == sizes[1][2:]
    return is_rest_whole and op.steps.get_values()[1] == 1


def pads_quads(op: nn.PadOp, type_: sq.QuantType) -> bool:
    """Whether whole quads of channels are added, if any, of a number that is a byte."""
    shape = nn.shape_of(op.input)
    if len(shape) < 2:
        return False
    low, high = (ends.get_values()[1] for ends in (op.low, op.high))
    if op.kind.data is not nn.PadKind.CONSTANT:
        return (low, high) == (0, 0)
    is_end_whole = shape[1] % QUAD == 0 or high == 0
    is_whole = low % QUAD == 0 and min(low, high) >= 0 and is_end_whole
    return is_whole and sq.byte_of(type_, op.value.value.data) is not None


def _chooses(op: Operation) -> bool:
    """Whether an op takes values of its input, each channel by itself."""
    match op:
        case nn.PoolOp() | nn.AdaptivePoolOp():
            return op.kind.data is nn.PoolKind.MAX
        case nn.ReduceOp():
            return op.kind.data is nn.ReduceKind.MAX and is_over_planes(op)
        case nn.ResizeOp():
            return op.kind.data is nn.ResizeKind.NEAREST
        case _:
            return False


def is_over_planes(op: nn.ReduceOp) -> bool:
    """Whether a reduction is over all dimensions but images and channels."""
    rank = len(nn.shape_of(op.input))
    return rank > 2 and sorted(op.axes.get_values()) == list(range(2, rank))


def has_same_channels(one: SSAValue, other: SSAValue) -> bool:
    """Whether two shapes have the same first two dimensions."""
    shapes = nn.shape_of(one), nn.shape_of(other)
    return shapes[0][:2] == shapes[1][:2] and min(map(len, shapes)) > 1


def _read_by_steps(module: ModuleOp) -> list[SSAValue]:
    """What elementwise ops read that a kernel on quads can read as bytes."""
    found: list[SSAValue] = []
    for op in module.walk():
        if not isinstance(op, sq.DequantizeOp):
            continue
        type_, shape = sq.quant_type(op.input), nn.shape_of(op.result)
        assert type_ is not None
        if len(shape) not in STEP_RANKS or sq.why_no_activation(type_) is not None:
            continue
        readers = [use.operation for use in op.result.uses]
        if any(_is_step(reader, shape) for reader in readers):
            found.append(op.input)
    return found


def _is_step(op: Operation, shape: tuple[int, ...]) -> bool:
    """Whether a chain of steps on quads of this shape begins with an op.

    Those on matrices have a result in bytes.
    """
    if not isinstance(op, nn.UnaryOp | nn.BinaryOp) or nn.shape_of(op.result) != shape:
        return False
    value: SSAValue = op.result
    while len(shape) == 2 and value.has_one_use():
        reader = next(iter(value.uses)).operation
        if isinstance(reader, sq.QuantizeOp):
            return True
        if not isinstance(reader, nn.UnaryOp | nn.BinaryOp):
            return False
        value = reader.result
    return len(shape) > 2


def _requantizes(op: Operation) -> bool:
    """Whether an op makes bytes of bytes, and there is a kernel."""
    is_one = isinstance(op, sq.RequantizeOp)
    return is_one and len(nn.shape_of(op.result)) in STEP_RANKS


def end_in_bytes(value: SSAValue) -> SSAValue | None:
    """The bytes that a layer's result becomes after unary steps; None if it does not.

    Integer kernels of depthwise layers write nothing else.
    """
    while value.has_one_use():
        reader = next(iter(value.uses)).operation
        if isinstance(reader, sq.QuantizeOp):
            type_ = sq.quant_type(reader.result)
            assert type_ is not None
            return None if type_.numbers is None else reader.result
        if not isinstance(reader, nn.UnaryOp):
            return None
        value = reader.result
    return None


def is_in_bytes(value: SSAValue) -> bool:
    """Whether integer layers make a quantized tensor, or read it."""
    readers = [use.operation for use in value.uses]
    if any(isinstance(reader, INTEGER) for reader in readers):
        return True
    maker = value.owner
    if isinstance(maker, Block | INTEGER):
        return True
    if keeps_quads(maker) or isinstance(maker, sq.RequantizeOp):
        return any(is_in_bytes(operand) for operand in maker.operands)
    return isinstance(maker, sq.QuantizeOp) and ends_in_integers(maker.input)


def ends_in_integers(value: SSAValue) -> bool:
    """Whether a tensor of float32 is the end of an integer layer."""
    maker = value.owner
    if isinstance(maker, nn.UnaryOp | nn.BinaryOp):
        return any(ends_in_integers(operand) for operand in maker.operands)
    return isinstance(maker, INTEGER) and sq.has_integers(maker.operands[0])


def _seeds(op: Operation) -> list[SSAValue]:
    """What integer kernels read and write for an op."""
    found: list[SSAValue] = []
    if isinstance(op, INTEGER | sq.ElementwiseOp):
        found += [*op.operands, *op.results]
    if isinstance(op, sq.ConvOp) and op.groups.value.data > 1:
        end = end_in_bytes(op.result)
        found += [] if end is None else [end]
    if isinstance(op, sq.QuantizeOp) and ends_in_integers(op.input):
        readers = [use.operation for use in op.result.uses]
        is_moved = any(keeps_quads(each) or _requantizes(each) for each in readers)
        found += [op.result] if is_moved else []
    return found


def stored_in_bytes(module: ModuleOp) -> set[SSAValue]:
    """The quantized activations that integer kernels read, and what these come from.

    With a tensor go those that ops which keep quads make of it, or make it of. Of all
    others only the numbers count that they stand for.
    """
    pending = [value for op in module.walk() for value in _seeds(op)]
    if pending:
        pending += _read_by_steps(module)
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
            if keeps_quads(op) or _requantizes(op):
                pending += [*op.operands, *op.results]
    return found
