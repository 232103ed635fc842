"""`sq.conv` on quantized tensors to the kernel of quads, and its tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import PassFailed
from edgec.interpreter.quant import parameters_of
from edgec.kernels.constants import constant_array, constant_name
from edgec.kernels.conv.ends import constant_operand, extras_of, masks_of, steps_of
from edgec.kernels.conv.quad_columns import is_bounded, kept_columns
from edgec.kernels.conv.quads import QuadConv, pack_quads
from edgec.kernels.conv.window import window_of
from edgec.kernels.layout import layout
from edgec.kernels.lowered import Lowered, Packed
from edgec.kernels.operands import dequantize_of, requantize_of

Floats = npt.NDArray[np.float32]


def lower_quads(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns of quads; a dense weight keeps all."""
    owner, found = op.weight.owner, dequantize_of(op.input)
    if not isinstance(owner, nn.ConstantOp) or found is None:
        raise PassFailed(
            "'sq.conv' op with kernel 'quads' must have a quantized input and a "
            f"constant weight, got {op.input.type} and {op.weight}"
        )
    assert op.kernel is not None
    settings, source = op.kernel.settings, layout(op.input)
    spec = QuadConv(
        source=source,
        result=layout(op.result),
        taps=window_of(op).tap_offsets(source),
        groups=1,
        has_bias=False,
        steps=steps_of(op),
        extras=extras_of(op),
        filters=settings["filters"],
        vectors=settings["vectors"],
        chunk=settings["chunk"],
        columns=kept_columns(op)[settings["filters"]],
        reordered=False,
        requantize=requantize_of(op.result),
        bounded=is_bounded(op),
    )
    weight = np.asarray(constant_array(owner, weights), np.int8)
    tables = pack_quads(weight, found.zero_point, spec)
    scale, shift = scale_and_shift(op, weights, spec.num_filters)
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


def scale_and_shift(
    op: sq.ConvOp, weights: WeightStore, filters: int
) -> tuple[Floats, Floats]:
    """Factor and summand of the sums of each filter; 0 past the last."""
    found, stored = dequantize_of(op.input), sq.quant_type(op.weight)
    assert found is not None
    assert stored is not None
    shape = nn.shape_of(op.weight)
    scales = parameters_of(stored, shape, weights).scale.reshape(-1)
    scale, shift = np.zeros((2, filters), np.float32)
    scale[: shape[0]] = np.float32(found.scale) * scales
    if op.bias is not None:
        shift[: shape[0]] = constant_operand(op.bias, weights)
    return scale, shift
