"""Signed activations as unsigned bytes, which integer kernels read."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.dialects import nn, sq

SIGNED_OFFSET = 128
"""From signed to unsigned bytes."""


def unsigned_type(value: SSAValue) -> sq.QuantType | None:
    """What stores a tensor of signed integers with one scale; None for any other."""
    is_tensor = isinstance(value.type, TensorType)
    type_ = sq.quant_type(value) if is_tensor else None
    if type_ is None or type_.is_unsigned or type_.numbers is None:
        return None
    scale, zero_point = type_.numbers
    ends = type_.low + SIGNED_OFFSET, type_.high + SIGNED_OFFSET
    return sq.QuantType.per_tensor("ui8", *ends, scale, zero_point + SIGNED_OFFSET)


def make_unsigned(module: ModuleOp) -> int:
    """Store signed activations with one scale as unsigned bytes; how many.

    Arguments and results of functions keep their types: they are converted.
    """
    fixed: set[Operation] = set()
    for function in [op for op in module.walk() if isinstance(op, FuncOp)]:
        fixed |= convert_ends(function)
    count = 0
    for op in module.walk():
        is_fixed = op in fixed or isinstance(op, nn.ConstantOp)
        for value in op.results if not is_fixed else ():
            unsigned = unsigned_type(value)
            if unsigned is not None:
                shaped = TensorType(unsigned, nn.shape_of(value))
                Rewriter.replace_value_with_new_type(value, shaped)
                count += 1
    return count


def convert_ends(function: FuncOp) -> set[Operation]:
    """Convert signed arguments, and what shall be signed results; the latter ops."""
    fixed: set[Operation] = set()
    if function.is_declaration:
        return fixed
    block = function.body.block
    first, last = block.first_op, block.last_op
    assert first is not None
    assert last is not None
    for number, value in enumerate(last.operands):
        signed = sq.quant_type(value)
        if signed is not None and unsigned_type(value) is not None:
            op = sq.RequantizeOp(value, signed)
            block.insert_op_before(op, last)
            last.operands[number] = op.result
            fixed.add(op)
    for value in block.args:
        unsigned = unsigned_type(value)
        if unsigned is not None and value.first_use:
            op = sq.RequantizeOp(value, unsigned)
            value.replace_all_uses_with(op.result)
            op.operands[0] = value
            block.insert_op_before(op, first)
    return fixed
