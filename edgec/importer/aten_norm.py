"""Rules for normalizations. Missing scales and shifts become ones and zeros."""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder
from edgec.importer.problems import Unsupported


def _batch_norm(
    b: Builder,
    input: SSAValue,
    weight: SSAValue | None,
    bias: SSAValue | None,
    running_mean: SSAValue | None,
    running_var: SSAValue | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> SSAValue:
    if training and running_mean is not None:
        raise Unsupported(
            "it is in training mode and would change its running statistics",
            "call model.eval() before exporting",
        )
    channels = nn.shape_of(input)[1]
    if training or running_mean is None or running_var is None:
        running_mean, running_var = _batch_statistics(b, input)
    return b.emit(
        nn.BatchNormOp(
            input,
            b.filled(weight, 1.0, (channels,)),
            b.filled(bias, 0.0, (channels,)),
            running_mean,
            running_var,
            eps,
        )
    )


def _batch_statistics(b: Builder, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """Mean and biased variance per channel of this very batch."""
    shape = nn.shape_of(x)
    axes = [axis for axis in range(len(shape)) if axis != 1]
    mean = b.emit(nn.ReduceOp("mean", x, axes, keep_dims=True))
    centred = b.binary("sub", x, mean)
    square = b.binary("mul", centred, centred)
    variance = b.emit(nn.ReduceOp("mean", square, axes, keep_dims=False))
    return b.reshape(mean, (shape[1],)), variance


def _batch_norm_core(
    b: Builder,
    input: SSAValue,
    weight: SSAValue | None,
    bias: SSAValue | None,
    running_mean: SSAValue,
    running_var: SSAValue,
    momentum: float,
    eps: float,
) -> tuple[SSAValue, None, None]:
    y = _batch_norm(
        b, input, weight, bias, running_mean, running_var, False, momentum, eps
    )
    return y, None, None


def _batch_norm_no_stats(
    b: Builder,
    input: SSAValue,
    weight: SSAValue | None,
    bias: SSAValue | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[SSAValue, None, None]:
    y = _batch_norm(b, input, weight, bias, None, None, training, momentum, eps)
    return y, None, None


def _instance_norm(
    b: Builder,
    input: SSAValue,
    weight: SSAValue | None,
    bias: SSAValue | None,
    running_mean: SSAValue | None,
    running_var: SSAValue | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> SSAValue:
    if not use_input_stats:
        return _batch_norm(
            b, input, weight, bias, running_mean, running_var, False, momentum, eps
        )
    channels = nn.shape_of(input)[1]
    return _group_norm(b, input, channels, weight, bias, eps)


def _group_norm(
    b: Builder,
    input: SSAValue,
    num_groups: int,
    weight: SSAValue | None = None,
    bias: SSAValue | None = None,
    eps: float = 1e-05,
    cudnn_enabled: bool = True,
) -> SSAValue:
    channels = nn.shape_of(input)[1]
    return b.emit(
        nn.GroupNormOp(
            input,
            b.filled(weight, 1.0, (channels,)),
            b.filled(bias, 0.0, (channels,)),
            eps,
            num_groups,
        )
    )


def _group_norm_core(
    b: Builder,
    input: SSAValue,
    weight: SSAValue | None,
    bias: SSAValue | None,
    N: int,  # noqa: N803  torch's name
    C: int,  # noqa: N803  torch's name
    HxW: int,  # noqa: N803  torch's name
    group: int,
    eps: float,
) -> tuple[SSAValue, None, None]:
    return _group_norm(b, input, group, weight, bias, eps), None, None


def _layer_norm(
    b: Builder,
    input: SSAValue,
    normalized_shape: Sequence[int],
    weight: SSAValue | None = None,
    bias: SSAValue | None = None,
    eps: float = 1e-05,
    cudnn_enable: bool = True,
) -> SSAValue:
    return b.emit(
        nn.LayerNormOp(
            input,
            b.filled(weight, 1.0, normalized_shape),
            b.filled(bias, 0.0, normalized_shape),
            eps,
            len(normalized_shape),
        )
    )


def _layer_norm_core(
    b: Builder,
    input: SSAValue,
    normalized_shape: Sequence[int],
    weight: SSAValue | None,
    bias: SSAValue | None,
    eps: float,
) -> tuple[SSAValue, None, None]:
    return _layer_norm(b, input, normalized_shape, weight, bias, eps), None, None


def _rms_norm(
    b: Builder,
    input: SSAValue,
    normalized_shape: Sequence[int],
    weight: SSAValue | None = None,
    eps: float | None = None,
) -> SSAValue:
    rank = len(nn.shape_of(input))
    axes = list(range(rank - len(normalized_shape), rank))
    square = b.binary("mul", input, input)
    mean = b.emit(nn.ReduceOp("mean", square, axes, keep_dims=True))
    # torch's default is the smallest float32 step at 1.
    safe = b.binary("add", mean, 2.0**-23 if eps is None else eps)
    y = b.binary("mul", input, b.unary("rsqrt", safe))
    return y if weight is None else b.binary("mul", y, weight)


RULES: dict[str, Callable[..., Any]] = {
    "batch_norm.default": _batch_norm,
    "_native_batch_norm_legit_no_training.default": _batch_norm_core,
    "_native_batch_norm_legit.no_stats": _batch_norm_no_stats,
    "instance_norm.default": _instance_norm,
    "group_norm.default": _group_norm,
    "native_group_norm.default": _group_norm_core,
    "layer_norm.default": _layer_norm,
    "native_layer_norm.default": _layer_norm_core,
    "rms_norm.default": _rms_norm,
}
