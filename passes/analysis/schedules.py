"""The schedules that a convolution can have, with the cycles predicted for each.

`best_schedule` is what layout-tuning takes where nothing was measured; it is the first
of `schedules`, which lists all that are worth measuring, the best by prediction first.
Ties go to the one that the rules below would take: chunks and splits are not part of
the cost model, they share out work to threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgec.dialects import nn, sq
from edgec.kernels.conv.pattern_loops import FORMS
from edgec.kernels.cost import Block as RegisterBlock
from edgec.kernels.cost import (
    Registers,
    SparseLayer,
    Tile,
    best_block,
    best_tile,
    dense_blocks,
    dense_cycles,
    depthwise_cycles,
    num_tiles,
    pattern_cycles,
    tiles_of,
)
from edgec.kernels.cost_columns import (
    best_columns_block,
    columns_blocks,
    columns_cycles,
)
from edgec.kernels.cost_pairs import best_pairs_block, pairs_blocks, pairs_cycles
from edgec.kernels.cost_quads import (
    MOST_ROWS,
    best_quads_block,
    best_rows,
    depthwise_quads_cycles,
    quads_blocks,
    quads_cycles,
)
from edgec.kernels.cost_tiles import (
    POSITIONS,
    TileShape,
    best_tile_shape,
    tile_shapes,
    tiles_cycles,
)
from edgec.kernels.layout import layout, stored_shape
from edgec.passes.analysis.rows import is_split, is_strided
from edgec.passes.analysis.sparse import (
    column_layer,
    pair_layer,
    quad_depthwise_layer,
    quad_layer,
    sparse_layer,
    tile_layer,
)

FEW_TILES = 4
"""Tiles of a sparse layer below which its filters are split too."""
CHUNK_UNITS = 32
"""Units of work per layer to aim for, so that threads finish together."""
DEPTHWISE_VECTORS = (4, 2, 6, 8, 1)
"""Registers of positions of a depthwise kernel, the usual one first."""


@dataclass(frozen=True)
class Machine:
    """What schedules depend on."""

    registers: Registers
    l1_bytes: int
    l2_bytes: int
    tune: bool = True
    """Pack strips and block channels of sparse layers."""
    share: bool = True
    """One load for two taps of sparse layers."""


@dataclass(frozen=True)
class Schedule:
    """The settings of a kernel, and the cycles of one core for one image."""

    settings: Mapping[str, int]
    cycles: float


def best_schedule(op: sq.ConvOp, machine: Machine) -> Schedule:
    """The schedule of least predicted cycles for the family of a convolution."""
    assert op.kernel is not None
    family = op.kernel.family.data
    if family == "pattern":
        layer = sparse_layer(op, _sparse(op))
        return _pattern(op, layer, _best_tile(layer, machine), machine)
    if family == "depthwise":
        return _depthwise(op, DEPTHWISE_VECTORS[0], machine)
    if family == "quad_depthwise":
        rows = best_rows(quad_depthwise_layer(op), machine.registers)
        return _quad_depthwise(op, rows, machine)
    if family == "tiles":
        shape = best_tile_shape(tile_layer(op, positions_of(op)))
        return _tiles(op, shape, machine)
    block = _best_block(op, family, machine)
    return _flat(op, family, block, machine)


def schedules(op: sq.ConvOp, machine: Machine) -> list[Schedule]:
    """All that are worth measuring, the best by prediction first; none twice.

    Schedules that differ from the usual one of their register block or tile in what the
    cost model does not know take turns with the usual ones.
    """
    assert op.kernel is not None
    family = op.kernel.family.data
    best = best_schedule(op, machine)
    if family == "pattern":
        found = list(_patterns(op, machine)) if machine.tune else []
    elif family == "depthwise":
        # With a stride a depthwise kernel computes single rows, whatever it is told.
        is_direct = is_strided(op) and not is_split(op)
        several = DEPTHWISE_VECTORS[:1] if is_direct else DEPTHWISE_VECTORS
        found = [(_depthwise(op, vectors, machine), True) for vectors in several]
    elif family == "quad_depthwise":
        several = range(1, MOST_ROWS + 1)
        found = [(_quad_depthwise(op, rows, machine), True) for rows in several]
    elif family == "tiles":
        several = tile_shapes(tile_layer(op, positions_of(op)))
        found = [(_tiles(op, shape, machine), True) for shape in several]
    else:
        found = list(_flats(op, family, machine))
    usual = [each for each, is_usual in found if is_usual]
    other = [each for each, is_usual in found if not is_usual]
    turns = [sorted(side, key=lambda each: each.cycles) for side in (usual, other)]
    by_prediction = [best, *alternate(turns)]
    unique: dict[tuple[tuple[str, int], ...], Schedule] = {}
    for each in by_prediction:
        unique.setdefault(tuple(sorted(each.settings.items())), each)
    return list(unique.values())


_Item = TypeVar("_Item")


def alternate(lists: Sequence[Sequence[_Item]]) -> list[_Item]:
    """The first of each list, the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [each[k] for k in range(longest) for each in lists if k < len(each)]


