"""How long convolutions and linear layers of bfloat16 take, in cycles of one core.

Source of the constants as in `cost`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from edgec.dialects.bf16 import PAIR
from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_PER_CYCLE,
    MOST_REMEMBERED,
    Block,
    Registers,
)
from edgec.kernels.cost_columns import LinearLayer, dense_linear_cycles
from edgec.kernels.cost_quads import (
    MOST_FILTERS,
    STEP,
    HeldLayer,
    fits,
    held_blocks,
    held_cycles,
)
from edgec.kernels.linear.dense import linear_block

EPILOGUE = 1.5
"""Instructions for each vector of sums: half of rounding, a shuffle and a store."""
EMULATED = 2
"""Multiply-adds where there is no product of pairs; halves are taken apart besides."""


@dataclass(frozen=True)
class PairLayer(HeldLayer):
    """A convolution of pairs."""

    emulated: bool
    """Whether the target has no product of pairs."""


def candidates(registers: Registers) -> list[int]:
    """Numbers of filters of a block."""
    several = range(PAIR, MOST_FILTERS + 1, PAIR)
    return [count for count in several if fits(Block(count, 1), registers)]


def pairs_blocks(layer: PairLayer, registers: Registers) -> list[Block]:
    """Register blocks that fit; of more filters than the layer has only the least."""
    most = -(-layer.filters // PAIR) * PAIR
    return [block for block in held_blocks(layer, most) if fits(block, registers)]


def pairs_cycles(layer: PairLayer, block: Block, *, lanes: int) -> float:
    """All positions of all filters."""
    columns = dict(layer.kept)[block.filters]
    ending = EPILOGUE + STEP * layer.steps

    def column(part: Block) -> int:
        taken_apart = 2 * (part.filters + part.vectors)
        products = part.filters * part.vectors * EMULATED
        return products + taken_apart if layer.emulated else 0

    return held_cycles(layer, block, columns, column, ending, lanes=lanes)


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
