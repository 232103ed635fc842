"""How long a convolution kernel takes, in cycles of one core, from its schedule.

Counts multiply-adds, loads and latency per register block; constants are measured (one
core of a server CPU with AVX-512 and 1 MB of L2, November 2026: `python -m benchmarks
--suite sweep`). Good for ranking schedules and for dense against sparse; not a clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from edgec.errors import InvalidInput
from edgec.kernels.conv.bands import BANDS

FMA_PER_CYCLE = 2.0
LOADS_PER_CYCLE = 2.0
FMA_LATENCY = 4
"""Cycles until the result of a multiply-add can be added to."""
UNALIGNED = {4: 1.0, 8: 1.5, 16: 1.75}
"""Cost of an unaligned vector load by lanes: the share that crosses a 64-byte line pays
twice."""
MIN_REGISTERS = 8
"""An accumulator, an input, a weight, and some for the epilogue."""
TILE_OVERHEAD = 24.0
"""Cycles to start and finish the loop over channels of one register block."""
MAX_DENSE_VECTORS = 4
"""Most vectors of positions of a dense register block."""
MAX_FILTERS = 12
"""More filters need more weights per cycle than L2 delivers: 14 x 2 is measured slower
than 12 x 2 on every 3x3 layer."""
DENSE_SPARE = 1
"""Registers that a dense register block leaves: 4 x 3 with 16 registers is measured 8 %
slower than 6 x 2, which loads less for each product."""
DENSE_EFFICIENCY = 0.9
"""Measured share of the peak of a register block that counts as free of stalls."""
L1_SHARE = 0.75
"""Of L1 that a strip may take: sums, tables and the source pass through the rest."""
MAX_ROWS = 8
"""Measured best on layers from 14x14 to 224x224: more rows leave fewer channels to a
block, and sums cost the same per row."""
PATTERN_EFFICIENCY = 0.82
"""The same for the loops over pairs of taps."""
TAPS_AHEAD = 12
"""Taps of later filters that the processor begins while one filter's wait for each
other: where a visit is short, latency is hidden."""
VISIT_CYCLES = 10.0
"""Cycles of a sparse filter's visit to a block of channels."""
SUM_CYCLES = 2.0
"""Cycles to load and store one partial sum, which travels through L2; there are none
where one block holds all channels."""
STORE_CYCLES = 1.0
"""Cycles to finish and store one row of a band."""
PACK_CYCLES = 2.0
"""Cycles to copy one vector of a strip."""
ROW_CYCLES = 4.0
"""Cycles to get at a row of the strip in its plane, far from that of the last one."""
FAR_ROW_CYCLES = 8.0
"""The same where the planes do not stay in L2."""
FAR_BYTES = 2**20
"""Planes of an image that do: L2 of the smallest server parts."""
BAND_CYCLES = 1.0
"""Cycles more for each further band in a vector of a strip."""
COPY_BYTES = 8.0
"""Bytes of a tensor per cycle that a conversion moves: 8 are measured from beyond L2,
13 within it."""
COPY_ROW = 3.0
"""Fewest cycles to copy one row."""
LAUNCH_CYCLES = 1500.0
"""Cycles to start a kernel and to wait for its end."""
MIN_COLUMNS = 4
"""Fewest neighbours in a register: less is more work to pack than lanes are saved."""

MOST_REMEMBERED = 4096
"""Layers whose best schedule is remembered: two passes ask for each, and networks
repeat their layers."""


@dataclass(frozen=True)
class Registers:
    """The vector registers of a target."""

    lanes: int
    count: int

    def __post_init__(self) -> None:
        """Raise `InvalidInput` for registers that no kernel is made for."""
        if self.lanes not in UNALIGNED:
            raise InvalidInput(
                f"the number of lanes must be one of {list(UNALIGNED)}, "
                f"got {self.lanes}"
            )
        if self.count < MIN_REGISTERS:
            raise InvalidInput(
                f"the number of registers must be at least {MIN_REGISTERS}, "
                f"got {self.count}"
            )


@dataclass(frozen=True)
class Block:
    """A register block of the dense kernel: filters x vectors of positions."""

    filters: int
    vectors: int

    def fits(self, registers: Registers) -> bool:
        """Accumulators, the vectors of inputs and a weight stay in registers."""
        return self.used <= registers.count and self.filters <= MAX_FILTERS

    @property
    def used(self) -> int:
        """Registers of accumulators, inputs and a weight."""
        return self.filters * self.vectors + self.vectors + 1

    def column_cycles(self, lanes: int) -> float:
        """One input column (channel and tap) for all filters of the block.

        Every accumulator waits for its sum with the column before; only the ends of
        loops overlap.
        """
        products = self.filters * self.vectors
        loads = self.vectors * UNALIGNED[lanes] + self.filters
        return max(
            products / FMA_PER_CYCLE, loads / LOADS_PER_CYCLE, float(FMA_LATENCY)
        )


