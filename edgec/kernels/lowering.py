"""From an op to its kernel: which spec, and which buffers it is launched with.

One function per op, found by its class. The large families have files of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels import move
from edgec.kernels.byte_table import Bytes, byte_table
from edgec.kernels.channel_quads import ChannelQuads
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.conv.lower import lower_conv
from edgec.kernels.elementwise import Elementwise
from edgec.kernels.elementwise_quads import ElementwiseQuads, Operand
from edgec.kernels.layout import in_planes, plain
from edgec.kernels.linear.lower import (
    lower_fused_linear,
    lower_fused_matmul,
    lower_linear,
    lower_matmul,
)
from edgec.kernels.look_up import LookUpBytes
from edgec.kernels.lower_pools import (
    lower_adaptive_pool,
    lower_average,
    lower_pool,
    lower_pooled_conv,
    lower_reduce,
)
from edgec.kernels.lower_resize import lower_interpolation, lower_resize
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.norm import BatchNorm, GroupNorm, LayerNorm
from edgec.kernels.operands import (
    dequantize_of,
    element_of,
    gap_of,
    has_aligned_parts,
    in_place,
    layout_of,
    requantize_of,
    require_f32,
    steps_of,
    zero_of,
)
from edgec.kernels.pairs import FromPairs, to_pairs
from edgec.kernels.quads import dequantize_kernel, quantize_kernel
from edgec.kernels.recurrent.lower import lower_recurrent
from edgec.kernels.requantize import quad_of
from edgec.kernels.softmax import Softmax
from edgec.kernels.strides import stored_starts

Lower = Callable[[Any, WeightStore, int], Lowered]
"""`lower(op, weights, lanes)`; the class of `op` is the key of the table."""


def find_lowering(op: Operation) -> Lower | None:
    """The function that lowers ops of this class; None if there is none."""
    return LOWERINGS.get(type(op))


def lower(op: Operation, weights: WeightStore, lanes: int) -> Lowered:
    """The launch that computes the results of `op`, for vectors of `lanes`.

    Raises `PassFailed` for an op without a kernel or a tensor that its kernel does not
    take, naming the op.
    """
    function = find_lowering(op)
    if function is None:
        raise PassFailed(f"no kernel for '{op.name}'")
    try:
        return function(op, weights, lanes)
    except InvalidInput as error:
        raise PassFailed(f"'{op.name}' op {error}") from error


def lower_copy(value: SSAValue) -> Lowered:
    """A launch that copies a tensor to a plain buffer without slack."""
    element = element_of(value)
    output = plain(nn.shape_of(value))
    return Lowered(move.cast(layout_of(value), output, element, element), (value,))


def _elementwise(
    value: SSAValue,
    extras: Sequence[SSAValue],
    result: SSAValue,
    steps: tuple[sq.Step, ...],
) -> Lowered:
    require_f32(value, *extras, result)
    places = tuple(layout_of(extra) for extra in extras)
    spec = Elementwise(layout_of(value), places, layout_of(result), steps)
    return Lowered(spec, (value, *extras))


def _look_up(value: SSAValue, result: SSAValue, table: Bytes) -> Lowered:
    """A function of a byte, as its table."""
    zero_point = zero_of(result)
    assert zero_point is not None
    spec = LookUpBytes(layout_of(value), layout_of(result), zero_point)
    return Lowered(spec, (value, Packed("byte_table", table.view("<i4"))))


def _elementwise_quads(op: sq.ElementwiseOp, weights: WeightStore) -> Lowered:
    """A chain of steps on bytes and numbers."""
    table = byte_table(op, weights)
    if table is not None:
        return _look_up(op.input, op.result, table)
    shape = nn.shape_of(op.result)
    operands = [
        Operand(layout_of(x), dequantize_of(x), nn.shape_of(x) != shape)
        for x in op.operands
    ]
    spec = ElementwiseQuads(
        shape,
        tuple(operands),
        layout_of(op.result),
        steps_of(op.epilogue),
        requantize_of(op.result),
    )
    return Lowered(spec, tuple(op.operands))


def lower_requantize(op: sq.RequantizeOp, weights: WeightStore, _: int) -> Lowered:
    """From bytes to bytes."""
    zero_of(op.input)  # raises for bytes that have no kernel
    zero_of(op.result)
    table = byte_table(op, weights)
    assert table is not None
    return _look_up(op.input, op.result, table)


def lower_elementwise(op: sq.ElementwiseOp, weights: WeightStore, _: int) -> Lowered:
    """A chain of steps."""
    if sq.has_integers(*op.operands, op.result):
        return _elementwise_quads(op, weights)
    return _elementwise(op.input, op.extras, op.result, steps_of(op.epilogue))


def lower_unary(op: nn.UnaryOp, _: WeightStore, __: int) -> Lowered:
    """A chain of one step."""
    step = sq.Step(op.kind.data.value, op.parameters, -1, False)
    return _elementwise(op.input, (), op.result, (step,))


def lower_binary(op: nn.BinaryOp, _: WeightStore, __: int) -> Lowered:
    """A chain of one step with one extra operand."""
    step = sq.Step(op.kind.data.value, (), 0, False)
    return _elementwise(op.lhs, (op.rhs,), op.result, (step,))


def lower_batch_norm(op: nn.BatchNormOp, weights: WeightStore, _: int) -> Lowered:
    """A factor and a summand per channel if all statistics are constants."""
    require_f32(*op.operands)
    params = (op.scale, op.shift, op.mean, op.variance)
    arrays = [
        constant_array(value.owner, weights).astype(np.float64)
        for value in params
        if isinstance(value.owner, nn.ConstantOp)
    ]
    source, result = layout_of(op.input), layout_of(op.result)
    if len(arrays) < len(params):
        spec = BatchNorm(source, result, op.eps.value.data)
        return Lowered(spec, tuple(op.operands))
    scale, shift, mean, variance = arrays
    factor = scale / np.sqrt(variance + op.eps.value.data)
    summand = shift - mean * factor
    shape = (factor.size, *(1,) * (len(source.shape) - 2))
    steps = (sq.Step("mul", (), 0, False), sq.Step("add", (), 1, False))
    hint = constant_name(op.scale.owner)
    packed = (
        Packed(f"{hint}.factor", factor.astype(np.float32)),
        Packed(f"{hint}.summand", summand.astype(np.float32)),
    )
    chain = Elementwise(source, (plain(shape), plain(shape)), result, steps)
    return Lowered(chain, (op.input, *packed))


def lower_layer_norm(op: nn.LayerNormOp, _: WeightStore, __: int) -> Lowered:
    """Normalization of the last dimensions."""
    require_f32(*op.operands)
    rank = op.normalized_rank.value.data
    spec = LayerNorm(layout_of(op.input), layout_of(op.result), rank, op.eps.value.data)
    return Lowered(spec, tuple(op.operands))


def lower_group_norm(op: nn.GroupNormOp, _: WeightStore, __: int) -> Lowered:
    """Normalization of groups of channels."""
    require_f32(*op.operands)
    groups = op.groups.value.data
    spec = GroupNorm(
        layout_of(op.input), layout_of(op.result), groups, op.eps.value.data
    )
    return Lowered(spec, tuple(op.operands))


def lower_softmax(op: nn.SoftmaxOp, _: WeightStore, __: int) -> Lowered:
    """Softmax along one axis."""
    require_f32(op.input)
    axis = op.axis.value.data
    spec = Softmax(layout_of(op.input), layout_of(op.result), axis, bool(op.log))
    return Lowered(spec, (op.input,))


def _moved(spec: move.Move, values: Sequence[SSAValue]) -> Lowered:
    """A move of tensors of one element type."""
    element, gap = element_of(values[0]), gap_of(values[0])
    spec = move.Move(spec.inputs, spec.output, spec.boxes, element, element, gap)
    return Lowered(spec, tuple(values))


def _channels(
    values: Sequence[SSAValue],
    result: SSAValue,
    channels: Sequence[tuple[int, int]],
) -> Lowered:
    """Quads of other channels."""
    zero_point = zero_of(result)
    assert zero_point is not None
    places = tuple(in_planes(layout_of(value)) for value in values)
    output = in_planes(layout_of(result))
    spec = ChannelQuads(places, output, tuple(channels), zero_point)
    return Lowered(spec, tuple(values))


def lower_shuffle(op: sq.ShuffleChannelsOp, _: WeightStore, __: int) -> Lowered:
    """One channel of each group in turn."""
    return _channels([op.input], op.result, [(0, c) for c in op.sources()])


def lower_transpose(op: nn.TransposeOp, _: WeightStore, __: int) -> Lowered:
    """Permuted dimensions."""
    places = layout_of(op.input), layout_of(op.result)
    permutation = tuple(op.permutation.get_values())
    return _moved(move.transpose(*places, permutation), [op.input])


def lower_slice(op: nn.SliceOp, _: WeightStore, __: int) -> Lowered:
    """Every so many elements."""
    starts, steps = stored_starts(op), op.steps.get_values()
    if starts is None:
        first = op.starts.get_values()[1]
        count = nn.shape_of(op.result)[1]
        return _channels([op.input], op.result, [(0, first + c) for c in range(count)])
    places = layout_of(op.input), layout_of(op.result)
    return _moved(move.slice_(*places, starts, steps), [op.input])


def lower_pad(op: nn.PadOp, _: WeightStore, __: int) -> Lowered:
    """Added and removed positions."""
    places = layout_of(op.input), layout_of(op.result)
    kind, low, value = op.kind.data, list(op.low.get_values()), op.value.value.data
    type_ = sq.quant_type(op.input)
    if type_ is not None:
        byte = sq.byte_of(type_, value)
        if byte is None or low[1] % QUAD:
            raise InvalidInput(f"must add whole quads of a byte of {type_}, got {op}")
        low[1] //= QUAD
        value = quad_of(byte)
    elif kind is nn.PadKind.CONSTANT:
        require_f32(op.input)
    return _moved(move.pad(*places, kind.value, low, value), [op.input])


def lower_broadcast(op: nn.BroadcastOp, _: WeightStore, __: int) -> Lowered:
    """Repeated elements."""
    return _moved(
        move.broadcast_to(layout_of(op.input), layout_of(op.result)), [op.input]
    )


def lower_concat(op: nn.ConcatOp, _: WeightStore, __: int) -> Lowered:
    """Inputs side by side; those that were written in place are left out."""
    if not has_aligned_parts(op):
        sizes = [nn.shape_of(value)[1] for value in op.inputs]
        found = [(k, c) for k, size in enumerate(sizes) for c in range(size)]
        return _channels(op.inputs, op.result, found)
    sources = [layout_of(value) for value in op.inputs]
    placed = in_place(op)
    spec = move.concat(sources, layout_of(op.result), op.axis.value.data, placed)
    copied = [x for x, done in zip(op.inputs, placed, strict=True) if not done]
    return _moved(spec, copied)


def lower_reshape(op: nn.ReshapeOp, _: WeightStore, __: int) -> Lowered:
    """The same elements in another shape."""
    return _moved(move.reshape(layout_of(op.input), layout_of(op.result)), [op.input])


def lower_convert_layout(op: sq.ConvertLayoutOp, _: WeightStore, __: int) -> Lowered:
    """The same tensor in another layout."""
    return _moved(move.copy(layout_of(op.input), layout_of(op.result)), [op.input])


def lower_quantize(op: sq.QuantizeOp, _: WeightStore, __: int) -> Lowered:
    """Numbers to quads of bytes."""
    requantize = requantize_of(op.result)
    assert requantize is not None
    source, result = (layout_of(value) for value in (op.input, op.result))
    return Lowered(quantize_kernel(source, result, requantize), (op.input,))


def lower_dequantize(op: sq.DequantizeOp, _: WeightStore, __: int) -> Lowered:
    """Quads of bytes to numbers."""
    found = dequantize_of(op.input)
    assert found is not None
    source, result = (layout_of(value) for value in (op.input, op.result))
    return Lowered(dequantize_kernel(source, result, found), (op.input,))


def _cast_pairs(op: nn.CastOp) -> Lowered:
    """From float32 to pairs, or back."""
    source, result = (layout_of(value) for value in (op.input, op.result))
    if sq.has_bf16(op.result):
        require_f32(op.input)
        return Lowered(to_pairs(source, result), (op.input,))
    require_f32(op.result)
    return Lowered(FromPairs(in_planes(source), in_planes(result)), (op.input,))


def lower_cast(op: nn.CastOp, _: WeightStore, __: int) -> Lowered:
    """The same numbers as elements of another type."""
    if sq.has_bf16(op.input, op.result):
        return _cast_pairs(op)
    elements = element_of(op.input), element_of(op.result)
    spec = move.cast(layout_of(op.input), layout_of(op.result), *elements)
    return Lowered(spec, (op.input,))


LOWERINGS: Mapping[type[Operation], Lower] = {
    nn.AdaptivePoolOp: lower_adaptive_pool,
    nn.BatchNormOp: lower_batch_norm,
    nn.BinaryOp: lower_binary,
    nn.BroadcastOp: lower_broadcast,
    nn.CastOp: lower_cast,
    nn.ConcatOp: lower_concat,
    nn.GroupNormOp: lower_group_norm,
    nn.LayerNormOp: lower_layer_norm,
    nn.LinearOp: lower_linear,
    nn.MatmulOp: lower_matmul,
    nn.PadOp: lower_pad,
    nn.PoolOp: lower_pool,
    nn.RecurrentOp: lower_recurrent,
    nn.ReduceOp: lower_reduce,
    nn.ReshapeOp: lower_reshape,
    nn.ResizeOp: lower_resize,
    nn.SliceOp: lower_slice,
    nn.SoftmaxOp: lower_softmax,
    nn.TransposeOp: lower_transpose,
    nn.UnaryOp: lower_unary,
    sq.AverageOp: lower_average,
    sq.ConvOp: lower_conv,
    sq.ConvertLayoutOp: lower_convert_layout,
    sq.DequantizeOp: lower_dequantize,
    sq.DispatchOp: lower_pooled_conv,
    sq.ElementwiseOp: lower_elementwise,
    sq.LinearOp: lower_fused_linear,
    sq.MatmulOp: lower_fused_matmul,
    sq.QuantizeOp: lower_quantize,
    sq.RequantizeOp: lower_requantize,
    sq.ResizeOp: lower_interpolation,
    sq.ShuffleChannelsOp: lower_shuffle,
}
"""The lowering of each op that has a kernel."""
