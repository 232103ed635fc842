"""From an op to its kernel: which spec, and which buffers it is launched with.

One function per op, found by the op's class. Convolutions have files of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import ArrayAttr, f32
from xdsl.ir import Attribute, Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels import move
from edgec.kernels.adaptive import adaptive_pool
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.elementwise import Elementwise
from edgec.kernels.gates import DenseGates
from edgec.kernels.layout import Layout, layout, plain
from edgec.kernels.linear import Linear, linear_block, pack_linear
from edgec.kernels.linear_columns import ColumnLinear, pack_linear_columns
from edgec.kernels.lower_conv import lower_conv
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.matmul import Matmul
from edgec.kernels.norm import BatchNorm, GroupNorm, LayerNorm
from edgec.kernels.pool import Pool
from edgec.kernels.product import best_block
from edgec.kernels.recurrent import Recurrent
from edgec.kernels.reduce import Reduce
from edgec.kernels.resize import Resize
from edgec.kernels.softmax import Softmax

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
    element = _element(value)
    output = plain(nn.shape_of(value))
    return Lowered(move.cast(_layout(value), output, element, element), (value,))


def _layout(value: SSAValue) -> Layout:
    """Where a tensor lies; constants end with their last element."""
    if isinstance(value.owner, nn.ConstantOp):
        return plain(nn.shape_of(value))
    return layout(value)


def _element(value: SSAValue) -> move.Element:
    """The element type as a name; raises `InvalidInput` where there is no kernel."""
    element = nn.tensor_type(value).element_type
    for name, type_ in move.ELEMENTS.items():
        if element == type_:
            return name
    raise InvalidInput(f"element type must be one of f32, i64, got {element}")


def _require_f32(*values: SSAValue) -> None:
    """Raise `InvalidInput` if a tensor holds anything else."""
    for value in values:
        found: Attribute = nn.tensor_type(value).element_type
        if found != f32:
            raise InvalidInput(f"element type must be f32, got {found}")


def _steps(epilogue: ArrayAttr[Attribute]) -> tuple[sq.Step, ...]:
    return tuple(step.step for step in epilogue if isinstance(step, sq.StepAttr))


def _elementwise(
    value: SSAValue,
    extras: Sequence[SSAValue],
    result: SSAValue,
    steps: tuple[sq.Step, ...],
) -> Lowered:
    _require_f32(value, *extras, result)
    places = tuple(_layout(extra) for extra in extras)
    spec = Elementwise(_layout(value), places, _layout(result), steps)
    return Lowered(spec, (value, *extras))


def lower_elementwise(op: sq.ElementwiseOp, _: WeightStore, __: int) -> Lowered:
    """A chain of steps."""
    return _elementwise(op.input, op.extras, op.result, _steps(op.epilogue))


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
    _require_f32(*op.operands)
    params = (op.scale, op.shift, op.mean, op.variance)
    arrays = [
        constant_array(value.owner, weights).astype(np.float64)
        for value in params
        if isinstance(value.owner, nn.ConstantOp)
    ]
    source, result = _layout(op.input), _layout(op.result)
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
    _require_f32(*op.operands)
    rank = op.normalized_rank.value.data
    spec = LayerNorm(_layout(op.input), _layout(op.result), rank, op.eps.value.data)
    return Lowered(spec, tuple(op.operands))


def lower_group_norm(op: nn.GroupNormOp, _: WeightStore, __: int) -> Lowered:
    """Normalization of groups of channels."""
    _require_f32(*op.operands)
    groups = op.groups.value.data
    spec = GroupNorm(_layout(op.input), _layout(op.result), groups, op.eps.value.data)
    return Lowered(spec, tuple(op.operands))


def lower_softmax(op: nn.SoftmaxOp, _: WeightStore, __: int) -> Lowered:
    """Softmax along one axis."""
    _require_f32(op.input)
    axis = op.axis.value.data
    spec = Softmax(_layout(op.input), _layout(op.result), axis, bool(op.log))
    return Lowered(spec, (op.input,))


def lower_pool(op: nn.PoolOp, _: WeightStore, __: int) -> Lowered:
    """Windows of one size."""
    _require_f32(op.input)
    spec = Pool(
        op.kind.data.value,
        _layout(op.input),
        _layout(op.result),
        kernel=tuple(op.kernel.get_values()),
        stride=tuple(op.stride.get_values()),
        padding=tuple(op.padding.get_values()),
        dilation=tuple(op.dilation.get_values()),
        count_include_pad=bool(op.count_include_pad),
        divisor=op.divisor.value.data,
    )
    return Lowered(spec, (op.input,))


def lower_adaptive_pool(op: nn.AdaptivePoolOp, _: WeightStore, __: int) -> Lowered:
    """Windows that share the input evenly."""
    _require_f32(op.input)
    kind = op.kind.data.value
    spec = adaptive_pool(kind, _layout(op.input), _layout(op.result))
    return Lowered(spec, (op.input,))


def lower_reduce(op: nn.ReduceOp, _: WeightStore, __: int) -> Lowered:
    """A reduction over axes."""
    _require_f32(op.input)
    axes = tuple(op.axes.get_values())
    kind = op.kind.data.value
    return Lowered(
        Reduce(kind, _layout(op.input), _layout(op.result), axes), (op.input,)
    )


def lower_resize(op: nn.ResizeOp, _: WeightStore, __: int) -> Lowered:
    """Resizing; its positions become two tables."""
    _require_f32(op.input)
    spec = Resize(op.kind.data.value, _layout(op.input), _layout(op.result))
    index, share = spec.tables(
        op.scales.get_values(), align_corners=bool(op.align_corners)
    )
    tables = (Packed("resize.index", index), Packed("resize.share", share))
    return Lowered(spec, (op.input, *tables))


def _dense_weight(value: SSAValue, weights: WeightStore) -> npt.NDArray[np.float32]:
    """The dense array of a weight; raises `InvalidInput` if it is computed."""
    owner = value.owner
    if isinstance(owner, nn.ConstantOp):
        return np.asarray(constant_array(owner, weights), np.float32)
    if isinstance(owner, sq.WeightOp):
        arrays = {k: weights[name] for k, name in owner.resource_names().items()}
        decoded = owner.encoding.decode(arrays, nn.shape_of(value))
        return np.asarray(decoded, np.float32)
    raise InvalidInput(
        "weight must be a constant, got a computed tensor; nn.matmul takes those"
    )


def _linear(
    op: nn.LinearOp | sq.LinearOp,
    weights: WeightStore,
    lanes: int,
    extras: Sequence[SSAValue],
    steps: tuple[sq.Step, ...],
) -> Lowered:
    _require_f32(op.input, op.result, *extras)
    source, result = _layout(op.input), _layout(op.result)
    block = linear_block(lanes, math.prod(result.shape[:-1]), result.shape[-1])
    dense = _dense_weight(op.weight, weights)
    packed = pack_linear(dense, lanes, block.vectors)
    hint = f"{constant_name(op.weight.owner)}.columns{block.vectors * lanes}"
    arguments: list[SSAValue | Packed] = [op.input, Packed(hint, packed)]
    if op.bias is not None:
        arguments.append(op.bias)
    places = tuple(_layout(extra) for extra in extras)
    spec = Linear(source, result, op.bias is not None, steps, places, block)
    return Lowered(spec, (*arguments, *extras))


def lower_linear(op: nn.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer without epilogue."""
    return _linear(op, weights, lanes, (), ())


