"""What quantizing and dequantizing mean, in numpy: exact to the bit, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)

from edgec.context import WeightStore
from edgec.dialects import sq
from edgec.dialects.nn import shape_of
from edgec.errors import InvalidInput
from edgec.interpreter import windows
from edgec.interpreter.arrays import AnyArray, dtype_of

Floats = npt.NDArray[np.float32]


class Parameters(NamedTuple):
    """Of a quantized tensor, as float32 that broadcasts to its shape."""

    scale: Floats
    inverse: Floats
    """`1 / scale`, rounded once."""
    zero_point: Floats


def parameters_of(
    type_: sq.QuantType, shape: Sequence[int], weights: WeightStore
) -> Parameters:
    """The numbers in the type, or its arrays.

    Raises `InvalidInput` if these do not fit the type.
    """
    if type_.numbers is not None:
        scale, zero_point = type_.numbers
        return Parameters(
            np.asarray(scale, np.float32),
            np.asarray(1 / scale, np.float32),
            np.asarray(zero_point, np.float32),
        )
    assert type_.arrays is not None
    scales, zero_points = (weights[name] for name in type_.arrays)
    wanted = type_.array_shape(shape)
    for name, array, dtype in zip(
        type_.arrays, (scales, zero_points), (np.float32, np.int32), strict=True
    ):
        if array.shape != wanted or array.dtype != dtype:
            raise InvalidInput(
                f"weights '{name}' must be {np.dtype(dtype)}{list(wanted)}, "
                f"got {array.dtype}{list(array.shape)}"
            )
    scales = scales.astype(np.float32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise InvalidInput(
            f"scales '{type_.arrays[0]}' must be positive and finite, "
            f"got {scales.min():g} to {scales.max():g}"
        )
    spread = [
        _spread(array, type_, shape)
        for array in (
            scales,
            np.float32(1) / scales,
            zero_points.astype(np.float32),
        )
    ]
    return Parameters(*spread)


def _spread(array: Floats, type_: sq.QuantType, shape: Sequence[int]) -> Floats:
    """`array` in a shape that broadcasts to that of the tensor."""
    if type_.group_size is not None:
        return np.repeat(array, type_.group_size, axis=1)
    axis = type_.axis_number
    return array.reshape([n if i == axis else 1 for i, n in enumerate(shape)])


def quantize(x: AnyArray, type_: sq.QuantType, weights: WeightStore) -> AnyArray:
    """float32 to integers."""
    _, inverse, zero_point = parameters_of(type_, x.shape, weights)
    with np.errstate(all="ignore"):
        q = np.rint(x * inverse) + zero_point
        return np.clip(q, type_.low, type_.high).astype(dtype_of(type_))


def dequantize(q: AnyArray, type_: sq.QuantType, weights: WeightStore) -> AnyArray:
    """Integers to float32."""
    scale, _, zero_point = parameters_of(type_, q.shape, weights)
    return np.asarray((q.astype(np.float32) - zero_point) * scale)


def choose(
    x: AnyArray, kind: str, ends: tuple[int, ...], eps: float
) -> tuple[Floats, Floats]:
    """Scale and zero point of a tensor or of its rows; see `sq.ChooseQparamsOp`."""
    axis = -1 if kind.startswith("token") else None
    shape = (*x.shape[:-1], 1) if axis == -1 else (1,)
    a = np.minimum(x.min(axis), np.float32(0)).reshape(shape)
    b = np.maximum(x.max(axis), np.float32(0)).reshape(shape)
    low, high = map(np.float32, ends)
    least, steps = np.float32(eps), np.float32(ends[1] - ends[0])
    if kind == "tensor-symmetric":
        scale = np.maximum(np.maximum(-a, b) / (steps / np.float32(2)), least)
        return scale, np.full(shape, 128 if low >= 0 else 0, np.float32)
    if kind == "token-symmetric":
        scale = np.maximum(np.maximum(-a, b), least) / high
        return scale, np.zeros(shape, np.float32)
    scale = np.maximum((b - a) / steps, least)
    if kind == "tensor":
        return scale, np.clip(low - np.rint(a / scale), low, high)
    below, above = a / scale, b / scale
    is_from_low = (low + below) + (high + above) > 0
    chosen = np.asarray(np.where(is_from_low, low - below, high - above), np.float32)
    return scale, np.rint(np.clip(chosen, low, high))


@register_impls
class QuantFunctions(InterpreterFunctions):
    """Implementations of the ops of `edgec.dialects.sq.quant`."""

    def __init__(self, weights: WeightStore) -> None:
        self.weights = weights

    @impl(sq.QuantizeOp)
    def run_quantize(
        self, interpreter: Interpreter, op: sq.QuantizeOp, args: PythonValues
    ) -> PythonValues:
        """`clamp(rint(x * (1 / scale)) + zero_point, low, high)`."""
        type_ = sq.quant_type(op.result)
        assert type_ is not None
        return (quantize(args[0], type_, self.weights),)

    @impl(sq.DequantizeOp)
    def run_dequantize(
        self, interpreter: Interpreter, op: sq.DequantizeOp, args: PythonValues
    ) -> PythonValues:
        """`(q - zero_point) * scale`."""
        type_ = sq.quant_type(op.input)
        assert type_ is not None
        return (dequantize(args[0], type_, self.weights),)

    @impl(sq.RequantizeOp)
    def run_requantize(
        self, interpreter: Interpreter, op: sq.RequantizeOp, args: PythonValues
    ) -> PythonValues:
        """Both, one after the other."""
        source, target = sq.quant_type(op.input), sq.quant_type(op.result)
        assert source is not None
        assert target is not None
        x = dequantize(args[0], source, self.weights)
        return (quantize(x, target, self.weights),)

    @impl(sq.AverageOp)
    def run_average(
        self, interpreter: Interpreter, op: sq.AverageOp, args: PythonValues
    ) -> PythonValues:
        """Exact sums, then two steps in float32."""
        source, target = sq.quant_type(op.input), sq.quant_type(op.result)
        assert source is not None
        scale, _, zero_point = parameters_of(source, args[0].shape, self.weights)
        numbers, out = args[0].astype(np.float64) - zero_point, shape_of(op.result)[2:]
        if op.is_adaptive:
            means = windows.pool_adaptive(numbers, out, is_max=False)
        else:
            means = windows.pool_avg(
                numbers,
                out,
                kernel=op.kernel.get_values(),
                stride=op.stride.get_values(),
                padding=op.padding.get_values(),
                count_include_pad=bool(op.count_include_pad),
                divisor=op.divisor.value.data,
            )
        # A quotient of float32 numbers is rounded alike by way of float64.
        y = means.astype(np.float32) * scale
        return (y if target is None else quantize(y, target, self.weights),)

    @impl(sq.ResizeOp)
    def run_resize(
        self, interpreter: Interpreter, op: sq.ResizeOp, args: PythonValues
    ) -> PythonValues:
        """Bytes interpolated in float32, then two steps."""
        source, target = sq.quant_type(op.input), sq.quant_type(op.result)
        assert source is not None
        scale, _, zero_point = parameters_of(source, args[0].shape, self.weights)
        u = windows.resize_bytes(
            args[0],
            shape_of(op.result)[2:],
            op.scales.get_values(),
            align_corners=bool(op.align_corners),
        )
        y = (u - zero_point) * scale
        return (y if target is None else quantize(y, target, self.weights),)

    @impl(sq.ShuffleChannelsOp)
    def run_shuffle(
        self, interpreter: Interpreter, op: sq.ShuffleChannelsOp, args: PythonValues
    ) -> PythonValues:
        """By a reshape, a transpose, a reshape."""
        (x,) = args
        return (x.reshape(op.parts()).swapaxes(1, 2).reshape(x.shape),)

    @impl(sq.ChooseQparamsOp)
    def run_choose(
        self, interpreter: Interpreter, op: sq.ChooseQparamsOp, args: PythonValues
    ) -> PythonValues:
        """By the numbers of the input."""
        with np.errstate(all="ignore"):
            return choose(
                args[0], op.kind.data, op.range.get_values(), op.eps.value.data
            )

    @impl(sq.QuantizeDynamicOp)
    def run_quantize_dynamic(
        self, interpreter: Interpreter, op: sq.QuantizeDynamicOp, args: PythonValues
    ) -> PythonValues:
        """As `sq.quantize`, with operands."""
        type_ = sq.quant_type(op.result)
        assert type_ is not None
        x, scale, zero_point = args
        with np.errstate(all="ignore"):
            q = np.rint(x * (np.float32(1) / scale)) + zero_point
            return (np.clip(q, type_.low, type_.high).astype(dtype_of(type_)),)

    @impl(sq.DequantizeDynamicOp)
    def run_dequantize_dynamic(
        self, interpreter: Interpreter, op: sq.DequantizeDynamicOp, args: PythonValues
    ) -> PythonValues:
        """As `sq.dequantize`, with operands."""
        q, scale, zero_point = args
        return ((q.astype(np.float32) - zero_point) * scale,)
