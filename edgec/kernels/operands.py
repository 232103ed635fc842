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
from edgec.kernels.layout import Layout, channels_of_lane, is_in_lanes, layout, plain
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.strides import is_same_place, part_of


def layout_of(value: SSAValue) -> Layout:
    """Where a tensor lies; constants end with their last element."""
    if isinstance(value.owner, nn.ConstantOp):
        return plain(nn.shape_of(value))
    return layout(value)


def has_aligned_parts(op: nn.ConcatOp) -> bool:
    """Whether parts of a result that is stored as quads or pairs are whole ones."""
    if op.axis.value.data != 1:
        return True
    held = channels_of_lane(op.result)
    return all(nn.shape_of(value)[1] % held == 0 for value in op.inputs[:-1])


def in_place(op: nn.ConcatOp) -> list[bool]:
    """Which inputs of a concatenation are written where they belong."""
    if not has_aligned_parts(op):
        return [False] * len(op.inputs)
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
    if is_in_lanes(value):
        return "i32"
    element = nn.tensor_type(value).element_type
    for name, type_ in move.ELEMENTS.items():
        if element == type_:
            return name
    raise InvalidInput(f"element type must be one of f32, i64, got {element}")


def gap_of(value: SSAValue) -> int:
    """What stands in the gaps of a tensor: a lane of zero points, or 0."""
    type_ = sq.quant_type(value)
    if type_ is None or type_.numbers is None:
        return 0
    scale, zero_point = type_.numbers
    return Requantize(scale, zero_point).gap


def requantize_of(value: SSAValue) -> Requantize | None:
    """How numbers become the bytes of a tensor; None if it holds numbers."""
    type_ = sq.quant_type(value)
    if type_ is None:
        return None
    if type_.numbers is None or not type_.is_unsigned:
        raise InvalidInput(f"bytes must be unsigned with one scale, got {type_}")
    scale, zero_point = type_.numbers
    inverse = float(np.float32(1 / scale))
    return Requantize(inverse, zero_point, type_.low, type_.high)


def dequantize_of(value: SSAValue) -> Dequantize | None:
    """What the bytes of a tensor stand for; None if it holds numbers."""
    type_ = sq.quant_type(value)
    if type_ is None:
        return None
    if type_.numbers is None or not type_.is_unsigned:
        raise InvalidInput(f"bytes must be unsigned with one scale, got {type_}")
    scale, zero_point = type_.numbers
    return Dequantize(float(np.float32(scale)), zero_point)


def zero_of(value: SSAValue) -> int | None:
    """The byte that stands for 0; None if a tensor holds numbers."""
    found = dequantize_of(value)
    return None if found is None else found.zero_point


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
