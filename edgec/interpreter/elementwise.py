"""Functions of `nn.unary` and `nn.binary`, written as in their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgec.dialects.nn import BinaryKind, UnaryKind
from edgec.interpreter.arrays import WideArray


def erf(x: WideArray) -> WideArray:
    """The error function; numpy has none, so element by element."""
    flat = [math.erf(value) for value in x.ravel().tolist()]
    return np.array(flat, np.float64).reshape(x.shape)


def rsqrt(x: WideArray) -> WideArray:
    """`1 / sqrt(x)`."""
    return 1 / np.sqrt(x)


def reciprocal(x: WideArray) -> WideArray:
    """`1 / x`."""
    return 1 / x


def sign(x: WideArray) -> WideArray:
    """1, 0 or -1; 0 for what is not a number."""
    return (x > 0) * 1.0 - (x < 0) * 1.0


def relu(x: WideArray) -> WideArray:
    """`max(x, 0)`."""
    return np.maximum(x, 0)


def leaky_relu(x: WideArray, slope: WideArray | float) -> WideArray:
    """`x` above zero, `slope * x` below."""
    return np.where(x > 0, x, slope * x)


def sigmoid(x: WideArray) -> WideArray:
    """`1 / (1 + exp(-x))`."""
    return 1 / (1 + np.exp(-x))


def silu(x: WideArray) -> WideArray:
    """`x * sigmoid(x)`."""
    return x * sigmoid(x)


def softplus(x: WideArray, beta: float = 1.0, threshold: float = 20.0) -> WideArray:
    """`log(1 + exp(beta x)) / beta`, and `x` itself where `beta x > threshold`."""
    return np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta)


def elu(x: WideArray, alpha: float, scale: float, input_scale: float) -> WideArray:
    """`scale * x` above zero, `scale * alpha * (exp(input_scale x) - 1)` below."""
    return np.where(x > 0, scale * x, scale * alpha * np.expm1(input_scale * x))


def mish(x: WideArray) -> WideArray:
    """`x * tanh(softplus(x))`."""
    return x * np.tanh(softplus(x))


def gelu(x: WideArray) -> WideArray:
    """`x` times the normal distribution function at `x`."""
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x: WideArray) -> WideArray:
    """The approximation of GELU by a hyperbolic tangent."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def hardsigmoid(x: WideArray) -> WideArray:
    """`clip(x + 3, 0, 6) / 6`."""
    return np.clip(x + 3, 0, 6) / 6


def hardswish(x: WideArray) -> WideArray:
    """`x * hardsigmoid(x)`."""
    return x * hardsigmoid(x)


UNARY: dict[UnaryKind, Callable[..., WideArray]] = {
    UnaryKind.NEG: np.negative,
    UnaryKind.ABS: np.abs,
    UnaryKind.SQRT: np.sqrt,
    UnaryKind.RSQRT: rsqrt,
    UnaryKind.RECIPROCAL: reciprocal,
    UnaryKind.EXP: np.exp,
    UnaryKind.LOG: np.log,
    UnaryKind.SIN: np.sin,
    UnaryKind.COS: np.cos,
    UnaryKind.FLOOR: np.floor,
    UnaryKind.CEIL: np.ceil,
    UnaryKind.ROUND: np.rint,
    UnaryKind.SIGN: sign,
    UnaryKind.ERF: erf,
    UnaryKind.RELU: relu,
    UnaryKind.LEAKY_RELU: leaky_relu,
    UnaryKind.ELU: elu,
    UnaryKind.SILU: silu,
    UnaryKind.GELU: gelu,
    UnaryKind.GELU_TANH: gelu_tanh,
    UnaryKind.HARDSWISH: hardswish,
    UnaryKind.HARDSIGMOID: hardsigmoid,
    UnaryKind.SIGMOID: sigmoid,
    UnaryKind.TANH: np.tanh,
    UnaryKind.SOFTPLUS: softplus,
    UnaryKind.CLAMP: np.clip,
    UnaryKind.MISH: mish,
}
"""Kind → function of the input and the op's params."""

BINARY: dict[BinaryKind, Callable[[WideArray, WideArray], WideArray]] = {
    BinaryKind.ADD: np.add,
    BinaryKind.SUB: np.subtract,
    BinaryKind.MUL: np.multiply,
    BinaryKind.DIV: np.divide,
    BinaryKind.MIN: np.minimum,
    BinaryKind.MAX: np.maximum,
    BinaryKind.POW: np.power,
    BinaryKind.PRELU: leaky_relu,
}
"""Kind → function of both operands."""
