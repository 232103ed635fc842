"""Cycles of every kernel family that can run a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import NoneAttr

from edgec.dialects import nn, sq
from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.kernels.conv.pairs import as_pairs, count_pair_columns
from edgec.kernels.conv.quad_columns import EMULATED
from edgec.kernels.conv.tile_columns import count_groups, kept_groups
from edgec.kernels.conv.window import window_of
from edgec.kernels.cost import (
    LAUNCH_CYCLES,
    Registers,
    best_block,
    best_tile,
    dense_cycles,
    depthwise_cycles,
    pattern_cycles,
)
from edgec.kernels.cost_columns import (
    LinearLayer,
    best_columns_block,
    columns_cycles,
    dense_linear_cycles,
    few_rows_cycles,
    many_rows_cycles,
    stream_cycles,
    turn_cycles,
)
from edgec.kernels.cost_pairs import (
    EPILOGUE,
    PairLayer,
    best_pairs_block,
    candidates,
    pairs_cycles,
    pairs_linear_cycles,
)
from edgec.kernels.cost_quads import (
    best_quads_block,
    best_rows,
    depthwise_quads_cycles,
    quads_cycles,
)
from edgec.kernels.cost_recurrent import (
    RecurrentLayer,
    columns_step_cycles,
    dense_step_cycles,
)
from edgec.kernels.cost_tiles import (
    POSITIONS,
    TILE_BYTES,
    best_tile_shape,
    tiles_cycles,
)
from edgec.kernels.cost_tiles import candidates as tile_candidates
from edgec.kernels.layout import is_in_lanes, layout, stored_shape
from edgec.kernels.linear.columns import MIN_BLOCK
from edgec.passes.analysis.sparse import (
    column_layer,
    pair_layer,
    quad_depthwise_layer,
    quad_layer,
    sparse_layer,
    tile_layer,
    tile_layer_of,
)

Prediction = Mapping[str, float]
"""Family → cycles of one core for one image; `dense` where there is a choice."""


LEAST_GAIN = 1.1
"""Of a sparse kernel by prediction: below it an error of the model would cost time."""


def with_margin(family: str, cycles: float) -> float:
    """Cycles by which families are compared."""
    return cycles if family in ("dense", "depthwise") else cycles * LEAST_GAIN


def is_least(family: str, prediction: Prediction) -> bool:
    """Whether a layer by itself would have this family."""
    costs = {name: with_margin(name, cost) for name, cost in prediction.items()}
    return costs[family] <= min(costs.values())


def is_depthwise(conv: sq.ConvOp) -> bool:
    """Whether each filter reads one channel of its own."""
    groups = conv.groups.value.data
    per_group = nn.shape_of(conv.weight)[1]
    return groups == nn.shape_of(conv.input)[1] and per_group == 1 and groups > 1


def families_of(op: sq.ConvOp | sq.LinearOp) -> tuple[str, ...]:
    """The families that can run a layer."""
    encoding = nn.tensor_type(op.weight).encoding
    columns = encoding if isinstance(encoding, sq.ColumnsAttr) else None
    if isinstance(op, sq.LinearOp):
        if is_in_lanes(op.input):
            usual = "codes" if sq.has_integers(op.input) else "dense"
            return (usual, "tiles") if kept_groups(op) else (usual,)
        if columns is None:
            return ("dense",)
        few = columns.block_size >= MIN_BLOCK and not columns.is_reordered
        return ("dense", "columns", "conv") if few else ("dense", "conv")
    if sq.has_bf16(op.input) or sq.has_integers(op.input):
        return _lane_families(op)
    if is_depthwise(op):
        return ("depthwise",)
    is_single = columns is not None and columns.block_size == 1
    # The pattern kernel packs rows, and knows of no slices or groups.
    is_plane = len(nn.shape_of(op.result)) == 4 and op.groups.value.data == 1
    has_patterns = is_plane and (is_single or isinstance(encoding, sq.PatternAttr))
    found = ("dense",) if columns is None else ("dense", "columns")
    return (*found, "pattern") if has_patterns else found


def _lane_families(op: sq.ConvOp) -> tuple[str, ...]:
    """Those of a convolution that reads several channels in each lane.

    Tiles only where `choose-kernel` has counted what they would multiply.
    """
    if is_depthwise(op) and not sq.has_bf16(op.input):
        return ("quad_depthwise",)
    usual = "pairs" if sq.has_bf16(op.input) else "quads"
    return (usual, "tiles") if kept_groups(op) else (usual,)


def conv_cycles(
    op: sq.ConvOp, family: str, positions: int, registers: Registers, l1_bytes: int
) -> float:
    """One family at its best schedule; `positions` of a result plane, with gaps."""
    weight, lanes = nn.shape_of(op.weight), registers.lanes
    groups, encoding = op.groups.value.data, nn.tensor_type(op.weight).encoding
    if family == "depthwise":
        taps = math.prod(weight[2:])
        return depthwise_cycles(
            lanes=lanes, positions=positions, filters=weight[0], taps=taps
        )
    if family in ("quads", "tiles", "pairs", "quad_depthwise"):
        return _lane_cycles(op, family, positions, registers)
    if family == "columns":
        assert isinstance(encoding, sq.ColumnsAttr)
        layer = column_layer(op, encoding, positions)
        best = best_columns_block(layer, registers)
        return columns_cycles(layer, best, lanes=lanes)
    if family == "pattern":
        assert isinstance(encoding, sq.PatternAttr | sq.ColumnsAttr)
        kernels = sparse_layer(op, encoding)
        tile = best_tile(kernels, registers, l1_bytes)
        return pattern_cycles(kernels, tile, lanes=lanes)
    filters, columns = weight[0] // groups, math.prod(weight[1:])
    shape = {"positions": positions, "filters": filters, "columns": columns}
    block = best_block(registers, **shape)
    return groups * dense_cycles(block, lanes=lanes, **shape)


def _lane_cycles(
    op: sq.ConvOp, family: str, positions: int, registers: Registers
) -> float:
    """The same for a family that reads several channels in each lane."""
    lanes = registers.lanes
    if family == "quads":
        quads = quad_layer(op, positions)
        return quads_cycles(quads, best_quads_block(quads, registers), lanes=lanes)
    if family == "tiles":
        tiles = tile_layer(op, positions)
        return tiles_cycles(tiles, best_tile_shape(tiles))
    if family == "pairs":
        pairs = pair_layer(op, positions)
        return pairs_cycles(pairs, best_pairs_block(pairs, registers), lanes=lanes)
    depthwise = quad_depthwise_layer(op)
    rows = best_rows(depthwise, registers)
    return depthwise_quads_cycles(depthwise, rows, registers)


def predict_conv(op: sq.ConvOp, registers: Registers, l1_bytes: int) -> Prediction:
    """Every family that can run the convolution, where it stands alone."""
    positions = flat_positions(op)
    return {
        family: conv_cycles(op, family, positions, registers, l1_bytes)
        for family in families_of(op)
    }


def predict_bf16(
    op: sq.ConvOp,
    weight: npt.NDArray[np.float32],
    registers: Registers,
    *,
    emulated: bool,
    tiles: bool,
) -> float:
    """Cycles of a float32 convolution if it were one of bfloat16, standing alone.

    With `tiles`, the target multiplies tiles.
    """
    positions = flat_positions(op)
    counts = count_pair_columns(weight, candidates(registers))
    layer = PairLayer(
        positions=positions,
        filters=weight.shape[0],
        channels=-(-weight.shape[1] // PAIR),
        kept=tuple(sorted(counts.items())),
        steps=len(op.epilogue),
        emulated=emulated,
    )
    best = best_pairs_block(layer, registers)
    usual = pairs_cycles(layer, best, lanes=registers.lanes)
    if not tiles:
        return usual
    lanes = as_pairs(weight, len(weight))
    kept = count_groups(lanes, tile_candidates(len(weight)))
    tile = tile_layer_of(op, positions, kept, PAIR, EPILOGUE)
    return min(usual, tiles_cycles(tile, best_tile_shape(tile)))


def predict_bf16_linear(
    op: sq.LinearOp, registers: Registers, *, emulated: bool
) -> float:
    """Cycles of a linear layer if it were one of bfloat16."""
    layer = linear_layer(op)
    return pairs_linear_cycles(layer, lanes=registers.lanes, emulated=emulated)


def linear_layer(op: sq.LinearOp) -> LinearLayer:
    """The layer as the cost model sees it."""
    filters, channels = nn.shape_of(op.weight)
    rows = math.prod(nn.shape_of(op.result)) // filters
    return LinearLayer(rows, filters, channels)


def turned_tiles_cycles(op: sq.LinearOp) -> float:
    """A linear layer as a pointwise convolution on tiles, between two transposes."""
    layer = tile_layer(op, linear_layer(op).rows)
    read, written = stored_shape(op.input), stored_shape(op.result)
    turned = turn_cycles(*read) + turn_cycles(written[1], written[0])
    best, kept = best_tile_shape(layer), kept_groups(op)
    groups = kept[best.filters].count * best.filters // POSITIONS
    cycles = max(tiles_cycles(layer, best), stream_cycles(groups * TILE_BYTES))
    return turned + cycles + 2 * LAUNCH_CYCLES


def recurrent_layer(op: nn.RecurrentOp) -> RecurrentLayer:
    """The layer as the cost model sees it."""
    wide, hidden = nn.shape_of(op.weight)
    return RecurrentLayer(nn.shape_of(op.initial)[0], wide // hidden, hidden)


def predict_recurrent(op: nn.RecurrentOp, registers: Registers) -> Prediction:
    """Families `dense` and `columns` of one step; lanes are elements of the state."""
    layer, lanes = recurrent_layer(op), registers.lanes
    cycles = {"dense": dense_step_cycles(layer, lanes=lanes)}
    encoding = nn.tensor_type(op.weight).encoding
    if isinstance(encoding, sq.ColumnsAttr) and encoding.block_size >= MIN_BLOCK:
        block, columns = encoding.block_size, encoding.num_columns
        cycles["columns"] = columns_step_cycles(layer, block, columns, lanes=lanes)
    return cycles


def flat_positions(op: sq.ConvOp) -> int:
    """Positions of a plane that kernels compute, those between rows included.

    Before layouts are chosen, these are what the layer needs where it stands alone.
    """
    if not isinstance(nn.tensor_type(op.result).encoding, NoneAttr):
        result = layout(op.result)
        return result.rows * result.pitch
    window, shape = window_of(op), nn.shape_of(op.result)[2:]
    lengths: list[int] = []
    for axis, (size, held) in enumerate(
        zip(nn.shape_of(op.input)[2:], shape, strict=True)
    ):
        along = window.reach if window.is_strided else window.direct_reach
        gap = max(along(axis, size, held))
        lengths.append(max(held, math.ceil(size / window.stride[axis]) + gap))
    *slabs, pitch = lengths
    rows = shape[-2]
    if len(shape) == 3:
        rows += (shape[0] - 1) * slabs[-1]
    return rows * pitch


def predict_linear(op: sq.LinearOp, registers: Registers) -> Prediction:
    """Families `dense`, `columns` (lanes over filters) and `conv` (over rows).

    On integers `codes`, of a quarter of the bytes; in bfloat16 `dense`, of half. Both
    may run as convolutions on `tiles`.
    """
    layer = linear_layer(op)
    lanes, families = registers.lanes, families_of(op)
    cycles = {"dense": dense_linear_cycles(layer, lanes=lanes)}
    if is_in_lanes(op.input):
        if sq.has_bf16(op.input):
            emulated = EMULATED in op.attributes
            cycles = {"dense": predict_bf16_linear(op, registers, emulated=emulated)}
        else:
            cycles = {"codes": dense_linear_cycles(layer, lanes=lanes, held=QUAD)}
        if "tiles" in families:
            cycles["tiles"] = turned_tiles_cycles(op)
        return cycles
    encoding = nn.tensor_type(op.weight).encoding
    if not isinstance(encoding, sq.ColumnsAttr):
        return cycles
    block, columns = encoding.block_size, encoding.num_columns
    if "columns" in families:
        cycles["columns"] = few_rows_cycles(layer, block, columns, lanes=lanes)
    cycles["conv"] = many_rows_cycles(layer, block, columns, registers)
    return cycles
