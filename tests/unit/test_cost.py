"""The cost model: what must hold whatever its constants are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.errors import InvalidInput
from edgec.kernels.cost import (
    Block,
    Registers,
    SparseLayer,
    best_block,
    best_tile,
    dense_cycles,
    pattern_cycles,
)

L1_BYTES = 32768

machines = st.sampled_from([Registers(4, 16), Registers(8, 16), Registers(16, 32)])
sizes = st.integers(1, 60)
layers = st.builds(
    SparseLayer,
    height=sizes,
    width=sizes,
    filters=st.integers(1, 256),
    channels=st.integers(1, 256),
    kernels=st.integers(1, 4000),
    taps=st.integers(1, 9),
    window=st.sampled_from([(3, 3), (1, 3), (5, 5)]),
)


def registers_used(block: Block) -> int:
    """Accumulators, one vector of inputs for each column, a weight."""
    return block.filters * block.vectors + block.vectors + 1


@settings(max_examples=60)
@given(machines, sizes, st.integers(1, 300), st.integers(1, 3000))
def test_the_best_block_fits_and_is_best(
    machine: Registers, positions: int, filters: int, columns: int
) -> None:
    shape = {"positions": positions, "filters": filters, "columns": columns}
    best = best_block(machine, **shape)
    assert registers_used(best) <= machine.count
    assert best.filters <= filters
    cycles = dense_cycles(best, lanes=machine.lanes, **shape)
    for other in (Block(1, 1), Block(min(4, filters), 2), Block(min(2, filters), 1)):
        if other.fits(machine):
            assert cycles <= dense_cycles(other, lanes=machine.lanes, **shape)


@given(machines, sizes, st.integers(1, 300), st.integers(1, 3000))
def test_dense_work_takes_time(
    machine: Registers, positions: int, filters: int, columns: int
) -> None:
    def cycles(positions: int, filters: int, columns: int) -> float:
        lanes = machine.lanes
        return dense_cycles(
            Block(4, 2),
            lanes=lanes,
            positions=positions,
            filters=filters,
            columns=columns,
        )

    here = cycles(positions, filters, columns)
    # Two multiply-adds of a vector per cycle is all that there is.
    assert here >= positions / machine.lanes * filters * columns / 2
    assert here <= cycles(positions + machine.lanes * 2, filters, columns)
    assert here <= cycles(positions, filters + 4, columns)
    assert here < cycles(positions, filters, columns + 1)


@given(machines, layers, st.integers(1, 500))
def test_more_kernels_take_longer(
    machine: Registers, layer: SparseLayer, more: int
) -> None:
    tile = best_tile(layer, machine, L1_BYTES)
    denser = replace(layer, kernels=layer.kernels + more)
    here = pattern_cycles(layer, tile, lanes=machine.lanes)
    assert 0 < here < pattern_cycles(denser, tile, lanes=machine.lanes)
    best = best_tile(denser, machine, L1_BYTES)
    there = pattern_cycles(denser, best, lanes=machine.lanes)
    assert there > here * 0.999, "the best tile of more work is no faster"


@given(machines, layers)
def test_the_best_tile_fits(machine: Registers, layer: SparseLayer) -> None:
    tile = best_tile(layer, machine, L1_BYTES)
    assert 1 <= tile.rows <= min(layer.height, machine.count - 2)
    assert 1 <= tile.channels <= layer.channels
    strip = (tile.rows + layer.window[0] - 1) * layer.window[1] * machine.lanes * 4
    assert strip * tile.channels <= L1_BYTES or tile.channels == 1


def test_sparse_wins_where_little_is_kept() -> None:
    """A layer of VGG-16's third stage."""
    machine = Registers(16, 32)
    shape = {"positions": 56 * 56, "filters": 256, "columns": 256 * 9}
    dense = dense_cycles(best_block(machine, **shape), lanes=16, **shape)
    wins: list[bool] = []
    for density in (0.05, 0.28, 0.5, 1.0):
        kernels = int(density * 256 * 256)
        layer = SparseLayer(56, 56, 256, 256, kernels, 9, (3, 3))
        tile = best_tile(layer, machine, 48 * 1024)
        wins.append(pattern_cycles(layer, tile, lanes=16) < dense)
    assert wins[0]
    assert not wins[-1], "kernels that keep all taps run dense"
    assert wins == sorted(wins, reverse=True)


@pytest.mark.parametrize(("lanes", "count"), [(5, 16), (8, 4), (0, 16)])
def test_registers_that_no_kernel_is_made_for(lanes: int, count: int) -> None:
    with pytest.raises(InvalidInput, match="got"):
        Registers(lanes, count)
