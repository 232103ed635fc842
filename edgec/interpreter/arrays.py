"""Numpy arrays for tensor types, and wide arithmetic on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import (
    BFloat16Type,
    DenseIntOrFPElementsAttr,
    Float16Type,
    Float32Type,
    Float64Type,
    IndexType,
    IntegerType,
    Signedness,
)
from xdsl.ir import Attribute
from xdsl.utils.hints import isa

from edgec.dialects.sq.quant import QuantType
from edgec.errors import InvalidInput

# The element type is known at run time only, from the tensor type.
AnyArray = npt.NDArray[Any]
WideArray = npt.NDArray[Any]
"""An array of float64 or int64, in which reference arithmetic is done."""

_FLOATS: dict[type[Attribute], npt.DTypeLike] = {
    # Numpy has no bfloat16: its numbers as float32.
    BFloat16Type: np.float32,
    Float16Type: np.float16,
    Float32Type: np.float32,
    Float64Type: np.float64,
    IndexType: np.int64,
}


def dtype_of(element: Attribute) -> np.dtype[Any]:
    """The numpy type of an element type; raises `InvalidInput` where there is none."""
    if isinstance(element, QuantType):
        return np.dtype(np.uint8 if element.is_unsigned else np.int8)
    if isa(element, IntegerType):
        width = element.width.data
        if width == 1:
            return np.dtype(np.bool_)
        if width in (8, 16, 32, 64):
            is_unsigned = element.signedness.data is Signedness.UNSIGNED
            return np.dtype(f"{'u' if is_unsigned else ''}int{width}")
    elif type(element) in _FLOATS:
        return np.dtype(_FLOATS[type(element)])
    raise InvalidInput(
        f"element type {element} has no numpy type; use bf16, f16, f32, f64, "
        "i1, i8 … i64 or !sq.quant"
    )


def dense_to_array(attr: DenseIntOrFPElementsAttr[Any]) -> AnyArray:
    """A read-only array that shares the bytes of `dense<…>`."""
    dtype = dtype_of(attr.get_element_type())
    return np.frombuffer(attr.data.data, dtype).reshape(attr.get_shape())


def widen(array: AnyArray) -> WideArray:
    """`array` as float64 if it holds floats, else as int64."""
    is_float = np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float64 if is_float else np.int64, copy=False)
