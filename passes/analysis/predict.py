"""Cycles of every kernel family that can run a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgec.dialects import nn, sq
from edgec.kernels.cost import (
    Registers,
    best_block,
    best_tile,
    dense_cycles,
    pattern_cycles,
)
from edgec.kernels.cost_columns import (
    LinearLayer,
    best_columns_block,
    columns_cycles,
    dense_linear_cycles,
    few_rows_cycles,
    many_rows_cycles,
)
from edgec.kernels.linear.columns import MIN_BLOCK
from edgec.passes.analysis.sparse import column_layer, sparse_layer

Prediction = Mapping[str, float]
"""Family → cycles of one core for one image; `dense` is always there."""


def predict_conv(op: sq.ConvOp, registers: Registers, l1_bytes: int) -> Prediction:
    """Families `dense`, `columns` and, of 2-D ones, `pattern`."""
    weight, result = nn.shape_of(op.weight), nn.shape_of(op.result)
    groups, lanes = op.groups.value.data, registers.lanes
    positions, filters = math.prod(result[2:]), weight[0] // groups
    columns = math.prod(weight[1:])
    shape = {"positions": positions, "filters": filters, "columns": columns}
    block = best_block(registers, **shape)
    cycles = {"dense": groups * dense_cycles(block, lanes=lanes, **shape)}
    encoding = nn.tensor_type(op.weight).encoding
    if isinstance(encoding, sq.ColumnsAttr):
        layer = column_layer(op, encoding, positions)
        best = best_columns_block(layer, registers)
        cycles["columns"] = columns_cycles(layer, best, lanes=lanes)
    is_single = isinstance(encoding, sq.ColumnsAttr) and encoding.block_size == 1
    has_patterns = is_single or isinstance(encoding, sq.PatternAttr)
    # The pattern kernel packs rows, and knows of no slices or groups.
    if has_patterns and len(result) == 4 and groups == 1:
        assert isinstance(encoding, sq.PatternAttr | sq.ColumnsAttr)
        kernels = sparse_layer(op, encoding)
        tile = best_tile(kernels, registers, l1_bytes)
        cycles["pattern"] = pattern_cycles(kernels, tile, lanes=lanes)
    return cycles


def predict_recurrent(op: nn.RecurrentOp, registers: Registers) -> Prediction:
    """Families `dense` and `columns` of one step; lanes are elements of the state."""
    wide, hidden = nn.shape_of(op.weight)
    layer = LinearLayer(nn.shape_of(op.initial)[0], wide, hidden)
    lanes = registers.lanes
    cycles = {"dense": dense_linear_cycles(layer, lanes=lanes)}
    encoding = nn.tensor_type(op.weight).encoding
    if isinstance(encoding, sq.ColumnsAttr) and encoding.block_size >= MIN_BLOCK:
        block, columns = encoding.block_size, encoding.num_columns
        cycles["columns"] = few_rows_cycles(layer, block, columns, lanes=lanes)
    return cycles


def predict_linear(op: sq.LinearOp, registers: Registers) -> Prediction:
    """Families `dense`, `columns` (lanes over filters) and `conv` (over rows)."""
    filters, channels = nn.shape_of(op.weight)
    layer = LinearLayer(math.prod(nn.shape_of(op.result)) // filters, filters, channels)
    lanes = registers.lanes
    cycles = {"dense": dense_linear_cycles(layer, lanes=lanes)}
    encoding = nn.tensor_type(op.weight).encoding
    if not isinstance(encoding, sq.ColumnsAttr):
        return cycles
    block, columns = encoding.block_size, encoding.num_columns
    if block >= MIN_BLOCK and not encoding.is_reordered:
        cycles["columns"] = few_rows_cycles(layer, block, columns, lanes=lanes)
    cycles["conv"] = many_rows_cycles(layer, block, columns, registers)
    return cycles
