"""Weights that stay in integers next to float32 inputs: which ones, and as what.

A kernel in codes takes a weight whose integers, less their zero points, are signed
bytes, with one scale, one for each row, or one for each group of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.linear.codes import Bytes


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """A weight `[rows, inputs]` as bytes and scales."""

    name: str
    weight: Bytes
    scale: npt.NDArray[np.float32]
    """`[rows]`, or `[rows, groups]`."""
    group: int | None


def stored_weight(value: SSAValue, weights: WeightStore) -> StoredWeight:
    """The weight behind a quantized constant.

    Raises `InvalidInput` for one that is computed, or that is not as said above.
    """
    type_, maker = sq.quant_type(value), value.owner
    if type_ is None or not isinstance(maker, nn.ConstantOp):
        raise InvalidInput(
            "weight must be a quantized constant, got "
            f"{nn.tensor_type(value).element_type} of a computed tensor"
        )
    array, rows = constant_array(maker, weights), nn.shape_of(value)[0]
    group = type_.group_size
    if type_.numbers is not None:
        number, zero = type_.numbers
        scale = np.full(rows, number, np.float32)
        zeros = np.full((rows, 1), zero, np.int64)
    elif type_.arrays is not None and type_.axis_number == 0:
        scale, zeros = (weights[name] for name in type_.arrays)
        scale = np.asarray(scale, np.float32)
        zeros = np.asarray(zeros, np.int64).reshape(rows, -1)
    else:
        raise InvalidInput(f"weight must have scales of its rows, got {type_}")
    moved = array
    if zeros.any() or array.dtype != np.int8:
        wide = array.astype(np.int64)
        moved = wide - np.repeat(zeros, group or array.shape[1], axis=1)
    if moved.min(initial=0) < -128 or moved.max(initial=0) > 127:
        raise InvalidInput(
            "integers less their zero points must be signed bytes, got "
            f"{moved.min()} to {moved.max()}"
        )
    if group == array.shape[1]:
        group, scale = None, scale.reshape(rows)
    return StoredWeight(constant_name(maker), moved.astype(np.int8), scale, group)
