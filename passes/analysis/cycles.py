"""Cycles of every op of a module, as it will run after the tensor-level passes."""

from __future__ import annotations

import math

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from edgec.dialects import nn, sq
from edgec.kernels.cost import Registers
from edgec.kernels.cost_columns import turn_cycles
from edgec.kernels.cost_moves import moved_cycles, sweep_cycles
from edgec.kernels.layout import layout, stored_shape
from edgec.passes.analysis.predict import (
    predict_conv,
    predict_linear,
    predict_recurrent,
)
from edgec.target import Target

FREE = (
    nn.ConstantOp
    | sq.WeightOp
    | sq.DispatchOp
    | sq.YieldOp
    | func.FuncOp
    | func.ReturnOp
    | ModuleOp
)
"""Ops that no code is made for, or for those inside of them."""


def op_cycles(op: Operation, target: Target) -> float:
    """Cycles of one core for one op and all images; 0 for one that is no code."""
    registers = Registers(target.lanes, target.registers)
    if isinstance(op, FREE):
        return 0.0
    if isinstance(op, sq.ConvOp):
        return _conv_cycles(op, registers, target)
    if isinstance(op, sq.LinearOp):
        family = "dense" if op.kernel is None else op.kernel.family.data
        return predict_linear(op, registers)[family]
    if isinstance(op, nn.RecurrentOp):
        return _recurrent_cycles(op, registers)
    return _other_cycles(op)


def _conv_cycles(op: sq.ConvOp, registers: Registers, target: Target) -> float:
    assert op.kernel is not None
    family, images = op.kernel.family.data, nn.shape_of(op.result)[0]
    if family == "depthwise":
        taps, result = math.prod(nn.shape_of(op.weight)[1:]), layout(op.result)
        elements = images * result.shape[1] * result.rows * result.pitch
        return sweep_cycles(elements, taps, lanes=target.lanes)
    cycles = predict_conv(op, registers, target.l1d_bytes)
    return images * cycles[family]


def _recurrent_cycles(op: nn.RecurrentOp, registers: Registers) -> float:
    """Every step is a product of the state with the weight."""
    is_sparse = isinstance(op.weight.owner, sq.WeightOp)
    cycles = predict_recurrent(op, registers)["columns" if is_sparse else "dense"]
    return nn.shape_of(op.gates)[0] * cycles


def _other_cycles(op: Operation) -> float:
    """What reads and writes each element once."""
    if isinstance(op, nn.TransposeOp):
        *rows, columns = nn.shape_of(op.input)
        return turn_cycles(math.prod(rows), columns)
    values = [*op.operands, *op.results]
    return moved_cycles(4 * sum(math.prod(stored_shape(value)) for value in values))


def module_cycles(module: ModuleOp, target: Target) -> float:
    """Cycles of one core for one call of a whole module."""
    return sum(op_cycles(op, target) for op in module.walk())
