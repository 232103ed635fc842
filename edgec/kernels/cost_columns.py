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
    LAUNCH_CYCLES,
    LOADS_PER_CYCLE,
    MOST_REMEMBERED,
    TILE_OVERHEAD,
    Block,
    Registers,
    position_tiles,
)

FAR_LOAD = 2.2
"""Cycles per vector of a column that is read from L2, whatever meets it."""
COLUMN_OVERHEAD = 1.0
"""Cycles to find a column in the table."""
NEAR_BYTES = 24 * 1024
"""Inputs of a tile that stay in L1 while all filters read them."""
MAX_VECTORS = 12
"""Most vectors of positions of a register block."""
CACHED_BYTES = 8 * 2**20
"""Weights of a layer that stay in the cache from call to call."""
CACHED_RATE = 20.0
"""Bytes per cycle of weights that are read once, from L2 or L3."""
STREAM_RATE = 8.0
"""The same from memory."""
TURN_CYCLES = 2.0
"""Cycles to move one element between rows and columns."""
FAR_TURN_CYCLES = 6.0
"""The same where the source's rows are `FAR_ROW_BYTES` long or longer: each is in
another page, and few of them fit L1 together."""
FAR_ROW_BYTES = 2048
"""Half a page."""


@dataclass(frozen=True)
class ColumnLayer:
    """A convolution in compressed columns, for one image."""

    positions: int
    filters: int
    block: int
    """Filters that share their columns."""
    columns: int
    """Columns kept, over all blocks."""
    channels: int
    """Of the input that a filter reads."""
    groups: int = 1


def columns_cycles(layer: ColumnLayer, block: Block, *, lanes: int) -> float:
    """All positions of all filters; the register block divides the storage's."""
    blocks = layer.groups * math.ceil(layer.filters / layer.groups / block.filters)
    columns = layer.columns * layer.block / block.filters
    total = 0.0
    for vectors, tiles in position_tiles(layer.positions, block.vectors, lanes):
        part = Block(block.filters, vectors)
        is_near = layer.channels * vectors * lanes * 4 <= NEAR_BYTES
        far = 0.0 if is_near else vectors * FAR_LOAD
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


FEW_REGISTERS = 16
"""Registers of the kernel for few rows: those of AVX2."""
MOST_ROWS = 4
"""Rows that share a load of a weight in it."""


LOOP_CYCLES = 24.0
"""Cycles around the columns of a block in it: two loops whose trips nothing foretells,
and the sum of their parts."""
FINISH_CYCLES = 2.0
"""Cycles of the epilogue of one of its vectors, and the store."""


def most_rows(vectors: int) -> int:
    """Rows whose sums, of `vectors` each, fit next to a column and an input."""
    return min(MOST_ROWS, max(1, (FEW_REGISTERS - 1) // vectors - 1))


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer."""

    rows: int
    filters: int
    channels: int


def stream_cycles(num_bytes: float) -> float:
    """Weights that are read once."""
    rate = CACHED_RATE if num_bytes <= CACHED_BYTES else STREAM_RATE
    return num_bytes / rate


def dense_linear_cycles(layer: LinearLayer, *, lanes: int, held: int = 1) -> float:
    """Bound by arithmetic, or by the weights where rows are few.

    `held` inputs share a lane, and so do as many weights.
    """
    lane_weights = layer.filters * layer.channels / held
    products = layer.rows * lane_weights / lanes / FMA_PER_CYCLE / DENSE_EFFICIENCY
    return max(products, stream_cycles(4 * lane_weights))


def few_rows_cycles(
    layer: LinearLayer, block: int, columns: int, *, lanes: int
) -> float:
    """Lanes over the filters of a block, every column once per few rows."""
    vectors = max(1, block // lanes)
    few = min(layer.rows, most_rows(vectors))
    whole, rest = divmod(layer.rows, few)
    cycles = 0.0
    for rows, times in ((few, whole), (rest, min(rest, 1))):
        # A number, the weights, and an input of each row.
        loads = 1 + vectors + rows
        trip = max(rows * vectors / FMA_PER_CYCLE, loads / LOADS_PER_CYCLE)
        around = LOOP_CYCLES + rows * vectors * FINISH_CYCLES
        tiles = math.ceil(layer.filters / block)
        cycles += times * (columns * trip / DENSE_EFFICIENCY + tiles * around)
    return max(cycles, stream_cycles(4 * (block + 1) * columns))


def turn_cycles(rows: int, columns: int) -> float:
    """The transpose of a matrix."""
    is_far = 4 * columns >= FAR_ROW_BYTES
    return rows * columns * (FAR_TURN_CYCLES if is_far else TURN_CYCLES)


def many_rows_cycles(
    layer: LinearLayer, block: int, columns: int, registers: Registers
) -> float:
    """As a pointwise convolution over the rows, between two transposes."""
    conv = ColumnLayer(layer.rows, layer.filters, block, columns, layer.channels)
    best = best_columns_block(conv, registers)
    turned = turn_cycles(layer.rows, layer.channels)
    back = turn_cycles(layer.filters, layer.rows)
    cycles = columns_cycles(conv, best, lanes=registers.lanes)
    return turned + cycles + back + 2 * LAUNCH_CYCLES


DECODE_CYCLES = 0.5
"""To make float32 numbers of a vector of codes, next to the products. Not measured by
itself: linear layers of 4096 × 4096 on one row read weights of 2 bits at 0.76 of what
memory gives (docs/benchmarks.md), about a cycle for each vector of weights in all, with
a clock of 4 GHz taken for granted."""


def codes_cycles(
    rows: int, weights: float, num_bytes: float, *, lanes: int, most: int = MOST_ROWS
) -> float:
    """Weights in codes next to float32 rows, `most` of which share the decoding.

    `weights` are those of the loop: without the zeros that are left out.
    """
    vectors = weights / lanes
    times = math.ceil(rows / most)
    cycles = vectors * (times * DECODE_CYCLES + rows / FMA_PER_CYCLE)
    return max(cycles / DENSE_EFFICIENCY, stream_cycles(num_bytes))
