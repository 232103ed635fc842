"""Constants as arrays and back: what the passes on tensors share.

Small constants stand in the IR, where tests and readers see them; others go to the
weight store and the IR names them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects.builtin import (
    BytesAttr,
    DenseIntOrFPElementsAttr,
    StringAttr,
    TensorType,
)
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.interpreter.arrays import AnyArray, dense_to_array, dtype_of

MAX_INLINE = 64
"""Constants with at most so many elements stand in the IR: one line of text."""


def is_constant(value: SSAValue) -> bool:
    """Whether `read_constant` gives an array."""
    return isinstance(value.owner, nn.ConstantOp | sq.WeightOp)


def read_constant(value: SSAValue, weights: WeightStore) -> AnyArray | None:
    """The array behind an `nn.constant` or `sq.weight`; None for any other value.

    Raises `InvalidInput` if the store does not have the array that the IR names.
    """
    op = value.owner
    if isinstance(op, sq.WeightOp):
        names = op.resource_names()
        arrays = {key: weights[name] for key, name in names.items()}
        return op.encoding.decode(arrays, nn.shape_of(value))
    if not isinstance(op, nn.ConstantOp):
        return None
    if isinstance(op.value, StringAttr):
        return weights[op.value.data]
    return dense_to_array(op.value)


def constant_name(value: SSAValue) -> str:
    """A name for what is made of a constant: its own in the store, or its hint."""
    op = value.owner
    if isinstance(op, nn.ConstantOp) and isinstance(op.value, StringAttr):
        return op.value.data
    return value.name_hint or "constant"


def make_constant(
    array: AnyArray, hint: str, like: SSAValue, weights: WeightStore
) -> nn.ConstantOp:
    """An `nn.constant` with the element type of `like`, to which `array` is rounded.

    It is stored under a name like `hint`, without a copy if no rounding is needed;
    where the module's own weights stand in the IR (the store is empty), up to
    `MAX_INLINE` elements do so too. Numbers of a model in the IR would make two
    trainings of it two programs for the cache.
    """
    element: Any = nn.tensor_type(like).element_type
    # Arithmetic on arrays of rank 0 gives numpy's scalars, which are no arrays.
    rounded = np.asarray(array, dtype_of(element))
    type_ = TensorType(element, array.shape)
    if not weights and rounded.size <= MAX_INLINE:
        data = BytesAttr(np.ascontiguousarray(rounded).tobytes())
        return nn.ConstantOp(DenseIntOrFPElementsAttr(type_, data), type_)
    return nn.ConstantOp(weights.add(hint, rounded), type_)


def erase_unused(*values: SSAValue) -> None:
    """Remove the constants among `values` that nobody uses any more."""
    for value in dict.fromkeys(values):
        op = value.owner
        if isinstance(op, Operation) and is_constant(value) and not value.first_use:
            op.detach()
            op.erase()


def decode_weight(
    layer: sq.ConvOp | sq.LinearOp | nn.RecurrentOp, weights: WeightStore
) -> None:
    """Replace an encoded weight by a dense constant with the same values."""
    source = layer.weight.owner
    assert isinstance(source, sq.WeightOp)
    dense = read_constant(layer.weight, weights)
    assert dense is not None
    type_ = nn.tensor_type(source.result)
    name = weights.add(f"{source.resource_names()['weight']}.dense", dense)
    constant = nn.ConstantOp(name, TensorType(type_.element_type, type_.get_shape()))
    block = source.parent_block()
    assert block is not None
    block.insert_op_before(constant, source)
    layer.operands[1] = constant.result
    erase_unused(source.result)
