"""How long a step of a recurrent layer takes, in cycles of one core.

Source of the constants as in `cost`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgec.kernels.cost import (
    DENSE_EFFICIENCY,
    FMA_LATENCY,
    FMA_PER_CYCLE,
    LOADS_PER_CYCLE,
    TILE_OVERHEAD,
)
from edgec.kernels.cost_columns import (
    LOOP_CYCLES,
    STREAM_RATE,
    codes_cycles,
    most_rows,
)
from edgec.kernels.linear.column_loop import MOST_PARTS, MOST_SUMS
from edgec.kernels.recurrent.column_gates import BLOCKS
from edgec.kernels.recurrent.gates import DenseGates

NEAR_RATE = 40.0
"""Bytes per cycle of weights that a thread reads anew in each step, from L2."""
NEAR_BYTES = 2**19
"""Weights that stay in L2 from step to step, next to the states."""
CACHED_RATE = 24.0
"""Bytes per cycle of larger weights, from L2 and L3."""
CACHED_BYTES = 24 * 2**20
"""Weights that stay in L3 from step to step."""
FUNCTION_CYCLES = 14.0
"""Of one vector of sigmoid or tanh."""
FUNCTIONS = {1: 1, 3: 3, 4: 5}
"""Sigmoids and tanhs of an element, by gates."""


@dataclass(frozen=True)
class RecurrentLayer:
    """One layer in one direction."""

    rows: int
    """Of the batch."""
    gates: int
    hidden: int


def dense_step_cycles(layer: RecurrentLayer, *, lanes: int) -> float:
    """All gates of some vectors of elements at once, each weight for some rows."""
    block = DenseGates.of(lanes, layer.gates, layer.hidden, layer.rows)
    wide = layer.gates * block.vectors
    tiles = math.ceil(layer.hidden / lanes / block.vectors)
    cycles = 0.0
    for rows, times in _row_blocks(layer.rows, block.rows):
        products, loads = rows * wide / FMA_PER_CYCLE, (rows + wide) / LOADS_PER_CYCLE
        trip = max(products, loads) / DENSE_EFFICIENCY
        cycles += times * tiles * (layer.hidden * trip + TILE_OVERHEAD)
    read = len(_row_blocks(layer.rows, block.rows))
    weights = 4 * layer.gates * layer.hidden**2
    return max(cycles, read * _read_cycles(weights)) + _ends(layer, lanes)


def columns_step_cycles(
    layer: RecurrentLayer, block: int, columns: int, *, lanes: int
) -> float:
    """A loop for each gate of a block of elements; `columns` over all blocks."""
    own = max((size for size in BLOCKS if size <= block), default=BLOCKS[-1])
    columns, lanes = columns * block // own, min(lanes, own)
    vectors = own // lanes
    loops = layer.gates * math.ceil(layer.hidden / own)
    cycles = 0.0
    for rows, times in _row_blocks(layer.rows, most_rows(layer.gates)):
        sums = rows * vectors
        parts = max(1, min(MOST_PARTS, MOST_SUMS // sums))
        trip = max(
            sums / FMA_PER_CYCLE,
            (1 + rows + vectors) / LOADS_PER_CYCLE,
            FMA_LATENCY / parts,
        )
        cycles += times * (columns * trip / DENSE_EFFICIENCY + loops * LOOP_CYCLES)
    return max(cycles, _read_cycles(4 * (own + 1) * columns)) + _ends(layer, lanes)


def _row_blocks(rows: int, most: int) -> list[tuple[int, int]]:
    """Rows of a block, and how many such blocks there are."""
    whole, rest = divmod(rows, min(rows, most))
    return [(min(rows, most), whole), *([(rest, 1)] if rest else [])]


def _read_cycles(num_bytes: float) -> float:
    """Weights that every step reads."""
    if num_bytes <= NEAR_BYTES:
        return num_bytes / NEAR_RATE
    return num_bytes / (CACHED_RATE if num_bytes <= CACHED_BYTES else STREAM_RATE)


def _ends(layer: RecurrentLayer, lanes: int) -> float:
    """The functions of the gates."""
    vectors = layer.rows * math.ceil(layer.hidden / lanes)
    return vectors * FUNCTIONS[layer.gates] * FUNCTION_CYCLES


def codes_step_cycles(
    layer: RecurrentLayer, weights: float, num_bytes: float, *, lanes: int
) -> float:
    """All gates from weights in codes, which a thread reads anew in each step."""
    product = codes_cycles(layer.rows, weights, 0, lanes=lanes)
    return max(product, _read_cycles(num_bytes)) + _ends(layer, lanes)
