"""Which chains of steps are a function of one byte, and the table of that function.

A byte has 256 values, so what the interpreter makes of them is all there is to know:
the table agrees with it to the bit, whatever the steps are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import BYTE_VALUES
from edgec.interpreter.arrays import AnyArray
from edgec.interpreter.quant import dequantize, quantize
from edgec.interpreter.sq import apply_steps
from edgec.kernels.constants import constant_array

Bytes = npt.NDArray[np.uint8]


def byte_table(
    op: sq.ElementwiseOp | sq.RequantizeOp, weights: WeightStore
) -> Bytes | None:
    """What each byte of the input becomes; None where a byte does not decide that."""
    source, target = sq.quant_type(op.input), sq.quant_type(op.result)
    if source is None or target is None or nn.shape_of(op.input) != nn.shape_of(op):
        return None
    is_one = source.numbers is not None and target.numbers is not None
    if not is_one or not (source.is_unsigned and target.is_unsigned):
        return None
    values = dequantize(np.arange(BYTE_VALUES, dtype=np.uint8), source, weights)
    if isinstance(op, sq.ElementwiseOp):
        extras = _extras(op, values, weights)
        if extras is None:
            return None
        values = apply_steps(values, op.epilogue, extras)
    return np.asarray(quantize(values, target, weights), np.uint8)


def _extras(
    op: sq.ElementwiseOp, values: AnyArray, weights: WeightStore
) -> Sequence[AnyArray] | None:
    """Extra operands, which are the input again, or one number; else None."""
    found = [
        values if extra == op.input else _one_number(extra, weights)
        for extra in op.extras
    ]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def _one_number(value: SSAValue, weights: WeightStore) -> AnyArray | None:
    """What all elements of a constant are."""
    if not isinstance(value.owner, nn.ConstantOp) or sq.quant_type(value) is not None:
        return None
    array = constant_array(value.owner, weights).reshape(-1)
    bits = np.ascontiguousarray(array).view(np.uint32)
    return array[0] if array.size and (bits == bits[0]).all() else None
