"""Why a layer with a stored weight computes in float32, if it does."""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.interpreter.quant import parameters_of
from edgec.passes.analysis.linear_inputs import quantized_rows
from edgec.passes.analysis.quantized import end_in_bytes
from edgec.passes.constants import read_constant
from edgec.passes.patterns.rewriting import producer

Layer = nn.ConvOp | nn.LinearOp | nn.ConvTransposeOp

LARGEST_BYTE = 255
LARGEST_WEIGHT = 128
LARGEST_SUM = 2**31 - 1


def why_float(op: Layer, weights: WeightStore) -> str | None:
    """Why no integer kernel runs a layer with a stored weight; None if one does."""
    if isinstance(op, nn.ConvTransposeOp):
        return "there is no integer kernel for transposed layers"
    if isinstance(op, nn.LinearOp):
        # `flatten-rows` has made matrices of the inputs that nothing else stops.
        return why_not_as_rows(op, weights) or _why_not_rows(op)
    return (
        _why_not_geometry(op)
        or _why_not_input(op)
        or _why_not_weight(op.weight, weights)
    )


def why_not_as_rows(op: nn.LinearOp, weights: WeightStore) -> str | None:
    """The same of a linear layer, were its input a matrix."""
    return (
        _why_not_bias(op) or _why_not_input(op) or _why_not_weight(op.weight, weights)
    )


def _why_not_rows(op: nn.LinearOp) -> str | None:
    rank = len(nn.shape_of(op.input))
    return None if rank == 2 else f"the input has rank {rank}, not 2"


def _why_not_geometry(op: nn.ConvOp) -> str | None:
    rank = len(nn.shape_of(op.weight))
    if rank not in (4, 5):
        return f"the weight has rank {rank}, not 4 or 5"
    if op.groups.value.data != 1:
        reason = _why_not_groups(op)
        if reason is not None:
            return reason
    return _why_not_bias(op)


def _why_not_bias(op: nn.ConvOp | nn.LinearOp) -> str | None:
    if op.bias is not None and not isinstance(op.bias.owner, nn.ConstantOp):
        return "the bias is computed"
    return None


def _why_not_groups(op: nn.ConvOp) -> str | None:
    groups, channels = op.groups.value.data, nn.shape_of(op.input)[1]
    filters, *_ = shape = nn.shape_of(op.weight)
    if groups != channels:
        return "there is no integer kernel for groups of several channels"
    if filters != channels:
        return f"there is no integer kernel for {filters // groups} filters per channel"
    if len(shape) != 4:
        return "there is no integer kernel for depthwise 3-D convolutions"
    if end_in_bytes(op.result) is None:
        return "the result of a depthwise layer is not quantized"
    return None


def source_of(op: nn.ConvOp | nn.LinearOp) -> SSAValue | None:
    """The quantized tensor that stands for the input of a layer."""
    if isinstance(op, nn.LinearOp):
        return quantized_rows(op.input)
    maker = producer(op.input, sq.DequantizeOp)
    return None if maker is None else maker.input


def _why_not_input(op: nn.ConvOp | nn.LinearOp) -> str | None:
    if isinstance(op.input.owner, sq.DequantizeDynamicOp):
        return "the scale of the input is computed at run time"
    source = source_of(op)
    if source is None:
        return "the input is float32"
    type_ = sq.quant_type(source)
    assert type_ is not None
    if type_.numbers is None:
        return "the input has several scales"
    return None


def _why_not_weight(weight: SSAValue, weights: WeightStore) -> str | None:
    stored = stored_of(weight)
    assert stored is not None
    type_ = sq.quant_type(stored)
    assert type_ is not None
    reason = sq.why_no_weight(type_)
    if reason is not None:
        return f"the weight does not suit integer kernels: {reason}"
    shape = nn.shape_of(stored)
    if parameters_of(type_, shape, weights).zero_point.any():
        return "the weight has zero points"
    if LARGEST_BYTE * LARGEST_WEIGHT * math.prod(shape[1:]) <= LARGEST_SUM:
        return None
    array = read_constant(stored, weights)
    assert array is not None
    sums = np.abs(array.reshape(len(array), -1).astype(np.int64)).sum(1)
    if LARGEST_BYTE * sums.max(initial=0) > LARGEST_SUM:
        return "its sums may not fit 32 bits"
    return None


def stored_of(weight: SSAValue) -> SSAValue | None:
    """The constant in integers that a weight is dequantized from."""
    maker = producer(weight, sq.DequantizeOp)
    if maker is None or not isinstance(maker.input.owner, nn.ConstantOp):
        return None
    return maker.input
