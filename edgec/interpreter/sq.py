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
    ReturnedValues,
    impl,
    impl_terminator,
    register_impls,
)
from xdsl.ir import Attribute, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import rounded
from edgec.dialects.quad_ending import ending
from edgec.interpreter import windows
from edgec.interpreter.arrays import AnyArray, WideArray, widen
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.interpreter.nn import narrow, per_channel
from edgec.interpreter.quant import dequantize, parameters_of, quantize


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


def apply_steps(
    x: AnyArray, epilogue: ArrayAttr[Attribute], extras: Sequence[AnyArray]
) -> AnyArray:
    """The same in float32, each step rounded by itself."""
    for step in epilogue:
        with np.errstate(all="ignore"):
            wide = apply_epilogue(widen(x), ArrayAttr([step]), extras)
            x = wide.astype(np.float32)
    return x


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

    @impl(sq.DispatchOp)
    def run_dispatch(
        self, interpreter: Interpreter, op: sq.DispatchOp, args: PythonValues
    ) -> PythonValues:
        """Ops inside, one after the other."""
        return interpreter.run_ssacfg_region(op.body, (), op.name)

    @impl_terminator(sq.YieldOp)
    def run_yield(
        self, interpreter: Interpreter, op: sq.YieldOp, args: PythonValues
    ) -> tuple[ReturnedValues, PythonValues]:
        """The result of the ops."""
        return ReturnedValues(args), ()

    @impl(sq.ConvOp)
    def run_conv(
        self, interpreter: Interpreter, op: sq.ConvOp, args: PythonValues
    ) -> PythonValues:
        """Convolution, bias, steps."""
        if sq.has_integers(op.input):
            return self._integer_conv(op, args)
        y = windows.convolve(
            widen(args[0]),
            widen(self._weight(op, args[1])),
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

    def _integer_conv(self, op: sq.ConvOp, args: PythonValues) -> PythonValues:
        """Sums of integers are exact in float64."""
        sums = windows.convolve(
            self._from_zero(args[0], op.input),
            args[1].astype(np.float64),
            stride=op.stride.get_values(),
            low=op.padding_low.get_values(),
            high=op.padding_high.get_values(),
            dilation=op.dilation.get_values(),
            groups=op.groups.value.data,
        )
        return self._end_product(op, sums, args)

    def _from_zero(self, array: AnyArray, value: SSAValue) -> WideArray:
        """Bytes of an activation less their zero point."""
        type_ = sq.quant_type(value)
        assert type_ is not None
        assert type_.numbers is not None
        return array.astype(np.float64) - type_.numbers[1]

    def _end_product(
        self, op: sq.ConvOp | sq.LinearOp, sums: WideArray, args: PythonValues
    ) -> PythonValues:
        """From sums of integers on in float32, rounded step by step."""
        source, stored = sq.quant_type(op.input), sq.quant_type(op.weight)
        assert source is not None
        assert source.numbers is not None
        assert stored is not None
        scale, _ = source.numbers
        filters = len(args[1])
        scales = parameters_of(stored, args[1].shape, self.weights).scale
        extras = list(args[2:])
        bias = np.zeros(filters, np.float32) if op.bias is None else extras.pop(0)
        steps = [s.step for s in op.epilogue if isinstance(s, sq.StepAttr)]
        types, result = sq.addable_types(op), sq.quant_type(op.result)
        end = ending(scale, scales.reshape(-1), bias, steps, result, types)
        # Products of two float32 numbers are exact in float64.
        y = sums.astype(np.float32) * per_channel(widen(end.scale), sums.ndim)
        y = (y + per_channel(widen(end.shift), sums.ndim)).astype(np.float32)
        if end.to is None or end.steps:
            pairs = zip(extras, op.extras, strict=True)
            return self._finish(y, op, [self._real(*pair) for pair in pairs])
        if end.addend is not None:
            added = widen(extras[end.addend.operand]) * np.float64(end.addend.factor)
            y = (y + added).astype(np.float32)
        codes = np.rint(y * np.float32(end.to.inverse)) + end.to.zero_point
        return (np.clip(codes, end.to.low, end.to.high).astype(np.uint8),)

    def _weight(self, op: sq.ConvOp | sq.LinearOp, array: AnyArray) -> AnyArray:
        """The numbers that meet the input."""
        weight = self._real(array, op.weight)
        return rounded(weight) if sq.has_bf16(op.input) else weight

    def _real(self, array: AnyArray, value: SSAValue) -> AnyArray:
        """The numbers that an operand stands for."""
        type_ = sq.quant_type(value)
        return array if type_ is None else dequantize(array, type_, self.weights)

    def _finish(
        self,
        x: AnyArray,
        op: sq.ConvOp | sq.LinearOp | sq.ElementwiseOp,
        extras: Sequence[AnyArray],
    ) -> PythonValues:
        """The steps, each rounded to float32, and the bytes if these are asked for."""
        x = apply_steps(x, op.epilogue, extras)
        type_ = sq.quant_type(op.result)
        if type_ is None:
            return narrow(x, op.result)
        return (quantize(x, type_, self.weights),)

    @impl(sq.LinearOp)
    def run_linear(
        self, interpreter: Interpreter, op: sq.LinearOp, args: PythonValues
    ) -> PythonValues:
        """`x @ w.T + b`, then the steps."""
        if sq.has_integers(op.input):
            rows = self._from_zero(args[0], op.input).reshape(len(args[0]), -1)
            return self._end_product(op, rows @ args[1].astype(np.float64).T, args)
        y = widen(args[0]) @ widen(self._weight(op, args[1])).T
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
        if sq.has_integers(*op.operands, op.result):
            x, *extras = (
                self._real(array, value)
                for array, value in zip(args, op.operands, strict=True)
            )
            x = np.broadcast_to(x, nn.shape_of(op.result))
            return self._finish(x, op, extras)
        x = np.broadcast_to(widen(args[0]), nn.shape_of(op.result))
        return narrow(apply_epilogue(x, op.epilogue, args[1:]), op.result)

    @impl(sq.ConvertLayoutOp)
    def run_convert_layout(
        self, interpreter: Interpreter, op: sq.ConvertLayoutOp, args: PythonValues
    ) -> PythonValues:
        """The same values."""
        return args
