"""From poolings and reductions to their kernels."""

from __future__ import annotations

from dataclasses import replace

from xdsl.ir import SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput
from edgec.kernels.adaptive import adaptive_pool
from edgec.kernels.adaptive_quads import AdaptiveQuads
from edgec.kernels.conv.flat import FlatConv
from edgec.kernels.conv.lower import lower_conv
from edgec.kernels.conv.pooled import MaxPool
from edgec.kernels.layout import Layout, in_planes
from edgec.kernels.lowered import Lowered
from edgec.kernels.mean_quads import Ending, MeanQuads
from edgec.kernels.operands import (
    dequantize_of,
    layout_of,
    requantize_of,
    require_f32,
    zero_of,
)
from edgec.kernels.pool import Pool
from edgec.kernels.pool_pairs import PoolPairs
from edgec.kernels.pool_quads import AverageQuads
from edgec.kernels.reduce import Reduce


def lower_pool(op: nn.PoolOp, _: WeightStore, __: int) -> Lowered:
    """Windows of one size; of quads, their largest bytes."""
    zero_point, is_bf16 = zero_of(op.input), sq.has_bf16(op.input)
    if not is_bf16 and (zero_point is None or op.kind.data is not nn.PoolKind.MAX):
        require_f32(op.input)
    spec = (PoolPairs if is_bf16 else Pool)(
        op.kind.data.value,
        layout_of(op.input),
        layout_of(op.result),
        kernel=tuple(op.kernel.get_values()),
        stride=tuple(op.stride.get_values()),
        padding=tuple(op.padding.get_values()),
        dilation=tuple(op.dilation.get_values()),
        count_include_pad=bool(op.count_include_pad),
        divisor=op.divisor.value.data,
        zero_point=zero_point,
    )
    return Lowered(spec, (op.input,))


def lower_pooled_conv(op: sq.DispatchOp, weights: WeightStore, lanes: int) -> Lowered:
    """The kernel of the convolution, which stores the largest of each window."""
    match op.ops:
        case (sq.ConvOp() as conv, nn.PoolOp() as pool):
            lowered = lower_conv(conv, weights, lanes)
        case ops:
            names = ", ".join(each.name for each in ops) or "nothing"
            raise InvalidInput(f"must hold sq.conv and nn.pool, got {names}")
    if not isinstance(lowered.spec, FlatConv):
        raise InvalidInput(
            "must hold an sq.conv with a kernel over flat positions (dense, columns, "
            f"quads), got {type(lowered.spec).__name__}"
        )
    rows, columns = pool.kernel.get_values()
    window = MaxPool(layout_of(op.result), (rows, columns))
    return replace(lowered, spec=replace(lowered.spec, pool=window))


def lower_adaptive_pool(op: nn.AdaptivePoolOp, _: WeightStore, __: int) -> Lowered:
    """Windows that share the input evenly; of quads, their largest bytes."""
    if sq.has_integers(op.input) and op.kind.data is nn.PoolKind.MAX:
        return Lowered(_largest(op.input, op.result), (op.input,))
    require_f32(op.input)
    kind = op.kind.data.value
    spec = adaptive_pool(kind, layout_of(op.input), layout_of(op.result))
    return Lowered(spec, (op.input,))


def lower_reduce(op: nn.ReduceOp, _: WeightStore, __: int) -> Lowered:
    """A reduction over axes; of quads, the largest bytes of planes."""
    if sq.has_integers(op.input) and op.kind.data is nn.ReduceKind.MAX:
        return Lowered(_largest(op.input, op.result), (op.input,))
    require_f32(op.input)
    axes = tuple(op.axes.get_values())
    kind = op.kind.data.value
    return Lowered(
        Reduce(kind, layout_of(op.input), layout_of(op.result), axes), (op.input,)
    )


def lower_average(op: sq.AverageOp, _: WeightStore, __: int) -> Lowered:
    """Means of bytes: of whole planes, of windows of one size, or of others."""
    source, result = in_planes(layout_of(op.input)), in_planes(layout_of(op.result))
    ending = _ending(op.input, op.result, result)
    quantized, to = ending.quantized, ending.requantize
    if op.is_adaptive:
        return Lowered(AdaptiveQuads("avg", source, ending), (op.input,))
    lead = len(source.shape) - len(nn.shape_of(op.input))
    kernel, stride, padding = (
        (*(value,) * lead, *numbers.get_values())
        for value, numbers in ((1, op.kernel), (1, op.stride), (0, op.padding))
    )
    is_whole = kernel == source.shape[2:] and not any(padding)
    if is_whole and op.divisor.value.data == 0:
        mean = MeanQuads(source, result, ending.channels, quantized, to)
        return Lowered(mean, (op.input,))
    spec = AverageQuads(
        "avg",
        source,
        result,
        kernel,
        stride,
        padding,
        (1,) * len(kernel),
        bool(op.count_include_pad),
        op.divisor.value.data,
        quantized=quantized,
        requantize=to,
    )
    return Lowered(spec, (op.input,))


def _largest(source: SSAValue, result: SSAValue) -> AdaptiveQuads:
    """The largest bytes of windows that share planes evenly."""
    place = in_planes(layout_of(source))
    ending = _ending(source, result, _with_planes(layout_of(result), place))
    return AdaptiveQuads("max", place, ending)


def _with_planes(result: Layout, source: Layout) -> Layout:
    """A layout of a result, with dimensions of one position where it has none."""
    missing = (1,) * (len(source.shape) - len(result.shape))
    if not missing:
        return result
    shape = (*result.shape[:2], *missing, *result.shape[2:])
    strides = (*result.strides[:2], *missing, *result.strides[2:])
    return replace(result, shape=shape, strides=strides)


def _ending(source: SSAValue, result: SSAValue, place: Layout) -> Ending:
    quantized = dequantize_of(source)
    assert quantized is not None
    channels = nn.shape_of(result)[1]
    return Ending(place, channels, quantized, requantize_of(result))
