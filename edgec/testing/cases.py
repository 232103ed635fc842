"""A module together with what is needed to run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from xdsl.dialects.builtin import ModuleOp, TensorType, f32, f64, i1, i8, i32, i64
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Operation

from edgec.context import EdgecContext
from edgec.errors import InvalidInput
from edgec.interpreter.arrays import AnyArray

_ELEMENTS: dict[np.dtype[Any], Attribute] = {
    np.dtype(np.float32): f32,
    np.dtype(np.float64): f64,
    np.dtype(np.int8): i8,
    np.dtype(np.int32): i32,
    np.dtype(np.int64): i64,
    np.dtype(np.bool_): i1,
}


class Case(NamedTuple):
    """A module with `func.func @main`, the context that holds its weights, its inputs.

    Its text is the module's, so that a failing example can be read.
    """

    module: ModuleOp
    ctx: EdgecContext
    inputs: tuple[AnyArray, ...]

    def __repr__(self) -> str:
        inputs = ", ".join(f"{x.dtype}{list(x.shape)}" for x in self.inputs)
        return f"<inputs {inputs} of\n{self.module}>"


def type_of_array(array: AnyArray) -> TensorType[Attribute]:
    """The tensor type of an array; raises `InvalidInput` if there is none."""
    if array.dtype not in _ELEMENTS:
        known = sorted(str(dtype) for dtype in _ELEMENTS)
        raise InvalidInput(f"no element type for {array.dtype}; known are {known}")
    return TensorType(_ELEMENTS[array.dtype], array.shape)


def op_case(build: Callable[..., Operation], *inputs: AnyArray) -> Case:
    """A case whose function applies one op, made by `build`, to all inputs."""
    function = FuncOp("main", ([type_of_array(x) for x in inputs], ()))
    op = build(*function.body.block.args)
    function.body.block.add_ops([op, ReturnOp(*op.results)])
    function.update_function_type()
    module = ModuleOp([function])
    module.verify()
    return Case(module, EdgecContext(), inputs)
