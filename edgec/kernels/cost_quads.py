"""How long integer convolutions take, in cycles of one core.

Source of the constants as in `cost`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from edgec.dialects.lane import QUAD
from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    MOST_REMEMBERED,
    TILE_OVERHEAD,
    Block,
    Registers,
    position_tiles,
)
from edgec.kernels.cost_columns import COLUMN_OVERHEAD, FAR_LOAD, NEAR_BYTES

EPILOGUE = 9
"""Instructions for each vector of sums: to a number, in the range, rounded, packed."""
STEP = 1.5
"""Instructions more for each step of the epilogue; an extra operand is loaded too."""
BOUNDED_PRODUCT = 3
"""Instructions where there is no dot product of bytes: pairs, quads, the sum."""
WIDE_COLUMN = 1.25
"""Times such a column is one whose bytes are multiplied as 16-bit numbers: 1.24 to 1.35
with AVX2, 1.18 to 1.21 with 16 lanes (measured)."""
BOUNDED_REGISTERS = 2
"""Registers more that such a product takes: 4 x 3 with AVX2 spills in its loop."""
MOST_FILTERS = 16
"""Filters of a block: more of them keep more columns, and few vectors are left."""
MOST_VECTORS = 4
"""Vectors of positions of a block."""


@dataclass(frozen=True)
class HeldLayer:
    """A convolution whose lanes hold several channels, for one image."""

    positions: int
    filters: int
    channels: int
    """Of the input, in lanes that hold several."""
    kept: tuple[tuple[int, int], ...]
    """Filters of a block, and the columns that all blocks of so many keep."""
    steps: int
    """Of the epilogue."""


@dataclass(frozen=True)
class QuadLayer(HeldLayer):
    """An integer convolution."""

    bounded: bool
    """Whether the target has no dot product of bytes."""
    wide: tuple[tuple[int, int], ...] = ()
    """As `kept`: those of it with pairs of products that 16 bits do not hold."""


MOST_ROWS = 4
"""Rows of a depthwise result that are computed together."""
TRANSPOSE = 12
"""Instructions for four rows of a register of positions: loads and shuffles."""


@dataclass(frozen=True)
class QuadDepthwiseLayer:
    """An integer depthwise convolution, for one image; rows come before columns."""

    groups: int
    """Quads of channels."""
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    steps: int
    """Of the epilogue."""

    def fours(self, rows: int) -> int:
        """Groups of four rows of the input that a band of results reads."""
        found = {
            row * self.stride[0] + tap * self.dilation[0]
            for row in range(rows)
            for tap in range(self.kernel[0])
        }
        return -(-len(found) // QUAD)

    def products(self, rows: int) -> int:
        """At most; each takes a register for its weight."""
        return rows * self.fours(rows) * self.kernel[1]


def fits(block: Block, registers: Registers, *, bounded: bool = False) -> bool:
    """Whether sums, inputs and a weight stay in registers.

    Without a dot product of bytes so do its parts, and the ones that add pairs.
    """
    return block.used + (BOUNDED_REGISTERS if bounded else 0) <= registers.count


def candidates(registers: Registers) -> list[int]:
    """Numbers of filters of a block."""
    several = range(QUAD, MOST_FILTERS + 1, QUAD)
    return [count for count in several if fits(Block(count, 1), registers)]


def quads_blocks(layer: QuadLayer, registers: Registers) -> list[Block]:
    """Register blocks that fit; of more filters than the layer has only the least."""
    most = max(QUAD, -(-layer.filters // QUAD) * QUAD)
    return [
        block
        for block in held_blocks(layer, most)
        if fits(block, registers, bounded=layer.bounded)
    ]


def held_blocks(layer: HeldLayer, most: int) -> list[Block]:
    """Register blocks of at most so many filters."""
    return [
        Block(filters, vectors)
        for filters, _ in layer.kept
        if filters <= most
        for vectors in range(1, MOST_VECTORS + 1)
    ]


def quads_cycles(layer: QuadLayer, block: Block, *, lanes: int) -> float:
    """All positions of all filters."""
    wide = dict(layer.wide).get(block.filters, 0)
    columns = dict(layer.kept)[block.filters] + (WIDE_COLUMN - 1) * wide
    ending = EPILOGUE + STEP * layer.steps

    def column(part: Block) -> int:
        return part.filters * part.vectors * BOUNDED_PRODUCT if layer.bounded else 0

    return held_cycles(layer, block, columns, column, ending, lanes=lanes)


def held_cycles(
    layer: HeldLayer,
    block: Block,
    columns: float,
    column: Callable[[Block], int],
    ending: float,
    *,
    lanes: int,
) -> float:
    """All positions of all filters of a layer that holds channels in lanes.

    `column`: instructions for one column besides loads, if more than a multiply-add for
    each sum; `ending`: those after the columns for each sum.
    """
    blocks = math.ceil(layer.filters / block.filters)
    total = 0.0
    for vectors, tiles in position_tiles(layer.positions, block.vectors, lanes):
        part = Block(block.filters, vectors)
        is_near = layer.channels * vectors * lanes * 4 <= NEAR_BYTES
        far = 0.0 if is_near else vectors * FAR_LOAD
        products = max(part.column_cycles(lanes), column(part) / FMA_PER_CYCLE)
        cycles = max(products, far) + COLUMN_OVERHEAD
        end = ending * block.filters * vectors / FMA_PER_CYCLE
        total += tiles * (columns * cycles + blocks * (TILE_OVERHEAD + end))
    return total / DENSE_EFFICIENCY


@lru_cache(MOST_REMEMBERED)
def best_quads_block(layer: QuadLayer, registers: Registers) -> Block:
    """The register block with the fewest cycles; ties go to more filters."""
    return min(
        quads_blocks(layer, registers),
        key=lambda block: (
            quads_cycles(layer, block, lanes=registers.lanes),
            -block.filters,
        ),
    )


def depthwise_quads_cycles(
    layer: QuadDepthwiseLayer, rows: int, registers: Registers
) -> float:
    """All planes, in bands of so many rows of results."""
    parts = layer.stride[1] * (1 + math.ceil((layer.kernel[1] - 1) / QUAD))
    moved = layer.fours(rows) * parts * TRANSPOSE
    spilled = max(0, layer.products(rows) - registers.count // 2)
    end = rows * QUAD * (EPILOGUE + STEP * layer.steps)
    tile = moved + spilled + QUAD * layer.products(rows) + end
    tiles = math.ceil(layer.height / rows) * math.ceil(layer.width / registers.lanes)
    cycles = layer.groups * tiles * tile / FMA_PER_CYCLE
    return cycles / DENSE_EFFICIENCY


def best_rows(layer: QuadDepthwiseLayer, registers: Registers) -> int:
    """Rows of a band with the fewest cycles; ties go to fewer rows."""
    return min(
        range(1, MOST_ROWS + 1),
        key=lambda rows: depthwise_quads_cycles(layer, rows, registers),
    )
