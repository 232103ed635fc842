"""`sq.conv` on bfloat16 to the kernel of pairs, and its tables."""

from __future__ import annotations

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.errors import PassFailed
from edgec.kernels.constants import constant_name
from edgec.kernels.conv.ends import constant_operand, extras_of, masks_of, steps_of
from edgec.kernels.conv.pairs import PairConv, pack_pairs
from edgec.kernels.conv.quad_columns import kept_columns
from edgec.kernels.conv.window import window_of
from edgec.kernels.layout import layout
from edgec.kernels.lowered import Lowered, Packed


def lower_pairs(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns of pairs; a dense weight keeps all."""
    owner = op.weight.owner
    if not isinstance(owner, nn.ConstantOp) or not sq.has_bf16(op.input):
        raise PassFailed(
            "'sq.conv' op with kernel 'pairs' must have a bf16 input and a constant "
            f"weight, got {op.input.type} and {op.weight}"
        )
    packed, filters = sq.has_bf16(op.result), nn.shape_of(op.weight)[0]
    if packed and filters % PAIR:
        raise PassFailed(
            f"'sq.conv' op with kernel 'pairs' and {filters} filters must have an f32 "
            f"result, as they are no multiple of {PAIR}"
        )
    assert op.kernel is not None
    settings, source = op.kernel.settings, layout(op.input)
    spec = PairConv(
        source=source,
        result=layout(op.result),
        taps=window_of(op).tap_offsets(source),
        groups=1,
        has_bias=op.bias is not None,
        steps=steps_of(op),
        extras=extras_of(op),
        filters=settings["filters"],
        vectors=settings["vectors"],
        chunk=settings["chunk"],
        columns=kept_columns(op)[settings["filters"]],
        reordered=False,
        packed=packed,
    )
    tables = pack_pairs(constant_operand(op.weight, weights), spec)
    name = constant_name(owner)
    arrays = {"w": tables.w, "where": tables.where, "starts": tables.starts}
    arguments = [Packed(f"{name}.pairs.{key}", array) for key, array in arrays.items()]
    if op.bias is not None:
        bias = constant_operand(op.bias, weights)
        arguments.append(Packed(f"{name}.pairs.bias", bias))
    return Lowered(spec, (op.input, *arguments, *masks_of(spec.result), *op.extras))
