"""How long convolutions on tiles take, in cycles of one core.

Source: throughput of `tdpbsud`, `tdpbf16ps`, `tileloadd` and `tilestored` (16, 16, 8
and 16 cycles for whole tiles) as in the chapter on AMX of Intel's Optimization
Reference Manual. The others are estimates from the ports of the same processors
(Sapphire Rapids): two loads and one store of 64 bytes a cycle. None of it was measured
by this project.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

from edgec.dialects.lane import TILES
from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    MOST_REMEMBERED,
    TILE_OVERHEAD,
)
from edgec.kernels.cost_columns import NEAR_BYTES
from edgec.kernels.cost_quads import STEP

POSITIONS = 16
"""Of a tile, and filters, and columns."""
TILE_BYTES = 1024
DOT = 16.0
"""Cycles of a product of two tiles."""
LOAD = 8.0
"""Cycles to load a tile, while products of others are computed."""
SPLIT_LOAD = 16.0
"""The same from the input itself: most rows cross a cache line, and are two loads."""
FAR_LOAD = 21.0
"""The same from L2, at 48 bytes a cycle (estimate)."""
STORE = 16.0
"""Cycles to store a tile."""
GATHER_LOADS = 16.0 + 8.0
"""Cycles of loads for each tile that is gathered: rows that cross a cache line, and
addresses (estimate)."""
GATHER_STORES = 16.0
"""Cycles of stores for each tile that is gathered."""
GROUP_OVERHEAD = 4.0
"""Cycles of a turn of the loop over groups of columns (estimate)."""
EFFICIENCY = 0.7
"""Share of what ports allow products that counts as free of stalls: an estimate, less
than that of kernels that were measured."""
BLOCKS = (16, 32, 64)
"""Filters that may share columns."""


@dataclass(frozen=True)
class TileShape:
    """A schedule: filters that share columns; tiles that are multiplied together."""

    filters: int
    tiles: int
    """Of filters."""
    vectors: int
    """Of positions."""


@dataclass(frozen=True)
class TileLayer:
    """A convolution of int8 or bfloat16, for one image."""

    positions: int
    filters: int
    channels: int
    """Of the input, those of a lane counted once."""
    kept: tuple[tuple[int, int, int], ...]
    """Filters of a block; groups of sixteen columns that all blocks read in place, and
    those that they gather."""
    steps: int
    """Of the epilogue."""
    end: float
    """Instructions for each vector of sums, apart from steps: `EPILOGUE` of the family
    without tiles."""


def fits(tiles: int, vectors: int) -> bool:
    """Whether sums and both factors have a tile each."""
    return tiles * vectors + tiles + vectors <= TILES


def candidates(filters: int) -> list[int]:
    """Numbers of filters of a block: of those that hold all filters, the least."""
    return [
        BLOCKS[0],
        *(after for b, after in itertools.pairwise(BLOCKS) if b < filters),
    ]


def tile_shapes(layer: TileLayer) -> list[TileShape]:
    """All schedules of a layer."""
    return [
        TileShape(filters, tiles, vectors)
        for filters, *_ in layer.kept
        for tiles in range(1, filters // POSITIONS + 1)
        for vectors in range(1, TILES)
        if fits(tiles, vectors)
    ]


def tiles_cycles(layer: TileLayer, shape: TileShape) -> float:
    """All positions of all filters."""
    positions = math.ceil(layer.positions / POSITIONS)
    full, rest = divmod(positions, shape.vectors)
    total = full * _tile_cycles(layer, shape, shape.vectors)
    return total + (_tile_cycles(layer, shape, rest) if rest else 0)


def _tile_cycles(layer: TileLayer, shape: TileShape, vectors: int) -> float:
    """All filters of so many tiles of positions."""
    kept = {block: groups for block, *groups in layer.kept}
    direct, gathered = kept[shape.filters]
    blocks = math.ceil(layer.filters / shape.filters)
    high = math.ceil(layer.filters / POSITIONS) / blocks
    passes = math.ceil(high / shape.tiles)
    groups = (direct + gathered) / blocks
    is_near = groups * high * TILE_BYTES <= NEAR_BYTES
    weights = high * (LOAD if is_near else FAR_LOAD)
    inputs = vectors * POSITIONS * 4 * layer.channels
    source = SPLIT_LOAD if inputs <= NEAR_BYTES else FAR_LOAD
    dots = DOT * high * vectors
    read = max(dots, weights + passes * vectors * source) + GROUP_OVERHEAD
    moved = GATHER_LOADS + (source - SPLIT_LOAD)
    loads = weights + vectors * (moved + passes * LOAD)
    copied = max(dots, loads, vectors * GATHER_STORES) + GROUP_OVERHEAD
    end = (1 + layer.end + STEP * layer.steps) * POSITIONS / FMA_PER_CYCLE + STORE
    ends = blocks * (TILE_OVERHEAD * passes + high * vectors * end)
    products = direct * read + gathered * copied
    return products / EFFICIENCY + ends / DENSE_EFFICIENCY


@lru_cache(MOST_REMEMBERED)
def best_tile_shape(layer: TileLayer) -> TileShape:
    """The schedule with the fewest cycles; ties go to more filters."""
    return min(
        tile_shapes(layer),
        key=lambda shape: (tiles_cycles(layer, shape), -shape.filters),
    )
