"""How long layers in compressed columns take, in cycles of one core; and linear layers.

Source of the constants as in `cost`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    LOADS_PER_CYCLE,
    MOST_REMEMBERED,
    TILE_OVERHEAD,
    Block,
    Registers,
)

FAR_LOAD = 2.2
"""Cycles per vector of a column that is read from L2, whatever meets it."""
COLUMN_OVERHEAD = 1.0
"""Cycles to find a column in the table."""
MAX_VECTORS = 12
"""Most vectors of positions of a register block."""
STREAM_BYTES = 8.0
"""Bytes per cycle of weights that are read once, from beyond L2."""
TRANSPOSE_CYCLES = 1.2
"""Cycles to move one element between rows and columns."""


@dataclass(frozen=True)
class ColumnLayer:
    """A convolution in compressed columns, for one image."""

    positions: int
    filters: int
    block: int
    """Filters that share their columns."""
    columns: int
    """Columns kept, over all blocks."""
    groups: int = 1


def columns_cycles(layer: ColumnLayer, block: Block, *, lanes: int) -> float:
    """All positions of all filters; the register block divides the storage's."""
    blocks = layer.groups * math.ceil(layer.filters / layer.groups / block.filters)
    columns = layer.columns * layer.block / block.filters
    total = 0.0
    full, rest = divmod(layer.positions, block.vectors * lanes)
    for vectors, tiles in ((block.vectors, full), (math.ceil(rest / lanes), 1)):
        if not vectors or not tiles:
            continue
        part = Block(block.filters, vectors)
        far = vectors * FAR_LOAD
        cycles = max(part.column_cycles(lanes), far) + COLUMN_OVERHEAD
        total += tiles * (columns * cycles + blocks * TILE_OVERHEAD)
    return total / DENSE_EFFICIENCY


def columns_blocks(layer: ColumnLayer, registers: Registers) -> list[Block]:
    """Register blocks that fit the registers; their filters divide the storage's."""
    return [
        Block(f, v)
        for f in range(1, layer.block + 1)
        if layer.block % f == 0
        for v in range(1, MAX_VECTORS + 1)
        if Block(f, v).fits(registers)
    ]


@lru_cache(MOST_REMEMBERED)
def best_columns_block(layer: ColumnLayer, registers: Registers) -> Block:
    """The register block with the fewest cycles; its filters divide the storage's."""
    return min(
        columns_blocks(layer, registers),
        key=lambda block: (
            columns_cycles(layer, block, lanes=registers.lanes),
            -block.filters,
        ),
    )


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer."""

    rows: int
    filters: int
    channels: int


def dense_linear_cycles(layer: LinearLayer, *, lanes: int) -> float:
    """Bound by arithmetic, or by the weights where rows are few."""
    weights = layer.filters * layer.channels
    products = layer.rows * weights / lanes / FMA_PER_CYCLE / DENSE_EFFICIENCY
    return max(products, 4 * weights / STREAM_BYTES)


def few_rows_cycles(
    layer: LinearLayer, block: int, columns: int, *, lanes: int
) -> float:
    """Lanes over the filters of a block, every column once per few rows."""
    vectors = max(1, block // lanes)
    loads = vectors + 2 * layer.rows
    products = layer.rows * vectors / FMA_PER_CYCLE
    trip = max(products, loads / LOADS_PER_CYCLE)
    stored = 4 * (block + 1) * columns
    blocks = math.ceil(layer.filters / block)
    return max(columns * trip, stored / STREAM_BYTES) + blocks * TILE_OVERHEAD


def many_rows_cycles(
    layer: LinearLayer, block: int, columns: int, registers: Registers
) -> float:
    """As a pointwise convolution over the rows, between two transposes."""
    conv = ColumnLayer(layer.rows, layer.filters, block, columns)
    best = best_columns_block(conv, registers)
    moved = layer.rows * (layer.filters + layer.channels)
    cycles = columns_cycles(conv, best, lanes=registers.lanes)
    return cycles + moved * TRANSPOSE_CYCLES
