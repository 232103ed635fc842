"""`sq.conv` on quantized tensors to the kernel of quads, and its tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import QUAD
from edgec.dialects.quad_ending import Ending, ending
from edgec.errors import PassFailed
from edgec.interpreter.quant import parameters_of
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.conv.depthwise_quads import QuadDepthwise, pack_depthwise
from edgec.kernels.conv.ends import constant_operand, extras_of, masks_of
from edgec.kernels.conv.quad_columns import FITS, is_bounded, kept_columns, wide_columns
from edgec.kernels.conv.quads import QuadConv, pack_quads
from edgec.kernels.conv.tile_columns import COLUMNS, kept_groups
from edgec.kernels.conv.tiles import TileConv, pack_tiles
from edgec.kernels.conv.window import window_of
from edgec.kernels.layout import layout
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import dequantize_of, steps_of
from edgec.kernels.requantize import Requantize


def lower_quads(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns of quads; a dense weight keeps all."""
    assert op.kernel is not None
    end, filters = ending_of(op, weights), op.kernel.settings["filters"]
    slots = kept_columns(op)[filters] + wide_columns(op).get(filters, 0)
    return _lowered(op, weights, _spec(op, end, slots), end)


def lower_tiles(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns on tiles."""
    assert op.kernel is not None
    settings, end = op.kernel.settings, ending_of(op, weights)
    groups = kept_groups(op)[settings["filters"]]
    # Tiles are exact whatever the bytes are.
    common = replace(_spec(op, end, COLUMNS * groups.count), bounded=False)
    spec = TileConv(**vars(common), tiles=settings["tiles"])
    return _lowered(op, weights, spec, end)


def _spec(op: sq.ConvOp, end: Ending, columns: int) -> QuadConv:
    """What both kernels are told."""
    assert op.kernel is not None
    settings, source = op.kernel.settings, layout(op.input)
    return QuadConv(
        source=source,
        result=layout(op.result),
        taps=window_of(op).tap_offsets(source),
        groups=1,
        has_bias=False,
        steps=end.steps,
        extras=extras_of(op),
        filters=settings["filters"],
        vectors=settings["vectors"],
        chunk=settings["chunk"],
        columns=columns,
        reordered=False,
        requantize=_requantize_of(op, end),
        bounded=is_bounded(op),
        addend=end.addend,
    )


def _lowered(
    op: sq.ConvOp, weights: WeightStore, spec: QuadConv, end: Ending
) -> Lowered:
    """The launch of a kernel with its tables."""
    owner, found = op.weight.owner, dequantize_of(op.input)
    if not isinstance(owner, nn.ConstantOp) or found is None:
        assert op.kernel is not None
        raise PassFailed(
            f"'sq.conv' op with kernel '{op.kernel.family.data}' must have a quantized "
            f"input and a constant weight, got {op.input.type} and {op.weight}"
        )
    weight = np.asarray(constant_array(owner, weights), np.int8)
    pack = pack_tiles if isinstance(spec, TileConv) else pack_quads
    tables = pack(weight, found.zero_point, spec)
    scale, shift = np.zeros((2, spec.num_filters), np.float32)
    scale[: len(weight)], shift[: len(weight)] = end.scale, end.shift
    arrays = {
        "w": tables.w,
        "where": tables.where,
        "starts": tables.starts,
        "sums": tables.sums,
        "scale": scale,
        "shift": shift,
    }
    name = constant_name(owner)
    packed = [Packed(f"{name}.{key}", array) for key, array in arrays.items()]
    rest = (*masks_of(spec.result), *op.extras)
    return Lowered(spec, (op.input, *packed, *rest))


def _requantize_of(op: sq.ConvOp, end: Ending) -> Requantize | None:
    if end.to is None:
        return None
    # Weights are no part of a stored program: the op must say so.
    return replace(Requantize.of(end.to), bounded=FITS in op.attributes)


def lower_quad_depthwise(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of four channels with a filter each."""
    owner, found = op.weight.owner, dequantize_of(op.input)
    end = ending_of(op, weights)
    requantize = _requantize_of(op, end)
    if not isinstance(owner, nn.ConstantOp) or found is None or requantize is None:
        raise PassFailed(
            "'sq.conv' op with kernel 'quad_depthwise' must have a quantized input and "
            f"result and a constant weight, got {op.input.type}, {op.result.type} and "
            f"{op.weight}"
        )
    assert op.kernel is not None
    spec = QuadDepthwise(
        source=layout(op.input),
        result=layout(op.result),
        window=window_of(op),
        steps=end.steps,
        requantize=requantize,
        rows=op.kernel.settings["rows"],
        bounded=is_bounded(op),
    )
    weight = np.asarray(constant_array(owner, weights), np.int8)
    tables = pack_depthwise(weight, found.zero_point, spec)
    missing = (0, -len(weight) % QUAD)
    arrays = {
        "w": tables.w,
        "sums": tables.sums,
        "scale": np.pad(end.scale, missing),
        "shift": np.pad(end.shift, missing),
    }
    name = constant_name(owner)
    packed = [Packed(f"{name}.{key}", array) for key, array in arrays.items()]
    return Lowered(spec, (op.input, *packed))


def ending_of(op: sq.ConvOp | sq.LinearOp, weights: WeightStore) -> Ending:
    """From the sums of a layer on integers to its result."""
    source, stored = sq.quant_type(op.input), sq.quant_type(op.weight)
    assert source is not None
    assert source.numbers is not None
    assert stored is not None
    shape = nn.shape_of(op.weight)
    scales = parameters_of(stored, shape, weights).scale.reshape(-1)
    bias = np.zeros(shape[0], np.float32)
    if op.bias is not None:
        bias = constant_operand(op.bias, weights)
    return ending(
        source.numbers[0],
        scales,
        bias,
        steps_of(op.epilogue),
        sq.quant_type(op.result),
        sq.addable_types(op),
    )
