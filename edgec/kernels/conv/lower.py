"""`sq.conv` to a kernel spec and its packed weights."""

from __future__ import annotations

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import PassFailed
from edgec.kernels.constants import constant_name
from edgec.kernels.conv.columns import ColumnConv, pack_columns
from edgec.kernels.conv.dense import DenseConv, pack_dense
from edgec.kernels.conv.depthwise import DepthwiseConv
from edgec.kernels.conv.depthwise_strided import StridedDepthwiseConv
from edgec.kernels.conv.ends import (
    constant_operand,
    extras_of,
    rest_of,
    steps_of,
)
from edgec.kernels.conv.lower_pairs import lower_pairs, lower_tile_pairs
from edgec.kernels.conv.lower_quads import (
    lower_quad_depthwise,
    lower_quads,
    lower_tiles,
)
from edgec.kernels.conv.pack_pattern import pack_pattern, single_taps
from edgec.kernels.conv.pattern import PatternConv
from edgec.kernels.conv.pattern_loops import FORMS
from edgec.kernels.conv.window import window_of
from edgec.kernels.layout import layout
from edgec.kernels.lowered import Lowered, Packed

SETTINGS: dict[str, set[str]] = {
    "dense": {"filters", "vectors", "chunk"},
    "columns": {"filters", "vectors", "chunk"},
    "depthwise": {"vectors"},
    "quads": {"filters", "vectors", "chunk"},
    "quad_depthwise": {"rows"},
    "pairs": {"filters", "vectors", "chunk"},
    "tiles": {"filters", "tiles", "vectors", "chunk"},
    "pattern": {"form", "packed", "rows", "bands", "block", "splits"},
}
"""Family → what its schedule sets."""


def lower_conv(op: sq.ConvOp, weights: WeightStore, lanes: int) -> Lowered:
    """The kernel that `kernel` names; `layout-tuning` has set it."""
    family = _checked_family(op)
    if family == "pattern":
        return _lower_pattern(op, weights, lanes)
    if family == "columns":
        return _lower_columns(op, weights)
    if family == "tiles" and sq.has_bf16(op.input):
        return lower_tile_pairs(op, weights)
    lower = {
        "dense": _lower_dense,
        "depthwise": _lower_depthwise,
        "quads": lower_quads,
        "quad_depthwise": lower_quad_depthwise,
        "pairs": lower_pairs,
        "tiles": lower_tiles,
    }[family]
    return lower(op, weights)


def _checked_family(op: sq.ConvOp) -> str:
    """The family of the op's kernel, whose schedule is complete."""
    if op.kernel is None:
        raise PassFailed(
            "'sq.conv' op has no kernel: run choose-kernel and layout-tuning first"
        )
    family, settings = op.kernel.family.data, op.kernel.settings
    if family not in SETTINGS:
        raise PassFailed(
            f"'sq.conv' op kernel must be one of {sorted(SETTINGS)}, got '{family}'"
        )
    if set(settings) != SETTINGS[family]:
        raise PassFailed(
            f"'sq.conv' op kernel '{family}' must have the schedule "
            f"{sorted(SETTINGS[family])}, got {sorted(settings)}: run layout-tuning "
            "first"
        )
    return family


def _lower_dense(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    assert op.kernel is not None
    settings, source = op.kernel.settings, layout(op.input)
    spec = DenseConv(
        source=source,
        result=layout(op.result),
        taps=window_of(op).tap_offsets(source),
        groups=op.groups.value.data,
        has_bias=op.bias is not None,
        steps=steps_of(op),
        extras=extras_of(op),
        filters=settings["filters"],
        vectors=settings["vectors"],
        chunk=settings["chunk"],
    )
    dense = constant_operand(op.weight, weights)
    packed = pack_dense(dense, spec.groups, spec.filters)
    tables = [Packed(f"{constant_name(op.weight.owner)}.packed{spec.filters}", packed)]
    return Lowered(spec, (op.input, *tables, *rest_of(op, weights, spec.result)))


def _lower_depthwise(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    assert op.kernel is not None
    source, result = layout(op.input), layout(op.result)
    window, has_bias = window_of(op), op.bias is not None
    end = (steps_of(op), extras_of(op))
    dense = constant_operand(op.weight, weights).reshape(-1)
    table = Packed(constant_name(op.weight.owner), dense)
    if window.is_strided and not source.is_split:
        taps, (rows, columns) = window.direct_offsets(source), window.stride
        strided = StridedDepthwiseConv(
            source, result, taps, has_bias, *end, (rows, columns)
        )
        return Lowered(strided, (op.input, table, *rest_of(op, weights, None)))
    vectors = op.kernel.settings["vectors"]
    taps = window.tap_offsets(source)
    flat = DepthwiseConv(source, result, taps, has_bias, *end, vectors)
    return Lowered(flat, (op.input, table, *rest_of(op, weights, result)))


def _lower_pattern(op: sq.ConvOp, weights: WeightStore, lanes: int) -> Lowered:
    source_op = op.weight.owner
    assert op.kernel is not None
    assert isinstance(source_op, sq.WeightOp)
    encoding, names = source_op.encoding, source_op.resource_names()
    arrays = {key: weights[value] for key, value in names.items()}
    if isinstance(encoding, sq.ColumnsAttr):
        storage = single_taps(encoding.storage(arrays), nn.shape_of(op.weight))
        kernels = encoding.num_columns
    else:
        assert isinstance(encoding, sq.PatternAttr)
        storage, kernels = encoding.storage(arrays), encoding.num_kernels
    settings, name = op.kernel.settings, names["weight"]
    spec = PatternConv(
        source=layout(op.input),
        result=layout(op.result),
        window=window_of(op),
        patterns=storage.patterns,
        kernels=kernels,
        has_bias=op.bias is not None,
        steps=steps_of(op),
        extras=extras_of(op),
        form=FORMS[settings["form"]],
        packed=bool(settings["packed"]),
        rows=settings["rows"],
        bands=settings["bands"],
        block=settings["block"],
        splits=settings["splits"],
    )
    tables = pack_pattern(storage, spec, lanes)
    packed = [
        Packed(f"{name}.{field}", getattr(tables, field))
        for field in ("w", "where", "counts", "starts", "parts", "visits")
    ]
    rest = rest_of(op, weights, None)
    return Lowered(spec, (op.input, *packed, *rest))


def _lower_columns(op: sq.ConvOp, weights: WeightStore) -> Lowered:
    source_op = op.weight.owner
    assert op.kernel is not None
    assert isinstance(source_op, sq.WeightOp)
    encoding = source_op.encoding
    assert isinstance(encoding, sq.ColumnsAttr)
    settings, source = op.kernel.settings, layout(op.input)
    repeats = encoding.block_size // settings["filters"]
    spec = ColumnConv(
        source=source,
        result=layout(op.result),
        taps=window_of(op).tap_offsets(source),
        groups=encoding.num_groups,
        has_bias=op.bias is not None,
        steps=steps_of(op),
        extras=extras_of(op),
        filters=settings["filters"],
        vectors=settings["vectors"],
        chunk=settings["chunk"],
        columns=encoding.num_columns * repeats,
        reordered=encoding.is_reordered,
    )
    names = source_op.resource_names()
    arrays = {key: weights[value] for key, value in names.items()}
    tables = pack_columns(encoding.storage(arrays), spec)
    fields = ("w", "where", "starts", *(("rows_of",) if spec.reordered else ()))
    packed = [
        Packed(f"{names['weight']}.{field}", getattr(tables, field)) for field in fields
    ]
    return Lowered(spec, (op.input, *packed, *rest_of(op, weights, spec.result)))
