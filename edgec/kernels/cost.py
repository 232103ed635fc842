"""How long a convolution kernel takes, in cycles of one core, from its schedule.

Counts multiply-adds, loads and latency per register block; constants are measured (one
core of a server CPU with AVX-512 and 2 MB of L2, November 2026). Good for ranking
schedules and for dense against sparse; not a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FMA_PER_CYCLE = 2.0
LOADS_PER_CYCLE = 2.0
FMA_LATENCY = 4
"""Cycles until the result of a multiply-add can be added to."""
UNALIGNED = {4: 1.0, 8: 1.5, 16: 1.75}
"""Cost of an unaligned vector load by lanes: the share that crosses a 64-byte line pays
twice."""
TILE_OVERHEAD = 24.0
"""Cycles to start and finish the loop over channels of one register block."""
PATTERN_CYCLES_PER_FMA = {4: 0.75, 8: 0.68, 16: 1.0}
"""Measured for `table` on packed strips that fit L1: 85-98 GFLOP/s with 16 lanes, 65-77
with 8; no load is shared, and sums between channel blocks travel through L2."""


@dataclass(frozen=True)
class Registers:
    """The vector registers of a target."""

    lanes: int
    count: int


@dataclass(frozen=True)
class Block:
    """A register block of the dense kernel: filters x vectors of positions."""

    filters: int
    vectors: int

    def fits(self, registers: Registers) -> bool:
        """Accumulators, the vectors of inputs and a weight stay in registers."""
        return self.filters * self.vectors + self.vectors + 1 <= registers.count

    def column_cycles(self, lanes: int) -> float:
        """One input column (channel and tap) for all filters of the block."""
        products = self.filters * self.vectors
        loads = self.vectors * UNALIGNED[lanes] + self.filters
        return max(
            products / FMA_PER_CYCLE, loads / LOADS_PER_CYCLE, float(FMA_LATENCY) / 2
        )


def dense_cycles(
    block: Block, *, lanes: int, positions: int, filters: int, columns: int
) -> float:
    """All positions of all filters of one group; `columns` = channels x taps."""
    total = 0.0
    full, rest = divmod(positions, block.vectors * lanes)
    tiles = [(block.vectors, full)]
    if rest:
        tiles.append((-(-rest // lanes), 1))
    whole, few = divmod(filters, block.filters)
    for size, count in ((block.filters, whole), (few, 1 if few else 0)):
        for vectors, times in tiles:
            cycles = columns * Block(size, vectors).column_cycles(lanes)
            total += count * times * (cycles + TILE_OVERHEAD)
    return total


def best_block(
    registers: Registers, *, positions: int, filters: int, columns: int
) -> Block:
    """The register block with the fewest cycles; ties go to more filters."""
    candidates = [
        Block(f, v)
        for f in range(1, registers.count)
        for v in range(1, 5)
        if Block(f, v).fits(registers) and f <= max(1, filters)
    ]
    return min(
        candidates,
        key=lambda block: (
            dense_cycles(
                block,
                lanes=registers.lanes,
                positions=positions,
                filters=filters,
                columns=columns,
            ),
            -block.filters,
        ),
    )


def pattern_cycles(
    *, lanes: int, rows: int, height: int, width: int, kernels: int, taps: int
) -> float:
    """All kernels over all tiles of `rows` rows x one vector."""
    tiles = math.ceil(height / rows) * math.ceil(width / lanes)
    latency = FMA_LATENCY * taps
    per_kernel = max(taps * rows * PATTERN_CYCLES_PER_FMA[lanes], latency)
    return tiles * kernels * per_kernel


def best_rows(
    registers: Registers, *, height: int, width: int, kernels: int, taps: int
) -> int:
    """Rows of a tile: few wasted, enough to hide latency, sums in registers."""
    most = min(height, registers.count - 2, 14)
    return min(
        range(1, most + 1),
        key=lambda rows: (
            pattern_cycles(
                lanes=registers.lanes,
                rows=rows,
                height=height,
                width=width,
                kernels=kernels,
                taps=taps,
            )
            * (1 + 1.0 / rows),
            -rows,
        ),
    )
