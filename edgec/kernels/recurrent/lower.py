"""From recurrent ops to their kernels."""

from __future__ import annotations

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.kernels.constants import constant_name
from edgec.kernels.linear.codes import CodeShape
from edgec.kernels.linear.stored import StoredWeight, stored_weight
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import (
    dense_weight,
    layout_of,
    require_f32,
)
from edgec.kernels.recurrent.code_gates import code_gates_shape, pack_code_gates
from edgec.kernels.recurrent.column_gates import ColumnGates
from edgec.kernels.recurrent.gates import Arrays, DenseGates, Gates
from edgec.kernels.recurrent.layer import Recurrent


def recurrent_shape_of(
    op: nn.RecurrentOp, found: StoredWeight, lanes: int
) -> CodeShape:
    """The stored weight of a layer whose weight is in integers, without packing it."""
    _, rows, _ = nn.shape_of(op.output)
    return code_gates_shape(found, op.kind.data.gates, rows, lanes)


def lower_recurrent(op: nn.RecurrentOp, weights: WeightStore, lanes: int) -> Lowered:
    """All steps of a recurrent layer."""
    require_f32(*(value for value in op.operands if value is not op.weight))
    _, rows, hidden = nn.shape_of(op.output)
    gates = op.kind.data.gates
    if sq.has_integers(op.weight):
        found = stored_weight(op.weight, weights)
        product, arrays = pack_code_gates(found, gates, rows, lanes)
        name = f"{found.name}.gates{product.codes.block}"
        return _recurrent(op, product, arrays, name)
    dense = dense_weight(op.weight, weights)
    if isinstance(op.weight.owner, sq.WeightOp):
        product = ColumnGates.of(dense, gates, rows)
        arrays = product.pack(dense)
        name = f"{op.weight.owner.resource_names()['weight']}.gates{product.block}"
    else:
        product = DenseGates.of(lanes, gates, hidden, rows)
        arrays = product.pack(dense, lanes)
        name = f"{constant_name(op.weight.owner)}.gates{product.width(lanes)}"
    return _recurrent(op, product, arrays, name)


def _recurrent(
    op: nn.RecurrentOp, product: Gates, arrays: Arrays, name: str
) -> Lowered:
    """The launch for a weight in some form."""
    packed = [Packed(f"{name}.{field}", array) for field, array in arrays.items()]
    spec = Recurrent(
        op.kind.data.value,
        layout_of(op.gates),
        layout_of(op.initial),
        layout_of(op.output),
        layout_of(op.last),
        None if op.cell is None else layout_of(op.cell),
        None if op.last_cell is None else layout_of(op.last_cell),
        reverse=bool(op.reverse),
        has_bias=op.bias is not None,
        product=product,
    )
    arguments = (op.gates, *packed, op.bias, op.initial, op.cell)
    return Lowered(spec, tuple(a for a in arguments if a is not None))
