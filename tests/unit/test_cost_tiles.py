"""The cost model of tiles: what must hold of it, whatever its constants are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgec.kernels.conv.quad_columns import count_columns
from edgec.kernels.conv.quads import as_quads
from edgec.kernels.conv.tile_columns import count_groups
from edgec.kernels.cost import Registers
from edgec.kernels.cost_quads import EPILOGUE, QuadLayer, best_quads_block, quads_cycles
from edgec.kernels.cost_quads import candidates as quad_candidates
from edgec.kernels.cost_tiles import (
    DOT,
    TileLayer,
    TileShape,
    best_tile_shape,
    candidates,
    fits,
    tile_shapes,
    tiles_cycles,
)

REGISTERS = Registers(16, 32)
KEPT = ((16, 576, 0), (32, 288, 0), (64, 144, 0))
DENSE = TileLayer(28 * 29, 256, 64, KEPT, 1, EPILOGUE)


@pytest.mark.parametrize(
    ("filters", "blocks"),
    [(1, [16]), (16, [16]), (17, [16, 32]), (32, [16, 32]), (33, [16, 32, 64])],
)
def test_blocks_are_not_larger_than_the_layer(filters: int, blocks: list[int]) -> None:
    assert candidates(filters) == blocks


def test_every_schedule_has_tiles_for_sums_and_factors() -> None:
    shapes = tile_shapes(DENSE)
    assert len(set(shapes)) == len(shapes)
    assert all(fits(shape.tiles, shape.vectors) for shape in shapes)
    assert {shape.filters for shape in shapes} == {16, 32, 64}
    assert not [each for each in shapes if each.filters < 16 * each.tiles]


def test_products_bound_a_dense_layer() -> None:
    """No schedule takes less than the products; the best one is 2x2."""
    products = DOT * (28 * 29 / 16) * (256 / 16) * (64 * 9 / 16)
    assert all(tiles_cycles(DENSE, shape) > products for shape in tile_shapes(DENSE))
    assert best_tile_shape(DENSE) == TileShape(64, 2, 2)
    assert tiles_cycles(DENSE, best_tile_shape(DENSE)) < 2 * products


def test_gathering_costs_where_columns_are_read_once_or_twice() -> None:
    turned = replace(DENSE, kept=tuple((b, g, d) for b, d, g in DENSE.kept))
    few = [each for each in tile_shapes(DENSE) if each.filters <= 32 * each.tiles]
    for shape in few:
        assert tiles_cycles(turned, shape) >= tiles_cycles(DENSE, shape)


def test_half_of_the_columns_is_less() -> None:
    half = replace(DENSE, kept=tuple((b, 0, d // 2) for b, d, _ in DENSE.kept))
    assert tiles_cycles(half, best_tile_shape(half)) < 0.75 * tiles_cycles(
        DENSE, best_tile_shape(DENSE)
    )


@pytest.mark.parametrize(("channels", "is_faster"), [(256, True), (4, False)])
def test_against_quads(channels: int, is_faster: bool) -> None:
    """Wide layers gain; of few channels most columns of a tile are empty."""
    weight = np.ones((channels, channels, 1, 1), np.int8)
    groups = count_groups(as_quads(weight, channels), candidates(channels))
    kept = count_columns(weight, quad_candidates(REGISTERS))
    quads = channels // 4
    common = {"positions": 14 * 14, "filters": channels, "channels": quads, "steps": 1}
    tiles = TileLayer(
        **common,
        kept=tuple((b, each.direct, each.gathered) for b, each in groups.items()),
        end=EPILOGUE,
    )
    ordered = tuple(sorted(kept.items()))
    plain = QuadLayer(**common, kept=ordered, bounded=False, wide=())
    block = best_quads_block(plain, REGISTERS)
    fast = tiles_cycles(tiles, best_tile_shape(tiles))
    assert (fast < quads_cycles(plain, block, lanes=16)) == is_faster
