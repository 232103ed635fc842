"""Running a function: constants, inputs and what they must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    ModuleOp,
    TensorType,
    f32,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.errors import InvalidInput
from edgec.interpreter import interpret

Array = npt.NDArray[Any]
Build = Callable[..., nn.NNOperation]


def constant_module(op: nn.ConstantOp) -> ModuleOp:
    function = FuncOp("main", ((), (op.result.type,)))
    function.body.block.add_ops([op, ReturnOp(op)])
    return ModuleOp([function])


def test_constant_in_the_ir() -> None:
    type_ = TensorType(f32, (2, 2))
    value = DenseIntOrFPElementsAttr.from_list(type_, [1.0, 2.0, 3.0, 4.5])
    (found,) = interpret(
        constant_module(nn.ConstantOp(value, type_)), (), EdgecContext()
    )
    np.testing.assert_array_equal(found, np.array([[1, 2], [3, 4.5]], np.float32))
    assert found.dtype == np.float32


def test_named_constant_is_not_copied() -> None:
    ctx = EdgecContext()
    array = np.zeros((3, 2), np.float32)
    ctx.weights.add("w", array)
    op = nn.ConstantOp("w", TensorType(f32, (3, 2)))
    (found,) = interpret(constant_module(op), (), ctx)
    assert np.shares_memory(found, array)


def test_named_constant_must_fit_its_type() -> None:
    ctx = EdgecContext()
    ctx.weights.add("w", np.zeros((3, 2), np.float32))
    wrong = constant_module(nn.ConstantOp("w", TensorType(f32, (2, 3))))
    with pytest.raises(InvalidInput, match=r"weights 'w' must be float32\[2, 3\]"):
        interpret(wrong, (), ctx)
    missing = constant_module(nn.ConstantOp("v", TensorType(f32, (2, 3))))
    with pytest.raises(InvalidInput, match="no weights named 'v'"):
        interpret(missing, (), ctx)


def test_inputs_must_fit_the_function() -> None:
    function = FuncOp("main", ([TensorType(f32, (2,))], [TensorType(f32, (2,))]))
    function.body.block.add_op(ReturnOp(SSAValue.get(function.body.block.args[0])))
    module, ctx = ModuleOp([function]), EdgecContext()
    with pytest.raises(InvalidInput, match="inputs of 'main' must be 1, got 0"):
        interpret(module, (), ctx)
    with pytest.raises(InvalidInput, match=r"must be float32\[2\], got float32\[3\]"):
        interpret(module, (np.zeros((3,), np.float32),), ctx)
    with pytest.raises(InvalidInput, match=r"must be float32\[2\], got float64\[2\]"):
        interpret(module, (np.zeros(2),), ctx)
    with pytest.raises(InvalidInput, match="no function named 'other'"):
        interpret(module, (np.zeros((2,), np.float32),), ctx, "other")