def position_tiles(positions: int, vectors: int, lanes: int) -> list[tuple[int, int]]:
    """Tiles of so many vectors, and one of the vectors that are left: size, count."""
    full, rest = divmod(positions, vectors * lanes)
    tiles = [(vectors, full), (-(-rest // lanes), 1)]
    return [(size, count) for size, count in tiles if size and count]


def dense_cycles(
    block: Block, *, lanes: int, positions: int, filters: int, columns: int
) -> float:
    """All positions of all filters of one group; `columns` = channels x taps."""
    total = 0.0
    tiles = position_tiles(positions, block.vectors, lanes)
    whole, few = divmod(filters, block.filters)
    for size, count in ((block.filters, whole), (few, 1 if few else 0)):
        for vectors, times in tiles:
            cycles = columns * Block(size, vectors).column_cycles(lanes)
            total += count * times * (cycles + TILE_OVERHEAD)
    return total / DENSE_EFFICIENCY


def copy_cycles(rows: int, columns: int) -> float:
    """A conversion of a tensor of so many rows to another layout."""
    return LAUNCH_CYCLES + rows * max(COPY_ROW, 4 * columns / COPY_BYTES)


def depthwise_cycles(*, lanes: int, positions: int, filters: int, taps: int) -> float:
    """All positions of all filters, of which each has a load per tap of its own."""
    vectors = -(-positions // lanes)
    loads = taps * UNALIGNED[lanes] / LOADS_PER_CYCLE
    return filters * (vectors * loads / DENSE_EFFICIENCY + TILE_OVERHEAD)


def dense_blocks(registers: Registers, filters: int) -> list[Block]:
    """Register blocks that fit the registers and a group of so many filters."""
    return [
        Block(f, v)
        for f in range(1, registers.count)
        for v in range(1, MAX_DENSE_VECTORS + 1)
        if Block(f, v).fits(registers) and f <= max(1, filters)
        if Block(f, v).used <= registers.count - DENSE_SPARE
    ]


@lru_cache(MOST_REMEMBERED)
def best_block(
    registers: Registers, *, positions: int, filters: int, columns: int
) -> Block:
    """The register block with the fewest cycles; ties go to more filters."""
    return min(
        dense_blocks(registers, filters),
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


@dataclass(frozen=True)
class SparseLayer:
    """A convolution of single kernels, for one image."""

    height: int
    width: int
    filters: int
    channels: int
    kernels: int
    """Kernels kept."""
    taps: int
    """Weights of a kernel."""
    window: tuple[int, int]
    """Rows and columns of the window."""


@dataclass(frozen=True)
class Tile:
    """Rows of one register, and channels whose strip is packed at a time."""

    rows: int
    channels: int
    bands: int = 1
    """Bands of rows that share a register."""


def strip_vectors(layer: SparseLayer, rows: int) -> int:
    """Vectors in the packed strip of one channel, as if the stride were 1.

    A stride of 2 packs more; blocks that count it are smaller and no faster.
    """
    return (rows + layer.window[0] - 1) * layer.window[1]


def tile_for(
    layer: SparseLayer, rows: int, lanes: int, l1_bytes: int, bands: int = 1
) -> Tile:
    """Blocks of equal size whose strips fit L1."""
    room = l1_bytes * L1_SHARE
    most = max(1, int(room / (strip_vectors(layer, rows) * lanes * 4)))
    blocks = math.ceil(layer.channels / most)
    return Tile(rows, math.ceil(layer.channels / blocks), bands)


def num_tiles(layer: SparseLayer, tile: Tile, lanes: int) -> int:
    """Tiles that cover the plane; the last ones of a row or column overlap."""
    band = math.ceil(layer.height / tile.bands)
    across = math.ceil(layer.width / (lanes // tile.bands))
    return math.ceil(band / tile.rows) * across


def pattern_cycles(layer: SparseLayer, tile: Tile, *, lanes: int) -> float:
    """All kernels over all tiles."""
    blocks = math.ceil(layer.channels / tile.channels)
    visits = layer.filters * blocks
    products = layer.kernels * _kernel_cycles(layer.taps, tile.rows)
    # Filters whose visits are short overlap.
    taps = max(1.0, layer.kernels * layer.taps / visits)
    waits = layer.kernels * layer.taps * FMA_LATENCY / (1 + TAPS_AHEAD / taps)
    visit = VISIT_CYCLES + (SUM_CYCLES * tile.rows if blocks > 1 else 0)
    stores = layer.filters * tile.rows * tile.bands * STORE_CYCLES
    vector = PACK_CYCLES + BAND_CYCLES * (tile.bands - 1)
    planes = 4 * layer.channels * layer.height * layer.width
    far = FAR_ROW_CYCLES if planes > FAR_BYTES else ROW_CYCLES
    row = far + layer.window[1] * vector
    pack = layer.channels * (tile.rows + layer.window[0] - 1) * row
    cycles = max(products, waits) + visits * visit + stores + pack
    return num_tiles(layer, tile, lanes) * cycles


def _kernel_cycles(taps: int, rows: int) -> float:
    """One kernel: two taps in a column share all loads but one."""
    pairs, single = divmod(taps, 2)
    # Besides the rows an address, and a weight for each tap.
    loads = pairs * (rows + 1 + 3) + single * (rows + 2)
    products = taps * rows / FMA_PER_CYCLE
    return max(products, loads / LOADS_PER_CYCLE) / PATTERN_EFFICIENCY


def tiles_of(
    layer: SparseLayer, registers: Registers, l1_bytes: int, most_bands: int = BANDS[-1]
) -> list[Tile]:
    """Tiles of any rows and bands, whose blocks of channels fit L1."""
    most = min(registers.count - 4, MAX_ROWS)
    return [
        tile_for(layer, rows, registers.lanes, l1_bytes, bands)
        for bands in BANDS
        if bands <= most_bands
        if bands == 1 or layer.width >= registers.lanes // bands >= MIN_COLUMNS
        for rows in range(1, min(most, math.ceil(layer.height / bands)) + 1)
    ]


@lru_cache(MOST_REMEMBERED)
def best_tile(
    layer: SparseLayer,
    registers: Registers,
    l1_bytes: int,
    most_bands: int = BANDS[-1],
) -> Tile:
    """The tile with the fewest cycles; ties go to more rows."""
    return min(
        tiles_of(layer, registers, l1_bytes, most_bands),
        key=lambda tile: (
            pattern_cycles(layer, tile, lanes=registers.lanes),
            -tile.rows,
        ),
    )
