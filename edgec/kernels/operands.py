"""What every lowering asks of an op: where its tensors lie, what they hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ArrayAttr, f32
from xdsl.ir import Attribute, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput
from edgec.kernels import move
from edgec.kernels.constants import constant_array
from edgec.kernels.layout import Layout, layout, plain
from edgec.kernels.strides import is_same_place, part_of


def layout_of(value: SSAValue) -> Layout:
    """Where a tensor lies; constants end with their last element."""
    if isinstance(value.owner, nn.ConstantOp):
        return plain(nn.shape_of(value))
    return layout(value)


def in_place(op: nn.ConcatOp) -> list[bool]:
    """Which inputs of a concatenation are written where they belong."""
    whole, axis, start = layout_of(op.result), op.axis.value.data, 0
    found: list[bool] = []
    for value in op.inputs:
        source = layout_of(value)
        part = part_of(whole, axis, start, source.shape)
        found.append(part is not None and is_same_place(part, source))
        start += source.shape[axis]
    return found


def element_of(value: SSAValue) -> move.Element:
    """The element type as a name; raises `InvalidInput` where there is no kernel."""
    element = nn.tensor_type(value).element_type
    for name, type_ in move.ELEMENTS.items():
        if element == type_:
            return name
    raise InvalidInput(f"element type must be one of f32, i64, got {element}")


def require_f32(*values: SSAValue) -> None:
    """Raise `InvalidInput` if a tensor holds anything else."""
    for value in values:
        found: Attribute = nn.tensor_type(value).element_type
        if found != f32:
            raise InvalidInput(f"element type must be f32, got {found}")


def steps_of(epilogue: ArrayAttr[Attribute]) -> tuple[sq.Step, ...]:
    """The steps of an epilogue."""
    return tuple(step.step for step in epilogue if isinstance(step, sq.StepAttr))


def dense_weight(value: SSAValue, weights: WeightStore) -> npt.NDArray[np.float32]:
    """The dense array of a weight; raises `InvalidInput` if it is computed."""
    owner = value.owner
    if isinstance(owner, nn.ConstantOp):
        return np.asarray(constant_array(owner, weights), np.float32)
    if isinstance(owner, sq.WeightOp):
        arrays = {k: weights[name] for k, name in owner.resource_names().items()}
        decoded = owner.encoding.decode(arrays, nn.shape_of(value))
        return np.asarray(decoded, np.float32)
    raise InvalidInput(
        "weight must be a constant, got a computed tensor; nn.matmul takes those"
    )
