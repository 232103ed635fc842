"""Cycles of every op of a module, as it will run after the tensor-level passes."""

from __future__ import annotations

import math
from typing import TypeGuard

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.kernels.cost import Registers
from edgec.kernels.cost_columns import codes_cycles, turn_cycles
from edgec.kernels.cost_moves import moved_cycles, sweep_cycles
from edgec.kernels.cost_recurrent import codes_step_cycles
from edgec.kernels.layout import layout, stored_shape
from edgec.kernels.linear.lower_stored import stored_shape_of
from edgec.kernels.linear.stored import stored_weight
from edgec.kernels.recurrent.lower import recurrent_shape_of
from edgec.passes.analysis.predict import (
    predict_conv,
    predict_linear,
    predict_recurrent,
    recurrent_layer,
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


def op_cycles(
    op: Operation, target: Target, weights: WeightStore | None = None
) -> float:
    """Cycles of one core for one op and all images; 0 for one that is no code.

    Without the weights, those in integers next to float32 inputs count as float32.
    """
    registers = Registers(target.lanes, target.registers)
    if isinstance(op, FREE):
        return 0.0
    if weights is not None and _reads_codes(op):
        return _codes_cycles(op, weights, target.lanes)
    if isinstance(op, sq.ConvOp):
        return _conv_cycles(op, registers, target)
    if isinstance(op, sq.LinearOp):
        family = "dense" if op.kernel is None else op.kernel.family.data
        return predict_linear(op, registers)[family]
    if isinstance(op, nn.RecurrentOp):
        return _recurrent_cycles(op, registers)
    return _other_cycles(op)


def _reads_codes(op: Operation) -> TypeGuard[sq.LinearOp | nn.RecurrentOp]:
    """Whether a kernel decodes weights next to float32 inputs."""
    if not isinstance(op, sq.LinearOp | nn.RecurrentOp):
        return False
    return sq.has_integers(op.weight) and not sq.has_integers(op.operands[0])


def _codes_cycles(
    op: sq.LinearOp | nn.RecurrentOp, weights: WeightStore, lanes: int
) -> float:
    """By what the kernel reads: fewer bits, and not the zeros that are left out."""
    found = stored_weight(op.weight, weights)
    if isinstance(op, nn.RecurrentOp):
        codes = recurrent_shape_of(op, found, lanes)
        layer, steps = recurrent_layer(op), nn.shape_of(op.gates)[0]
        own, size = codes.stored_weights, codes.num_bytes
        return steps * codes_step_cycles(layer, own, size, lanes=lanes)
    codes = stored_shape_of(op, found, lanes)
    rows = math.prod(nn.shape_of(op.result)[:-1])
    return codes_cycles(rows, codes.stored_weights, codes.num_bytes, lanes=lanes)


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
