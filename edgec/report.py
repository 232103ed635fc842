"""What was compiled and how, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.kernels.conv.quad_columns import kept_columns, wide_columns
from edgec.kernels.conv.tile_columns import COLUMNS, kept_groups
from edgec.kernels.linear.codes import CodeShape
from edgec.kernels.linear.lower_codes import code_shape_of
from edgec.kernels.linear.lower_stored import stored_shape_of
from edgec.kernels.linear.stored import stored_weight
from edgec.kernels.recurrent.lower import recurrent_shape_of
from edgec.passes.constants import read_constant

Weighted = sq.ConvOp | sq.LinearOp | nn.RecurrentOp

FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerReport:
    """One layer with weights, or an op between such that is in float32 for a reason."""

    layer: str
    """Module path."""
    kind: str
    """The op."""
    shape: tuple[int, ...]
    """Of the weight; empty if there is none."""
    scheme: str
    """How the weight is stored: `dense`, `pattern`, …"""
    density: float | None
    """Weights that are stored, or of a dense one those that are not zero, by all; None
    for a weight that is computed."""
    kernel: str
    """Family and schedule."""
    stored_bytes: int
    """Of the weight, indices and the scales of integers included."""
    epilogue: tuple[str, ...]
    """What is fused into the kernel: steps, `max_pool`."""
    why: str
    """The reason for the choice, where there was one."""


@dataclass(frozen=True)
class Report:
    """The result of `CompiledModel.report`."""

    target: str
    layers: tuple[LayerReport, ...]
    seconds: Mapping[str, float]
    """Stages (`import`, `code`, `load`) and passes."""
    statistics: Mapping[str, Mapping[str, int]]
    """What each pass counted."""
    arena_bytes: int
    live_bytes: int
    """The largest set of activations that live at one time."""
    is_cached: bool
    """Whether the code came from the cache."""
    is_loaded: bool = False
    """Whether the model came from a file."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Report:
        """The inverse of `to_json`; lists may stand for tuples."""
        fields = dict(stored)
        fields["layers"] = tuple(map(_layer_from_json, stored["layers"]))
        return cls(**fields)

    def __str__(self) -> str:
        """A table of the layers and a line of totals."""
        header = (
            *("layer", "weight", "scheme", "density"),
            *("kernel", "kB", "fused", "why"),
        )
        rows = [header, *(_row(layer) for layer in self.layers)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))
            for row in rows
        ]
        lines.append(
            f"target {self.target}, {self._source()}; "
            f"arena {self.arena_bytes / 1e6:.2f} MB, "
            f"largest live set {self.live_bytes / 1e6:.2f} MB"
        )
        return "\n".join(line.rstrip() for line in lines)

    def _source(self) -> str:
        if self.is_loaded:
            return "loaded"
        return "from the cache" if self.is_cached else "compiled"


def _layer_from_json(stored: Mapping[str, Any]) -> LayerReport:
    fields = dict(stored)
    for name in ("shape", "epilogue"):
        fields[name] = tuple(fields[name])
    return LayerReport(**fields)


def _row(layer: LayerReport) -> tuple[str, ...]:
    return (
        layer.layer,
        "x".join(map(str, layer.shape)),
        layer.scheme,
        "" if layer.density is None else f"{layer.density:.3f}",
        layer.kernel,
        f"{layer.stored_bytes / 1e3:.1f}",
        "+".join(layer.epilogue),
        layer.why,
    )


def describe_layers(
    module: ModuleOp, weights: WeightStore, lanes: int
) -> list[LayerReport]:
    """A row for each op with weights, at the end of the tensor-level passes.

    And for each other op that computes in float32 between quantized layers. `lanes` are
    those of the target, which blocks of weights depend on.
    """
    rows: list[LayerReport] = []
    for op in module.walk():
        if isinstance(op, Weighted):
            rows.append(_describe(op, weights, lanes))
        elif "sq.why_float" in op.attributes:
            rows.append(_describe_float(op))
    return rows


def _describe_float(op: Operation) -> LayerReport:
    """An op without weights that has no kernel on bytes."""
    return LayerReport(
        layer=_path(op),
        kind=op.name,
        shape=(),
        scheme="",
        density=None,
        kernel=op.name,
        stored_bytes=0,
        epilogue=(),
        why=_why(op),
    )


def _path(op: Operation) -> str:
    path = op.attributes.get("nn.path")
    return path.data if isinstance(path, StringAttr) else op.name


WHY = ("sq.why_float", "sq.why_precision", "sq.why")
"""Attributes that say why an op is as it is."""


def _why(op: Operation) -> str:
    found = map(op.attributes.get, WHY)
    return "; ".join(why.data for why in found if isinstance(why, StringAttr))


def _describe(op: Weighted, weights: WeightStore, lanes: int) -> LayerReport:
    stored = _stored(op, weights, lanes)
    return LayerReport(
        layer=_path(op),
        kind=op.name,
        shape=nn.shape_of(op.weight),
        scheme=stored.scheme,
        density=stored.density,
        kernel=_kernel(op),
        stored_bytes=stored.num_bytes,
        epilogue=_fused(op),
        why=_why(op),
    )


@dataclass(frozen=True)
class _Stored:
    """A weight as its kernel reads it."""

    scheme: str
    num_bytes: int
    density: float | None


