"""Calling a lowered function with tensors, as before it was lowered."""

from __future__ import annotations

import math

import numpy as np
from xdsl.dialects.builtin import ArrayAttr
from xdsl.dialects.func import FuncOp
from xdsl.interpreter import Interpreter
from xdsl.utils.hints import isa

from edgec.dialects.nn import AnyTensor
from edgec.errors import InvalidInput
from edgec.interpreter.arrays import AnyArray
from edgec.interpreter.lane import elements_of, undefined

INPUTS, OUTPUTS = "edgec.inputs", "edgec.outputs"
"""Attributes of a lowered `@main`: its tensor types before it was lowered."""


def tensor_types(function: FuncOp, name: str) -> tuple[AnyTensor, ...] | None:
    """The tensor types in an attribute of a lowered function; None if it has none."""
    attribute = function.attributes.get(name)
    if attribute is None:
        return None
    if not isa(attribute, ArrayAttr[AnyTensor]):
        raise InvalidInput(f"{name} must be an array of tensor types, got {attribute}")
    return attribute.data


def call_lowered(
    interpreter: Interpreter, function: FuncOp, inputs: tuple[AnyArray, ...]
) -> tuple[AnyArray, ...]:
    """Call a function of buffers with tensors, as before it was lowered."""
    outputs = tensor_types(function, OUTPUTS) or ()
    buffers: list[AnyArray] = []
    for array in inputs:
        flat = np.ascontiguousarray(array).reshape(-1)
        flat.flags.writeable = False
        buffers.append(flat)
    results = [
        undefined(type_.element_type, math.prod(type_.get_shape())) for type_ in outputs
    ]
    arguments = (*buffers, *results)
    for index, (array, argument) in enumerate(
        zip(arguments, function.body.block.args, strict=True)
    ):
        size = elements_of(argument)
        if array.size != size:
            raise InvalidInput(
                f"argument {index} of '{function.sym_name.data}' has {size} elements, "
                f"but its tensor type has {array.size}"
            )
    interpreter.call_op(function, arguments)
    return tuple(
        result.reshape(type_.get_shape())
        for result, type_ in zip(results, outputs, strict=True)
    )
