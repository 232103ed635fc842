"""`sq.conv` on bfloat16 to the kernels of pairs, and their tables."""

from __future__ import annotations

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.errors import PassFailed
from edgec.kernels.constants import constant_name
from edgec.kernels.conv.ends import constant_operand, extras_of, masks_of, steps_of
from edgec.kernels.conv.pairs import PairConv, pack_pairs
from edgec.kernels.conv.quad_columns import kept_columns
from edgec.kernels.conv.tile_columns import COLUMNS, kept_groups
from edgec.kernels.conv.tile_pairs import TilePairConv, pack_tile_pairs
from edgec.kernels.conv.window import window_of
from edgec.kernels.layout import layout
from edgec.kernels.lowered import Lowered, Packed


def lower_pairs(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns of pairs; a dense weight keeps all."""
    assert op.kernel is not None
    columns = kept_columns(op)[op.kernel.settings["filters"]]
    return _lowered(op, weights, _spec(op, columns))


def lower_tile_pairs(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    """The kernel of compressed columns of pairs on tiles."""
    assert op.kernel is not None
    settings = op.kernel.settings
    common = _spec(op, COLUMNS * kept_groups(op)[settings["filters"]].count)
    spec = TilePairConv(**vars(common), tiles=settings["tiles"])
    return _lowered(op, weights, spec)


def _spec(op: sq.ConvOp, columns: int) -> PairConv:
    """What both kernels are told."""
    assert op.kernel is not None
    family, settings = op.kernel.family.data, op.kernel.settings
    source, packed = layout(op.input), sq.has_bf16(op.result)
    filters = nn.shape_of(op.weight)[0]
    if packed and filters % PAIR:
        raise PassFailed(
            f"'sq.conv' op with kernel '{family}' and {filters} filters must have an "
            f"f32 result, as they are no multiple of {PAIR}"
        )
    return PairConv(
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
        columns=columns,
        reordered=False,
        packed=packed,
    )


def _lowered(op: sq.ConvOp, weights: WeightStore, spec: PairConv) -> Lowered:
    """The launch of a kernel with its tables."""
    owner = op.weight.owner
    if not isinstance(owner, nn.ConstantOp) or not sq.has_bf16(op.input):
        assert op.kernel is not None
        raise PassFailed(
            f"'sq.conv' op with kernel '{op.kernel.family.data}' must have a bf16 "
            f"input and a constant weight, got {op.input.type} and {op.weight}"
        )
    pack = pack_tile_pairs if isinstance(spec, TilePairConv) else pack_pairs
    tables = pack(constant_operand(op.weight, weights), spec)
    name = constant_name(owner)
    arguments = [
        Packed(f"{name}.pairs.{field}", array) for field, array in vars(tables).items()
    ]
    if op.bias is not None:
        bias = constant_operand(op.bias, weights)
        arguments.append(Packed(f"{name}.pairs.bias", bias))
    return Lowered(spec, (op.input, *arguments, *masks_of(spec.result), *op.extras))
