"""What every `nn` op means, in numpy.

Each implementation widens its operands (floats to float64, integers to int64),
computes as the op's definition says, and rounds once to the element type of the
result. Encodings on tensor types say how values lie in memory, so they play no role.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from xdsl.dialects.builtin import StringAttr, bf16
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.dialects.bf16 import rounded
from edgec.dialects.sq import byte_of, quant_type
from edgec.errors import InvalidInput
from edgec.interpreter import windows
from edgec.interpreter.arrays import (
    AnyArray,
    WideArray,
    dense_to_array,
    dtype_of,
    widen,
)
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.interpreter.quant import dequantize
from edgec.interpreter.recurrent import recurrent


def narrow(value: WideArray, result: SSAValue) -> PythonValues:
    """`value` rounded to the element type of `result`, as the values of an op."""
    element = nn.tensor_type(result).element_type
    with np.errstate(all="ignore"):
        array = np.asarray(value).astype(dtype_of(element))
    if element == bf16:
        array = rounded(array)
    expected = nn.shape_of(result)
    assert array.shape == expected, f"computed {array.shape}, expected {expected}"
    return (array,)


def normalize(x: WideArray, axes: tuple[int, ...], eps: float) -> WideArray:
    """`(x - mean) / sqrt(variance + eps)` over `axes`, with the biased variance."""
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + eps)


def per_channel(values: WideArray, rank: int) -> WideArray:
    """`[C]` as `[C, 1, …]`, which broadcasts along dimension 1 of `rank`."""
    return values.reshape(-1, *(1,) * (rank - 2))


def softmax(x: WideArray, axis: int, *, log: bool) -> WideArray:
    """Softmax or its logarithm along one axis."""
    shifted = x - x.max(axis, keepdims=True)
    total = np.exp(shifted).sum(axis, keepdims=True)
    return shifted - np.log(total) if log else np.exp(shifted) / total


def pad(
    x: AnyArray,
    kind: nn.PadKind,
    low: tuple[int, ...],
    high: tuple[int, ...],
    value: float,
) -> AnyArray:
    """Pad by the positive entries, then crop by the negative ones."""
    widths = [(max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True)]
    if kind is nn.PadKind.CONSTANT:
        x = np.pad(x, widths, constant_values=value)
    else:
        x = np.pad(x, widths, "reflect" if kind is nn.PadKind.REFLECT else "edge")
    crop = [
        slice(max(-a, 0), size - max(-b, 0))
        for a, b, size in zip(low, high, x.shape, strict=True)
    ]
    return x[tuple(crop)]


def argmax(x: WideArray, axis: tuple[int, ...], *, keepdims: bool) -> WideArray:
    """Position of the first largest element along one axis."""
    return np.asarray(np.argmax(x, axis[0], keepdims=keepdims))


def argmin(x: WideArray, axis: tuple[int, ...], *, keepdims: bool) -> WideArray:
    """Position of the first smallest element along one axis."""
    return np.asarray(np.argmin(x, axis[0], keepdims=keepdims))


REDUCE: dict[nn.ReduceKind, Callable[..., Any]] = {
    nn.ReduceKind.SUM: np.add.reduce,
    nn.ReduceKind.MEAN: np.ndarray.mean,
    nn.ReduceKind.MAX: np.maximum.reduce,
    nn.ReduceKind.MIN: np.minimum.reduce,
    nn.ReduceKind.PROD: np.multiply.reduce,
    nn.ReduceKind.ARGMAX: argmax,
    nn.ReduceKind.ARGMIN: argmin,
}
"""Kind → function of the input, a tuple of axes, and whether to keep dimensions.