def cycles_of(op: sq.ConvOp, machine: Machine) -> float:
    """The prediction for a convolution with layouts and a schedule, for all images."""
    assert op.kernel is not None
    family, settings = op.kernel.family.data, op.kernel.settings
    images = nn.shape_of(op.result)[0]
    if family == "pattern":
        tile = Tile(settings["rows"], settings["block"], settings["bands"])
        return images * _pattern_cycles(sparse_layer(op, _sparse(op)), tile, machine)
    if family == "depthwise":
        return images * _depthwise(op, settings["vectors"], machine).cycles
    if family == "quad_depthwise":
        return images * _quad_depthwise(op, settings["rows"], machine).cycles
    if family == "tiles":
        names = ("filters", "tiles", "vectors")
        shape = TileShape(*(settings[name] for name in names))
        return images * _tiles(op, shape, machine).cycles
    block = RegisterBlock(settings["filters"], settings["vectors"])
    return images * _flat_cycles(op, family, block, machine)


def positions_of(op: sq.ConvOp) -> int:
    """Positions of a plane that a flat-position kernel computes."""
    result = layout(op.result)
    return result.rows * result.pitch


def _sparse(op: sq.ConvOp) -> sq.PatternAttr | sq.ColumnsAttr:
    encoding = nn.tensor_type(op.weight).encoding
    assert isinstance(encoding, sq.PatternAttr | sq.ColumnsAttr)
    return encoding


# Flat positions: a register block, and tiles per unit of work


def _dense_shape(op: sq.ConvOp) -> dict[str, int]:
    weight = nn.shape_of(op.weight)
    return {
        "positions": positions_of(op),
        "filters": weight[0] // op.groups.value.data,
        "columns": math.prod(weight[1:]),
    }


def _best_block(op: sq.ConvOp, family: str, machine: Machine) -> RegisterBlock:
    if family == "dense":
        return best_block(machine.registers, **_dense_shape(op))
    if family == "quads":
        quads = quad_layer(op, positions_of(op))
        return best_quads_block(quads, machine.registers)
    if family == "pairs":
        return best_pairs_block(pair_layer(op, positions_of(op)), machine.registers)
    encoding = _sparse(op)
    assert isinstance(encoding, sq.ColumnsAttr)
    layer = column_layer(op, encoding, positions_of(op))
    return best_columns_block(layer, machine.registers)


def _blocks(op: sq.ConvOp, family: str, machine: Machine) -> list[RegisterBlock]:
    """All register blocks, those of more filters first."""
    if family == "dense":
        found = dense_blocks(machine.registers, _dense_shape(op)["filters"])
    elif family == "quads":
        quads = quad_layer(op, positions_of(op))
        found = quads_blocks(quads, machine.registers)
    elif family == "pairs":
        found = pairs_blocks(pair_layer(op, positions_of(op)), machine.registers)
    else:
        encoding = _sparse(op)
        assert isinstance(encoding, sq.ColumnsAttr)
        layer = column_layer(op, encoding, positions_of(op))
        found = columns_blocks(layer, machine.registers)
    return sorted(found, key=lambda block: (-block.filters, block.vectors))


def _flat_cycles(
    op: sq.ConvOp, family: str, block: RegisterBlock, machine: Machine
) -> float:
    lanes = machine.registers.lanes
    if family == "dense":
        groups = op.groups.value.data
        return groups * dense_cycles(block, lanes=lanes, **_dense_shape(op))
    if family == "quads":
        return quads_cycles(quad_layer(op, positions_of(op)), block, lanes=lanes)
    if family == "pairs":
        return pairs_cycles(pair_layer(op, positions_of(op)), block, lanes=lanes)
    encoding = _sparse(op)
    assert isinstance(encoding, sq.ColumnsAttr)
    return columns_cycles(
        column_layer(op, encoding, positions_of(op)), block, lanes=lanes
    )


def _flat(
    op: sq.ConvOp, family: str, block: RegisterBlock, machine: Machine
) -> Schedule:
    """A register block with the usual chunk: many units, and their inputs stay in L2.

    Rows of one slice are shared by neighbouring tiles, slices are too far apart.
    """
    tile = block.vectors * machine.registers.lanes
    chunk = _usual_chunk(op, block.filters, tile, machine)
    settings = {"filters": block.filters, "vectors": block.vectors, "chunk": chunk}
    return Schedule(settings, _flat_cycles(op, family, block, machine))


