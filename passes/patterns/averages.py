"""Means of what bytes stand for, as means of the bytes."""

from __future__ import annotations

import math

from xdsl.dialects.builtin import TensorType, f32
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.dialects import nn, sq
from edgec.passes.analysis.quantized import is_in_bytes, is_over_planes
from edgec.passes.patterns.rewriting import (
    copy_labels,
    producer,
    quantized_alone,
    replace_with_end,
)

Mean = nn.PoolOp | nn.AdaptivePoolOp | nn.ReduceOp


def is_mean(op: Operation) -> bool:
    """Whether an op averages over windows or axes."""
    if isinstance(op, nn.ReduceOp):
        return op.kind.data is nn.ReduceKind.MEAN
    is_pool = isinstance(op, nn.PoolOp | nn.AdaptivePoolOp)
    return is_pool and op.kind.data is nn.PoolKind.AVG


def why_float(op: Mean) -> str | None:
    """Why a mean of what is dequantized stays one of float32; None if it does not."""
    maker = producer(op.input, sq.DequantizeOp)
    assert maker is not None
    type_ = sq.quant_type(maker.input)
    assert type_ is not None
    if type_.numbers is None:
        return "the input has several scales"
    shape = nn.shape_of(op.input)
    if not 3 <= len(shape) <= 5:
        return f"the input has rank {len(shape)}, not 3 to 5"
    if isinstance(op, nn.ReduceOp) and not is_over_planes(op):
        return f"it is over the axes {op.axes.get_values()}, not over planes"
    if positions(op) > sq.MOST_POSITIONS:
        return f"a window has more than {sq.MOST_POSITIONS} positions"
    if not is_in_bytes(maker.input):
        return "no integer layer makes or reads the input"
    return None


def positions(op: Mean) -> int:
    """Of the largest window."""
    if isinstance(op, nn.PoolOp):
        return math.prod(op.kernel.get_values())
    size = nn.shape_of(op.input)[2:]
    if isinstance(op, nn.ReduceOp):
        return math.prod(size)
    return sq.adaptive_positions(size, nn.shape_of(op.result)[2:])


def average_of(op: Mean, source: SSAValue) -> sq.AverageOp:
    """The mean of the bytes of `source`, in float32; a reduction keeps its axes."""
    shape = nn.shape_of(op.input)
    if isinstance(op, nn.AdaptivePoolOp):
        return sq.AverageOp(source, op.result.type)
    if isinstance(op, nn.ReduceOp):
        size, zeros = shape[2:], (0,) * len(shape[2:])
        type_ = TensorType(f32, (*shape[:2], *(1,) * len(size)))
        return sq.AverageOp(source, type_, kernel=size, stride=size, padding=zeros)
    return sq.AverageOp(
        source,
        op.result.type,
        kernel=op.kernel.get_values(),
        stride=op.stride.get_values(),
        padding=op.padding.get_values(),
        ceil_mode=bool(op.ceil_mode),
        count_include_pad=bool(op.count_include_pad),
        divisor=op.divisor.value.data,
    )


def take(op: Mean) -> None:
    """Replace a mean by that of the bytes, and the quantize op behind it."""
    maker = producer(op.input, sq.DequantizeOp)
    assert maker is not None
    new: list[Operation] = [average_of(op, maker.input)]
    shape = nn.shape_of(op.result)
    if nn.shape_of(new[0]) != shape:
        new.append(nn.ReshapeOp(new[0].results[0], shape))
    copy_labels(op, *new)
    old, type_ = quantized_alone(op.result)
    if type_ is not None:
        for each in new:
            quantized = TensorType(type_, nn.shape_of(each))
            Rewriter.replace_value_with_new_type(each.results[0], quantized)
    replace_with_end(op, new, old)