The functions have many overloads, one of which is meant, hence `Any`.
"""


@register_impls
class NnFunctions(InterpreterFunctions):
    """Implementations of the `nn` dialect for xDSL's interpreter."""

    def __init__(self, weights: WeightStore) -> None:
        self.weights = weights

    @impl(nn.ConstantOp)
    def run_constant(
        self, interpreter: Interpreter, op: nn.ConstantOp, args: PythonValues
    ) -> PythonValues:
        """The array behind the name, or the values in the IR."""
        if not isinstance(op.value, StringAttr):
            return (dense_to_array(op.value),)
        name, type_ = op.value.data, nn.tensor_type(op.result)
        array = self.weights[name]
        expected = (type_.get_shape(), dtype_of(type_.element_type))
        if (array.shape, array.dtype) != expected:
            raise InvalidInput(
                f"weights '{name}' must be {expected[1]}{list(expected[0])}, "
                f"got {array.dtype}{list(array.shape)}"
            )
        return (array,)

    @impl(nn.ConvOp)
    def run_conv(
        self, interpreter: Interpreter, op: nn.ConvOp, args: PythonValues
    ) -> PythonValues:
        """Cross-correlation, then the bias."""
        x, w, *bias = map(widen, args)
        y = windows.convolve(
            x,
            w,
            stride=op.stride.get_values(),
            low=op.padding_low.get_values(),
            high=op.padding_high.get_values(),
            dilation=op.dilation.get_values(),
            groups=op.groups.value.data,
        )
        return narrow(sum((per_channel(b, y.ndim) for b in bias), y), op.result)

    @impl(nn.ConvTransposeOp)
    def run_conv_transpose(
        self, interpreter: Interpreter, op: nn.ConvTransposeOp, args: PythonValues
    ) -> PythonValues:
        """Transposed convolution, then the bias."""
        x, w, *bias = map(widen, args)
        y = windows.convolve_transposed(
            x,
            w,
            stride=op.stride.get_values(),
            padding=op.padding.get_values(),
            output_padding=op.output_padding.get_values(),
            dilation=op.dilation.get_values(),
            groups=op.groups.value.data,
        )
        return narrow(sum((per_channel(b, y.ndim) for b in bias), y), op.result)

    @impl(nn.LinearOp)
    def run_linear(
        self, interpreter: Interpreter, op: nn.LinearOp, args: PythonValues
    ) -> PythonValues:
        """`x @ w.T + b`."""
        x, w, *bias = map(widen, args)
        return narrow(sum(bias, x @ w.T), op.result)

    @impl(nn.MatmulOp)
    def run_matmul(
        self, interpreter: Interpreter, op: nn.MatmulOp, args: PythonValues
    ) -> PythonValues:
        """`lhs @ rhs`."""
        lhs, rhs = map(widen, args)
        return narrow(lhs @ rhs, op.result)

    @impl(nn.RecurrentOp)
    def run_recurrent(
        self, interpreter: Interpreter, op: nn.RecurrentOp, args: PythonValues
    ) -> PythonValues:
        """One step after the other."""
        wide = {
            value: widen(array) for value, array in zip(op.operands, args, strict=True)
        }
        type_ = quant_type(op.weight)
        if type_ is not None:
            wide[op.weight] = widen(dequantize(args[1], type_, self.weights))
        values = recurrent(
            op.kind.data,
            wide[op.gates],
            wide[op.weight],
            None if op.bias is None else wide[op.bias],
            wide[op.initial],
            None if op.cell is None else wide[op.cell],
            reverse=bool(op.reverse),
        )
        pairs = zip(values, op.results, strict=True)
        return tuple(narrow(value, result)[0] for value, result in pairs)

    @impl(nn.BatchNormOp)
    def run_batch_norm(
        self, interpreter: Interpreter, op: nn.BatchNormOp, args: PythonValues
    ) -> PythonValues:
        """`(x - mean) / sqrt(variance + eps) * scale + shift` per channel."""
        x = widen(args[0])
        scale, shift, mean, variance = (
            per_channel(widen(value), x.ndim) for value in args[1:]
        )
        y = (x - mean) / np.sqrt(variance + op.eps.value.data) * scale + shift
        return narrow(y, op.result)

    @impl(nn.LayerNormOp)
    def run_layer_norm(
        self, interpreter: Interpreter, op: nn.LayerNormOp, args: PythonValues
    ) -> PythonValues:
        """Normalize over the last dimensions, scale and shift each position."""
        x, scale, shift = map(widen, args)
        axes = tuple(range(x.ndim - op.normalized_rank.value.data, x.ndim))
        y = normalize(x, axes, op.eps.value.data) * scale + shift
        return narrow(y, op.result)

    @impl(nn.GroupNormOp)
    def run_group_norm(
        self, interpreter: Interpreter, op: nn.GroupNormOp, args: PythonValues
    ) -> PythonValues:
        """Normalize over groups of channels, scale and shift each channel."""
        x, scale, shift = map(widen, args)
        grouped = x.reshape(x.shape[0], op.groups.value.data, -1)
        y = normalize(grouped, (2,), op.eps.value.data).reshape(x.shape)
        y = y * per_channel(scale, x.ndim) + per_channel(shift, x.ndim)
        return narrow(y, op.result)

    @impl(nn.SoftmaxOp)
    def run_softmax(
        self, interpreter: Interpreter, op: nn.SoftmaxOp, args: PythonValues
    ) -> PythonValues:
        """Softmax or its logarithm."""
        y = softmax(widen(args[0]), op.axis.value.data, log=bool(op.log))
        return narrow(y, op.result)

    @impl(nn.UnaryOp)
    def run_unary(
        self, interpreter: Interpreter, op: nn.UnaryOp, args: PythonValues
    ) -> PythonValues:
        """The function of `kind`, with its params."""
        with np.errstate(all="ignore"):
            y = UNARY[op.kind.data](widen(args[0]), *op.parameters)
        return narrow(y, op.result)

    @impl(nn.BinaryOp)
    def run_binary(
        self, interpreter: Interpreter, op: nn.BinaryOp, args: PythonValues
    ) -> PythonValues:
        """The function of `kind`, broadcasting."""
        with np.errstate(all="ignore"):
            y = BINARY[op.kind.data](widen(args[0]), widen(args[1]))
        return narrow(y, op.result)

    @impl(nn.CastOp)
    def run_cast(
        self, interpreter: Interpreter, op: nn.CastOp, args: PythonValues
    ) -> PythonValues:
        """Numpy's conversion, which truncates towards zero."""
        return narrow(args[0], op.result)

    @impl(nn.PoolOp)
    def run_pool(
        self, interpreter: Interpreter, op: nn.PoolOp, args: PythonValues
    ) -> PythonValues:
        """Max or average over windows."""
        x, out = widen(args[0]), nn.shape_of(op.result)[2:]
        kernel, stride = op.kernel.get_values(), op.stride.get_values()
        padding = op.padding.get_values()
        if op.kind.data is nn.PoolKind.MAX:
            y = windows.pool_max(
                x,
                out,
                kernel=kernel,
                stride=stride,
                padding=padding,
                dilation=op.dilation.get_values(),
            )
        else:
            y = windows.pool_avg(
                x,
                out,
                kernel=kernel,
                stride=stride,
                padding=padding,
                count_include_pad=bool(op.count_include_pad),
                divisor=op.divisor.value.data,
            )
        return narrow(y, op.result)

    @impl(nn.AdaptivePoolOp)
    def run_adaptive_pool(
        self, interpreter: Interpreter, op: nn.AdaptivePoolOp, args: PythonValues
    ) -> PythonValues:
        """Max or average over windows that share the input evenly."""
        is_max = op.kind.data is nn.PoolKind.MAX
        out = nn.shape_of(op.result)[2:]
        y = windows.pool_adaptive(widen(args[0]), out, is_max=is_max)
        return narrow(y, op.result)

    @impl(nn.ReduceOp)
    def run_reduce(
        self, interpreter: Interpreter, op: nn.ReduceOp, args: PythonValues
    ) -> PythonValues:
        """Reduction over axes."""
        axes, keep = op.axes.get_values(), bool(op.keep_dims)
        y = REDUCE[op.kind.data](widen(args[0]), axis=axes, keepdims=keep)
        return narrow(y, op.result)

    @impl(nn.ResizeOp)
    def run_resize(
        self, interpreter: Interpreter, op: nn.ResizeOp, args: PythonValues
    ) -> PythonValues:
        """Nearest or bilinear sampling."""
        out, scales = nn.shape_of(op.result)[2:], op.scales.get_values()
        x = widen(args[0])
        if op.kind.data is nn.ResizeKind.NEAREST:
            y = windows.resize_nearest(x, out, scales)
        else:
            align = bool(op.align_corners)
            y = windows.resize_linear(x, out, scales, align_corners=align)
        return narrow(y, op.result)

    @impl(nn.ReshapeOp)
    def run_reshape(
        self, interpreter: Interpreter, op: nn.ReshapeOp, args: PythonValues
    ) -> PythonValues:
        """Same elements in row-major order."""
        return (args[0].reshape(nn.shape_of(op.result)),)

    @impl(nn.TransposeOp)
    def run_transpose(
        self, interpreter: Interpreter, op: nn.TransposeOp, args: PythonValues
    ) -> PythonValues:
        """Permuted dimensions."""
        return (args[0].transpose(op.permutation.get_values()),)

    @impl(nn.ConcatOp)
    def run_concat(
        self, interpreter: Interpreter, op: nn.ConcatOp, args: PythonValues
    ) -> PythonValues:
        """Inputs one after the other along `axis`."""
        return (np.concatenate(args, op.axis.value.data),)

    @impl(nn.SliceOp)
    def run_slice(
        self, interpreter: Interpreter, op: nn.SliceOp, args: PythonValues
    ) -> PythonValues:
        """Every `step`-th element from `start` on."""
        index = tuple(
            slice(start, start + size * step, step)
            for start, size, step in zip(
                op.starts.get_values(),
                nn.shape_of(op.result),
                op.steps.get_values(),
                strict=True,
            )
        )
        return (args[0][index],)

    @impl(nn.PadOp)
    def run_pad(
        self, interpreter: Interpreter, op: nn.PadOp, args: PythonValues
    ) -> PythonValues:
        """Added positions, then removed ones; of bytes by what stands for the value."""
        low, high, value = (
            op.low.get_values(),
            op.high.get_values(),
            op.value.value.data,
        )
        type_ = quant_type(op.input)
        if type_ is not None and op.kind.data is nn.PadKind.CONSTANT:
            byte = byte_of(type_, value)
            if byte is None:
                raise InvalidInput(f"'{op.name}' op has no byte for {value} in {type_}")
            value = byte
        return (pad(args[0], op.kind.data, low, high, value),)

    @impl(nn.BroadcastOp)
    def run_broadcast(
        self, interpreter: Interpreter, op: nn.BroadcastOp, args: PythonValues
    ) -> PythonValues:
        """Numpy's `broadcast_to`."""
        return (np.broadcast_to(args[0], nn.shape_of(op.result)),)
