"""Reading constants while lowering."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import StringAttr, f32, i8, i32, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.interpreter.arrays import dense_to_array

Array = npt.NDArray[np.generic]

ELEMENTS: dict[np.dtype[Any], Attribute] = {
    np.dtype(np.float32): f32,
    np.dtype(np.int8): i8,
    np.dtype(np.int32): i32,
    np.dtype(np.int64): i64,
}
"""Element types of packed arrays."""


def is_weight(owner: Operation | Block) -> bool:
    """Whether a value comes from an op that only names weights."""
    return isinstance(owner, nn.ConstantOp | sq.WeightOp)


def constant_array(op: nn.ConstantOp, weights: WeightStore) -> Array:
    """The array of a constant, in the shape of its type."""
    if isinstance(op.value, StringAttr):
        return weights[op.value.data]
    return dense_to_array(op.value)


def constant_name(op: Operation | Block) -> str:
    """The name of a constant in the weight store, or a general one."""
    if isinstance(op, nn.ConstantOp) and isinstance(op.value, StringAttr):
        return op.value.data
    return "constant"


def num_elements(value: SSAValue) -> int:
    """Elements of a tensor value."""
    return math.prod(nn.shape_of(value))