def lower_fused_linear(op: sq.LinearOp, weights: WeightStore, lanes: int) -> Lowered:
    """A linear layer with its epilogue."""
    if isinstance(op.weight.owner, sq.WeightOp):
        return _sparse_linear(op, op.weight.owner, weights)
    return _linear(op, weights, lanes, op.extras, _steps(op.epilogue))


def _sparse_linear(
    op: sq.LinearOp, source: sq.WeightOp, weights: WeightStore
) -> Lowered:
    """A linear layer whose weight is in compressed columns."""
    family = None if op.kernel is None else op.kernel.family.data
    encoding = source.encoding
    if family != "columns" or not isinstance(encoding, sq.ColumnsAttr):
        raise PassFailed(
            "'sq.linear' op with an encoded weight must have the kernel 'columns', got "
            f"{family}: run choose-kernel and sparse-linear first"
        )
    _require_f32(op.input, op.result, *op.extras)
    place = _layout(op.input)
    spec = ColumnLinear(
        place,
        _layout(op.result),
        encoding.block_size,
        encoding.num_columns,
        op.bias is not None,
        _steps(op.epilogue),
        tuple(_layout(extra) for extra in op.extras),
    )
    names = source.resource_names()
    arrays = {key: weights[name] for key, name in names.items()}
    tables = pack_linear_columns(encoding.storage(arrays), place.strides[-1])
    packed = [
        Packed(f"{names['weight']}.{field}", getattr(tables, field))
        for field in ("w", "where", "starts")
    ]
    bias = () if op.bias is None else (op.bias,)
    return Lowered(spec, (op.input, *packed, *bias, *op.extras))


