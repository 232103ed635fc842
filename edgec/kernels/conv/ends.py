"""What the lowerings of all convolutions share: bias, masks of gaps, the epilogue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import PassFailed
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.conv.positions import Extra, row_mask
from edgec.kernels.layout import Layout, layout
from edgec.kernels.lowered import Packed
from edgec.kernels.operands import dequantize_of

Floats = npt.NDArray[np.float32]


def constant_operand(value: SSAValue, weights: WeightStore) -> Floats:
    """The array of a constant operand."""
    owner = value.owner
    if not isinstance(owner, nn.ConstantOp):
        raise PassFailed(
            f"'sq.conv' op weight and bias must be constants, got {value}; compute "
            "them before the model is exported"
        )
    return np.ascontiguousarray(constant_array(owner, weights), np.float32)


def rest_of(
    op: sq.ConvOp, weights: WeightStore, flat: Layout | None
) -> list[SSAValue | Packed]:
    """Bias, row mask (of a flat-position kernel), extras."""
    rest: list[SSAValue | Packed] = []
    if op.bias is not None:
        bias = constant_operand(op.bias, weights)
        rest.append(Packed(f"{constant_name(op.weight.owner)}.bias", bias))
    return [*rest, *masks_of(flat), *op.extras]


def masks_of(flat: Layout | None) -> list[Packed]:
    """The row mask of a flat-position kernel, where there are gaps."""
    if flat is None or not flat.has_gaps_inside:
        return []
    slices = "" if flat.slices == 1 else f"{flat.slices}x{flat.slab}."
    hint = f"rows.{slices}{flat.height}x{flat.columns}.{flat.pitch}"
    return [Packed(hint, row_mask(flat))]


def steps_of(op: sq.ConvOp) -> tuple[sq.Step, ...]:
    """The epilogue."""
    return tuple(step.step for step in op.epilogue if isinstance(step, sq.StepAttr))


def extras_of(op: sq.ConvOp) -> tuple[Extra, ...]:
    """How each extra operand is read."""
    result = nn.shape_of(op.result)
    extras: list[Extra] = []
    for value in op.extras:
        shape = nn.shape_of(value)
        is_channels = set(shape[2:]) == {1} and shape[1] in (1, result[1])
        if not is_channels and shape != result:
            ones = ", 1" * (len(result) - 2)
            raise PassFailed(
                f"'sq.conv' op extra operand must have shape {result} or "
                f"(N, C{ones}), got {shape}"
            )
        place = layout(value)
        if shape[1] != result[1]:
            place = _repeated(place)
        is_bf16 = sq.has_bf16(value)
        extras.append(Extra(place, is_channels, dequantize_of(value), is_bf16))
    return tuple(extras)


def _repeated(extra: Layout) -> Layout:
    """A size of 1 is read again for every channel."""
    strides = (extra.strides[0], 0, *extra.strides[2:])
    return Layout(extra.shape, strides, extra.origin, extra.phase, extra.slack)