def _usual_chunk(op: sq.ConvOp, filters: int, tile: int, machine: Machine) -> int:
    """Tiles of a chunk, for blocks of filters and tiles of positions.

    Chunks are about equal: of two very unequal ones, each thread would take parts.
    """
    weight, result = nn.shape_of(op.weight), nn.shape_of(op.result)
    groups, tiles = op.groups.value.data, max(1, positions_of(op) // tile)
    units = result[0] * groups * -(-weight[0] // groups // filters)
    chunks = min(tiles, max(1, -(-CHUNK_UNITS // units)))
    planes = stored_shape(op.input)[1] // groups * math.prod(weight[2:-2])
    in_l2 = max(1, machine.l2_bytes // 3 // (planes * tile * 4))
    parts = -(-tiles // min(-(-tiles // chunks), in_l2))
    return -(-tiles // parts)


def _flats(
    op: sq.ConvOp, family: str, machine: Machine
) -> Iterable[tuple[Schedule, bool]]:
    """Every register block, with the usual chunk, half of it, twice, and all tiles."""
    for block in _blocks(op, family, machine):
        usual = _flat(op, family, block, machine)
        chunk, tile = usual.settings["chunk"], block.vectors * machine.registers.lanes
        tiles = max(1, positions_of(op) // tile)
        for other in (chunk, -(-chunk // 2), min(2 * chunk, tiles), tiles):
            schedule = Schedule({**usual.settings, "chunk": other}, usual.cycles)
            yield schedule, other == chunk


def _tiles(op: sq.ConvOp, shape: TileShape, machine: Machine) -> Schedule:
    """Blocks of square tiles, with the usual chunk."""
    tile = shape.vectors * POSITIONS
    settings = {
        "filters": shape.filters,
        "tiles": shape.tiles,
        "vectors": shape.vectors,
        "chunk": _usual_chunk(op, shape.filters, tile, machine),
    }
    cycles = tiles_cycles(tile_layer(op, positions_of(op)), shape)
    return Schedule(settings, cycles)


# Depthwise: registers of positions


def _depthwise(op: sq.ConvOp, vectors: int, machine: Machine) -> Schedule:
    weight = nn.shape_of(op.weight)
    cycles = depthwise_cycles(
        lanes=machine.registers.lanes,
        positions=positions_of(op),
        filters=weight[0],
        taps=math.prod(weight[1:]),
    )
    return Schedule({"vectors": vectors}, cycles)


def _quad_depthwise(op: sq.ConvOp, rows: int, machine: Machine) -> Schedule:
    """Bands of so many rows of results."""
    layer = quad_depthwise_layer(op)
    cycles = depthwise_quads_cycles(layer, rows, machine.registers)
    return Schedule({"rows": rows}, cycles)


# Patterns: rows of one register, a block of channels, and parts of the filters


def _best_tile(layer: SparseLayer, machine: Machine) -> Tile:
    """Without tuning the kernel takes all channels at once, and packs nothing."""
    registers, l1_bytes = machine.registers, machine.l1_bytes
    if machine.tune:
        return best_tile(layer, registers, l1_bytes)
    tile = best_tile(layer, registers, l1_bytes, most_bands=1)
    return Tile(tile.rows, layer.channels)


def _pattern_cycles(layer: SparseLayer, tile: Tile, machine: Machine) -> float:
    return pattern_cycles(layer, tile, lanes=machine.registers.lanes)


def _splits(op: sq.ConvOp, layer: SparseLayer, tile: Tile, lanes: int) -> int:
    """Each part packs all channels again, which pays only where tiles are very few."""
    result = nn.shape_of(op.result)
    tiles = result[0] * num_tiles(layer, tile, lanes)
    splits = 1 if tiles >= FEW_TILES else -(-2 * FEW_TILES // tiles)
    return min(splits, max(1, result[1] // 16))


def _pattern(
    op: sq.ConvOp, layer: SparseLayer, tile: Tile, machine: Machine
) -> Schedule:
    """A tile with the usual splits.

    `form` is the number of a form in `edgec.kernels.conv.pattern_loops`. Without tuning
    the kernel reads its input in place, with the taps as constants.
    """
    encoding = _sparse(op)
    if machine.tune or isinstance(encoding, sq.ColumnsAttr):
        form = "pairs" if machine.share else "table"
    else:
        form = "runs" if encoding.is_ordered else "switch"
    settings = {
        "form": FORMS.index(form),
        "packed": int(machine.tune),
        "rows": tile.rows,
        "bands": tile.bands,
        "block": tile.channels,
        "splits": _splits(op, layer, tile, machine.registers.lanes),
    }
    return Schedule(settings, _pattern_cycles(layer, tile, machine))


def _patterns(op: sq.ConvOp, machine: Machine) -> Iterable[tuple[Schedule, bool]]:
    """Every tile, with blocks of half and twice as many channels, and more splits."""
    layer = sparse_layer(op, _sparse(op))
    most = max(1, layer.filters // 16)
    for tile in tiles_of(layer, machine.registers, machine.l1_bytes):
        whole = tile.channels
        for channels in (whole, -(-whole // 2), min(2 * whole, layer.channels)):
            blocked = Tile(tile.rows, channels, tile.bands)
            usual = _pattern(op, layer, blocked, machine)
            splits = usual.settings["splits"]
            for other in (splits, min(2 * splits, most), 1):
                schedule = Schedule({**usual.settings, "splits": other}, usual.cycles)
                yield schedule, (channels, other) == (whole, splits)