def lower_recurrent(op: nn.RecurrentOp, weights: WeightStore, lanes: int) -> Lowered:
    """All steps of a recurrent layer."""
    _require_f32(*op.operands)
    dense = _dense_weight(op.weight, weights)
    _, rows, hidden = nn.shape_of(op.output)
    product = DenseGates.of(lanes, op.kind.data.gates, hidden, rows)
    name = f"{constant_name(op.weight.owner)}.gates{product.vectors * lanes}"
    packed = Packed(name, product.pack(dense, lanes))
    spec = Recurrent(
        op.kind.data.value,
        _layout(op.gates),
        _layout(op.initial),
        _layout(op.output),
        _layout(op.last),
        None if op.cell is None else _layout(op.cell),
        None if op.last_cell is None else _layout(op.last_cell),
        reverse=bool(op.reverse),
        has_bias=op.bias is not None,
        product=product,
    )
    arguments = (op.gates, packed, op.bias, op.initial, op.cell)
    return Lowered(spec, tuple(a for a in arguments if a is not None))


def lower_matmul(op: nn.MatmulOp, _: WeightStore, lanes: int) -> Lowered:
    """A product of two activations."""
    _require_f32(op.lhs, op.rhs)
    result = _layout(op.result)
    block = best_block(lanes, *result.shape[-2:])
    spec = Matmul(_layout(op.lhs), _layout(op.rhs), result, block)
    return Lowered(spec, (op.lhs, op.rhs))


def _moved(spec: move.Move, values: Sequence[SSAValue]) -> Lowered:
    """A move of tensors of one element type."""
    element = _element(values[0])
    spec = move.Move(spec.inputs, spec.output, spec.boxes, element, element)
    return Lowered(spec, tuple(values))


def lower_transpose(op: nn.TransposeOp, _: WeightStore, __: int) -> Lowered:
    """Permuted dimensions."""
    places = _layout(op.input), _layout(op.result)
    permutation = tuple(op.permutation.get_values())
    return _moved(move.transpose(*places, permutation), [op.input])


def lower_slice(op: nn.SliceOp, _: WeightStore, __: int) -> Lowered:
    """Every so many elements."""
    places = _layout(op.input), _layout(op.result)
    starts, steps = op.starts.get_values(), op.steps.get_values()
    return _moved(move.slice_(*places, starts, steps), [op.input])


def lower_pad(op: nn.PadOp, _: WeightStore, __: int) -> Lowered:
    """Added and removed positions."""
    places = _layout(op.input), _layout(op.result)
    kind, low = op.kind.data.value, op.low.get_values()
    return _moved(move.pad(*places, kind, low, op.value.value.data), [op.input])


def lower_broadcast(op: nn.BroadcastOp, _: WeightStore, __: int) -> Lowered:
    """Repeated elements."""
    return _moved(move.broadcast_to(_layout(op.input), _layout(op.result)), [op.input])


def lower_concat(op: nn.ConcatOp, _: WeightStore, __: int) -> Lowered:
    """Inputs side by side."""
    sources = [_layout(value) for value in op.inputs]
    axis = op.axis.value.data
    return _moved(move.concat(sources, _layout(op.result), axis), op.inputs)


def lower_reshape(op: nn.ReshapeOp, _: WeightStore, __: int) -> Lowered:
    """The same elements in another shape."""
    return _moved(move.reshape(_layout(op.input), _layout(op.result)), [op.input])


def lower_convert_layout(op: sq.ConvertLayoutOp, _: WeightStore, __: int) -> Lowered:
    """The same tensor in another layout."""
    return _moved(move.copy(_layout(op.input), _layout(op.result)), [op.input])


def lower_cast(op: nn.CastOp, _: WeightStore, __: int) -> Lowered:
    """The same numbers as elements of another type."""
    elements = _element(op.input), _element(op.result)
    spec = move.cast(_layout(op.input), _layout(op.result), *elements)
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
    sq.ConvOp: lower_conv,
    sq.ConvertLayoutOp: lower_convert_layout,
    sq.ElementwiseOp: lower_elementwise,
    sq.LinearOp: lower_fused_linear,
}
"""The lowering of each op that has a kernel."""
