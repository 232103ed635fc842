"""How long convolutions and linear layers of bfloat16 take, in cycles of one core.

Source of the constants as in `cost`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from edgec.dialects.bf16 import PAIR
from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    MOST_REMEMBERED,
    TILE_OVERHEAD,
    Block,
    Registers,
    position_tiles,
)
from edgec.kernels.cost_columns import (
    COLUMN_OVERHEAD,
    FAR_LOAD,
    NEAR_BYTES,
    LinearLayer,
    dense_linear_cycles,
)
from edgec.kernels.cost_quads import MOST_FILTERS, MOST_VECTORS, STEP, fits
from edgec.kernels.linear.dense import linear_block

EPILOGUE = 1.5
"""Instructions for each vector of sums: half of rounding, a shuffle and a store."""
EMULATED = 2
"""Multiply-adds where there is no product of pairs; halves are taken apart besides."""


@dataclass(frozen=True)
class PairLayer:
    """A convolution of pairs, for one image."""

    positions: int
    filters: int
    channels: int
    """Of the input, in pairs."""
    kept: tuple[tuple[int, int], ...]
    """Filters of a block, and the columns that all blocks of so many keep."""
    steps: int
    """Of the epilogue."""
    emulated: bool
    """Whether the target has no product of pairs."""


def candidates(registers: Registers) -> list[int]:
    """Numbers of filters of a block."""
    several = range(PAIR, MOST_FILTERS + 1, PAIR)
    return [count for count in several if fits(Block(count, 1), registers)]


def pairs_blocks(layer: PairLayer, registers: Registers) -> list[Block]:
    """Register blocks that fit; of more filters than the layer has only the least."""
    most = -(-layer.filters // PAIR) * PAIR
    return [
        Block(filters, vectors)
        for filters, _ in layer.kept
        for vectors in range(1, MOST_VECTORS + 1)
        if fits(Block(filters, vectors), registers) and filters <= most
    ]


def pairs_cycles(layer: PairLayer, block: Block, *, lanes: int) -> float:
    """All positions of all filters."""
    columns = dict(layer.kept)[block.filters]
    blocks = math.ceil(layer.filters / block.filters)
    total = 0.0
    for vectors, tiles in position_tiles(layer.positions, block.vectors, lanes):
        products = Block(block.filters, vectors).column_cycles(lanes)
        if layer.emulated:
            taken_apart = 2 * (block.filters + vectors)
            count = block.filters * vectors * EMULATED + taken_apart
            products = max(products, count / FMA_PER_CYCLE)
        is_near = layer.channels * vectors * lanes * 4 <= NEAR_BYTES
        far = 0.0 if is_near else vectors * FAR_LOAD
        cycles = max(products, far) + COLUMN_OVERHEAD
        end = (EPILOGUE + STEP * layer.steps) * block.filters * vectors / FMA_PER_CYCLE
        total += tiles * (columns * cycles + blocks * (TILE_OVERHEAD + end))
    return total / DENSE_EFFICIENCY


@lru_cache(MOST_REMEMBERED)
def best_pairs_block(layer: PairLayer, registers: Registers) -> Block:
    """The register block with the fewest cycles; ties go to more filters."""
    return min(
        pairs_blocks(layer, registers),
        key=lambda block: (
            pairs_cycles(layer, block, lanes=registers.lanes),
            -block.filters,
        ),
    )


def pairs_linear_cycles(layer: LinearLayer, *, lanes: int, emulated: bool) -> float:
    """As in float32, of half the lanes; halves are taken apart where that must be."""
    cycles = dense_linear_cycles(layer, lanes=lanes, held=PAIR)
    if not emulated:
        return cycles
    block = linear_block(lanes, layer.rows, layer.filters)
    sums, taken_apart = block.rows * block.vectors, 2 * (block.rows + block.vectors)
    products = layer.rows * layer.filters * layer.channels / PAIR / lanes
    count = products * (EMULATED + taken_apart / sums)
    return max(cycles, count / FMA_PER_CYCLE / DENSE_EFFICIENCY)
