"""Rules for activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, Scalar, axis_of
from edgec.importer.problems import Unsupported

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
"""Klambauer et al., Self-Normalizing Neural Networks, 2017."""


def _plain(kind: str) -> Callable[[Builder, SSAValue], SSAValue]:
    def build(b: Builder, self: SSAValue) -> SSAValue:
        return b.unary(kind, self)

    return build


def _relu6(b: Builder, self: SSAValue) -> SSAValue:
    return b.unary("clamp", self, 0.0, 6.0)


def _hardtanh(
    b: Builder, self: SSAValue, min_val: Scalar = -1, max_val: Scalar = 1
) -> SSAValue:
    return b.unary("clamp", self, float(min_val), float(max_val))


def _leaky_relu(b: Builder, self: SSAValue, negative_slope: Scalar = 0.01) -> SSAValue:
    return b.unary("leaky_relu", self, float(negative_slope))


def _rrelu(
    b: Builder,
    self: SSAValue,
    lower: Scalar = 0.125,
    upper: Scalar = 0.3333333333333333,
    training: bool = False,
    generator: None = None,
) -> SSAValue:
    if training:
        raise Unsupported("it draws random slopes in training", "call model.eval()")
    return b.unary("leaky_relu", self, (lower + upper) / 2)


def _elu(
    b: Builder,
    self: SSAValue,
    alpha: Scalar = 1,
    scale: Scalar = 1,
    input_scale: Scalar = 1,
) -> SSAValue:
    return b.unary("elu", self, float(alpha), float(scale), float(input_scale))


def _selu(b: Builder, self: SSAValue) -> SSAValue:
    return b.unary("elu", self, SELU_ALPHA, SELU_SCALE, 1.0)


def _celu(b: Builder, self: SSAValue, alpha: Scalar = 1.0) -> SSAValue:
    return b.unary("elu", self, float(alpha), 1.0, 1.0 / alpha)


def _gelu(b: Builder, self: SSAValue, *, approximate: str = "none") -> SSAValue:
    return b.unary("gelu_tanh" if approximate == "tanh" else "gelu", self)


def _softplus(
    b: Builder, self: SSAValue, beta: Scalar = 1, threshold: Scalar = 20
) -> SSAValue:
    return b.unary("softplus", self, float(beta), float(threshold))


def _log_sigmoid(b: Builder, self: SSAValue) -> SSAValue:
    return b.unary("neg", b.unary("softplus", b.unary("neg", self), 1.0, 20.0))


def _log_sigmoid_forward(b: Builder, self: SSAValue) -> tuple[SSAValue, None]:
    return _log_sigmoid(b, self), None


def _prelu(b: Builder, self: SSAValue, weight: SSAValue) -> SSAValue:
    shape = nn.shape_of(self)
    if nn.shape_of(weight) != ():
        # One slope per channel, which is dimension 1, or 0 where that is all there is.
        after = max(len(shape) - 2, 0)
        weight = b.reshape(weight, (nn.shape_of(weight)[0], *[1] * after))
    return b.binary("prelu", self, weight)


def _softshrink(b: Builder, self: SSAValue, lambd: Scalar = 0.5) -> SSAValue:
    return b.binary("sub", self, b.unary("clamp", self, -float(lambd), float(lambd)))


def _glu(b: Builder, self: SSAValue, dim: int = -1) -> SSAValue:
    shape = nn.shape_of(self)
    axis = axis_of(dim, len(shape))
    half = shape[axis] // 2
    gate = b.unary("sigmoid", b.slice(self, axis, half, half))
    return b.binary("mul", b.slice(self, axis, 0, half), gate)


def _softmax(
    b: Builder, self: SSAValue, dim: int, dtype: torch.dtype | None = None
) -> SSAValue:
    axis = axis_of(dim, len(nn.shape_of(self)))
    return b.emit(nn.SoftmaxOp(self, axis))


def _log_softmax(
    b: Builder, self: SSAValue, dim: int, dtype: torch.dtype | None = None
) -> SSAValue:
    axis = axis_of(dim, len(nn.shape_of(self)))
    return b.emit(nn.SoftmaxOp(self, axis, log=True))


def _softmax_core(
    b: Builder, self: SSAValue, dim: int, half_to_float: bool
) -> SSAValue:
    return _softmax(b, self, dim)


def _log_softmax_core(
    b: Builder, self: SSAValue, dim: int, half_to_float: bool
) -> SSAValue:
    return _log_softmax(b, self, dim)


RULES: dict[str, Callable[..., Any]] = {
    **{
        f"{kind}.default": _plain(kind)
        for kind in (
            "relu",
            "silu",
            "hardswish",
            "hardsigmoid",
            "sigmoid",
            "tanh",
            "mish",
        )
    },
    "relu6.default": _relu6,
    "hardtanh.default": _hardtanh,
    "leaky_relu.default": _leaky_relu,
    "rrelu.default": _rrelu,
    "elu.default": _elu,
    "selu.default": _selu,
    "celu.default": _celu,
    "gelu.default": _gelu,
    "softplus.default": _softplus,
    "log_sigmoid.default": _log_sigmoid,
    "log_sigmoid_forward.default": _log_sigmoid_forward,
    "prelu.default": _prelu,
    "_prelu_kernel.default": _prelu,
    "softshrink.default": _softshrink,
    "glu.default": _glu,
    "softmax.int": _softmax,
    "log_softmax.int": _log_softmax,
    "_softmax.default": _softmax_core,
    "_log_softmax.default": _log_softmax_core,
}
