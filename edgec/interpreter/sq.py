"""What every `sq` op means, in numpy.

An encoding or a layout says how values are stored, never what they are: weights are
decoded, layouts are ignored. A fused op computes in wide numbers and rounds once, after
its last step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ArrayAttr
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.ir import Attribute

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.interpreter import windows
from edgec.interpreter.arrays import AnyArray, WideArray, widen
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.interpreter.nn import narrow, per_channel


def apply_epilogue(
    value: WideArray, epilogue: ArrayAttr[Attribute], extras: Sequence[AnyArray]
) -> WideArray:
    """`value` after each step in turn."""
    for attribute in epilogue:
        assert isinstance(attribute, sq.StepAttr)
        step = attribute.step
        with np.errstate(all="ignore"):
            if step.operand < 0:
                value = UNARY[nn.UnaryKind(step.kind)](value, *step.params)
                continue
            other = widen(extras[step.operand])
            lhs, rhs = (other, value) if step.swap else (value, other)
            value = BINARY[nn.BinaryKind(step.kind)](lhs, rhs)
    return value


@register_impls
class SqFunctions(InterpreterFunctions):
    """Implementations of the `sq` dialect for xDSL's interpreter."""

    def __init__(self, weights: WeightStore) -> None:
        self.weights = weights

    @impl(sq.WeightOp)
    def run_weight(
        self, interpreter: Interpreter, op: sq.WeightOp, args: PythonValues
    ) -> PythonValues:
        """The dense weights."""
        names = op.resource_names()
        arrays = {key: self.weights[name] for key, name in names.items()}
        return (op.encoding.decode(arrays, nn.shape_of(op.result)),)

    @impl(sq.ConvOp)
    def run_conv(
        self, interpreter: Interpreter, op: sq.ConvOp, args: PythonValues
    ) -> PythonValues:
        """Convolution, bias, steps."""
        y = windows.convolve(
            widen(args[0]),
            widen(args[1]),
            stride=op.stride.get_values(),
            low=op.padding_low.get_values(),
            high=op.padding_high.get_values(),
            dilation=op.dilation.get_values(),
            groups=op.groups.value.data,
        )
        extras = args[2:]
        if op.bias is not None:
            bias, *extras = extras
            y = y + per_channel(widen(bias), y.ndim)
        return narrow(apply_epilogue(y, op.epilogue, extras), op.result)

    @impl(sq.LinearOp)
    def run_linear(
        self, interpreter: Interpreter, op: sq.LinearOp, args: PythonValues
    ) -> PythonValues:
        """`x @ w.T + b`, then the steps."""
        y = widen(args[0]) @ widen(args[1]).T
        extras = args[2:]
        if op.bias is not None:
            bias, *extras = extras
            y = y + widen(bias)
        return narrow(apply_epilogue(y, op.epilogue, extras), op.result)

    @impl(sq.MatmulOp)
    def run_matmul(
        self, interpreter: Interpreter, op: sq.MatmulOp, args: PythonValues
    ) -> PythonValues:
        """`a @ b`, then the steps."""
        y = widen(args[0]) @ widen(args[1])
        return narrow(apply_epilogue(y, op.epilogue, args[2:]), op.result)

    @impl(sq.ElementwiseOp)
    def run_elementwise(
        self, interpreter: Interpreter, op: sq.ElementwiseOp, args: PythonValues
    ) -> PythonValues:
        """The steps on the input, broadcast to the result."""
        x = np.broadcast_to(widen(args[0]), nn.shape_of(op.result))
        return narrow(apply_epilogue(x, op.epilogue, args[1:]), op.result)

    @impl(sq.ConvertLayoutOp)
    def run_convert_layout(
        self, interpreter: Interpreter, op: sq.ConvertLayoutOp, args: PythonValues
    ) -> PythonValues:
        """The same values."""
        return args