def _stored(op: Weighted, weights: WeightStore, lanes: int) -> _Stored:
    owner, size = op.weight.owner, math.prod(nn.shape_of(op.weight))
    if isinstance(owner, sq.WeightOp):
        names = owner.resource_names()
        num_bytes = sum(weights[name].nbytes for name in names.values())
        density = weights[names["weight"]].size / size
        return _Stored(owner.encoding.scheme(), num_bytes, density)
    if isinstance(op, sq.ConvOp) and sq.has_bf16(op.input):
        pairs, every = _stored_pairs(op), _stored_pairs(op, is_dense=True)
        return _Stored("bf16", pairs, pairs / every)
    if not sq.has_integers(op.weight):
        return _stored_dense(op, weights)
    if isinstance(op, sq.ConvOp):
        quads, every = _stored_quads(op), _stored_quads(op, is_dense=True)
        scales = FLOAT_BYTES * nn.shape_of(op.weight)[0]
        return _Stored("int8", quads + _wide_quads(op) + scales, quads / every)
    if isinstance(op, sq.LinearOp) and sq.has_integers(op.input):
        codes = code_shape_of(op)
        return _of_codes(codes, 1, _nonzero_share(op.weight, weights))
    found = stored_weight(op.weight, weights)
    if isinstance(op, nn.RecurrentOp):
        codes = recurrent_shape_of(op, found, lanes)
    else:
        codes = stored_shape_of(op, found, lanes)
    groups = found.scale.size // len(found.scale)
    return _of_codes(codes, groups, np.count_nonzero(found.weight) / size)


def _stored_dense(op: Weighted, weights: WeightStore) -> _Stored:
    """A weight whose zeros are stored too."""
    filters, *columns = nn.shape_of(op.weight)
    size, share = math.prod(columns), _nonzero_share(op.weight, weights)
    if isinstance(op, sq.LinearOp) and sq.has_bf16(op.input):
        return _Stored("bf16", FLOAT_BYTES * filters * -(-size // PAIR), share)
    return _Stored("dense", FLOAT_BYTES * filters * size, share)


def _of_codes(codes: CodeShape, groups: int, density: float | None) -> _Stored:
    """A weight in codes with so many scales of each output."""
    scales = FLOAT_BYTES * codes.blocks * codes.block * groups
    return _Stored(f"int{codes.bits}", codes.num_bytes + scales, density)


def _stored_quads(op: sq.ConvOp, *, is_dense: bool = False) -> int:
    """Bytes of the columns of quads that the kernel keeps, or of all of them."""
    filters, channels, *window = nn.shape_of(op.weight)
    assert op.kernel is not None
    if op.groups.value.data > 1:  # depthwise: nothing is left out
        return filters * math.prod(window)
    columns = -(-channels // QUAD) * math.prod(window)
    kept = _kept_columns(op, columns, is_dense=is_dense)
    return kept * (op.kernel.settings["filters"] + 1) * QUAD


def _wide_quads(op: sq.ConvOp) -> int:
    """Bytes of the second slots of wide columns."""
    assert op.kernel is not None
    filters = op.kernel.settings.get("filters", 0)
    return wide_columns(op).get(filters, 0) * (filters + 1) * QUAD


def _stored_pairs(op: sq.ConvOp, *, is_dense: bool = False) -> int:
    """Bytes of the columns of pairs that the kernel keeps, or of all of them."""
    _, channels, *window = nn.shape_of(op.weight)
    assert op.kernel is not None
    columns = -(-channels // PAIR) * math.prod(window)
    kept = _kept_columns(op, columns, is_dense=is_dense)
    return kept * (op.kernel.settings["filters"] + 1) * 4


def _kept_columns(op: sq.ConvOp, columns: int, *, is_dense: bool) -> int:
    """Columns of all blocks of filters, of so many that a block may keep."""
    assert op.kernel is not None
    block = op.kernel.settings["filters"]
    blocks = -(-nn.shape_of(op.weight)[0] // block)
    if op.kernel.family.data == "tiles":
        every = blocks * -(-columns // COLUMNS)
        return COLUMNS * (every if is_dense else kept_groups(op)[block].count)
    return blocks * columns if is_dense else kept_columns(op)[block]


def _nonzero_share(weight: SSAValue, weights: WeightStore) -> float | None:
    """Of a constant: a pruned layer that runs dense shows in the report."""
    array = read_constant(weight, weights)
    return None if array is None else np.count_nonzero(array) / array.size


def _kernel(op: Weighted) -> str:
    """Family and settings, as far as there is a choice."""
    if isinstance(op, nn.RecurrentOp):
        return op.kind.data.value
    if op.kernel is None:
        return op.name
    settings = sorted((op.kernel.settings or {}).items())
    return " ".join([op.kernel.family.data, *(f"{k}={v}" for k, v in settings)])


def _fused(op: Weighted) -> tuple[str, ...]:
    """The steps behind the product, and the pooling whose kernel it shares."""
    if isinstance(op, nn.RecurrentOp):
        return ()
    steps = (step.step.kind for step in op.epilogue if isinstance(step, sq.StepAttr))
    pools = ("max_pool",) if isinstance(op.parent_op(), sq.DispatchOp) else ()
    return (*steps, *pools)
