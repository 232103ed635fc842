"""The cost model: what must hold whatever its constants are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.errors import InvalidInput
from edgec.kernels.cost import (
    Block,
    Registers,
    SparseLayer,
    Tile,
    best_block,
    best_tile,
    dense_cycles,
    pattern_cycles,
)
from edgec.kernels.cost_columns import (
    ColumnLayer,
    LinearLayer,
    best_columns_block,
    columns_cycles,
    few_rows_cycles,
    many_rows_cycles,
    most_rows,
    stream_cycles,
)
from edgec.kernels.cost_quads import QuadLayer, candidates, quads_blocks, quads_cycles
from edgec.kernels.cost_recurrent import (
    RecurrentLayer,
    columns_step_cycles,
    dense_step_cycles,
)
from edgec.kernels.recurrent.gates import DenseGates
from tests.effort import examples

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


@examples(60)
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


linears = st.builds(
    LinearLayer,
    rows=st.integers(1, 300),
    filters=st.integers(1, 600),
    channels=st.integers(1, 600),
)


@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 8, 16])
def test_the_sums_of_few_rows_fit_the_registers(vectors: int) -> None:
    few = most_rows(vectors)
    assert 1 <= few <= 4
    # A single row needs no register for its weights: each is used once.
    assert few == 1 or (few + 1) * vectors + 1 <= 16


@given(linears, st.sampled_from([4, 8, 16, 32]), st.integers(1, 3000), machines)
def test_linear_work_takes_time(
    layer: LinearLayer, block: int, columns: int, machine: Registers
) -> None:
    lanes = machine.lanes
    here = few_rows_cycles(layer, block, columns, lanes=lanes)
    # Each row meets each weight, two multiply-adds of a vector per cycle.
    assert here >= layer.rows * columns * max(1, block // lanes) / 2
    more = replace(layer, rows=layer.rows + 4)
    assert here < few_rows_cycles(more, block, columns, lanes=lanes)
    assert here <= few_rows_cycles(layer, block, columns + 1, lanes=lanes)
    many = many_rows_cycles(layer, block, columns, machine)
    moved = layer.rows * (layer.filters + layer.channels)
    assert many > moved, "turning the rows is paid for"
    assert many < many_rows_cycles(more, block, columns, machine)


recurrents = st.builds(
    RecurrentLayer,
    rows=st.integers(1, 40),
    gates=st.sampled_from([1, 3, 4]),
    hidden=st.integers(1, 600),
)


@given(recurrents, st.sampled_from([4, 8, 16, 32]), st.integers(0, 3000), machines)
def test_recurrent_work_takes_time(
    layer: RecurrentLayer, block: int, columns: int, machine: Registers
) -> None:
    lanes = machine.lanes
    weights = layer.gates * layer.hidden**2
    dense = dense_step_cycles(layer, lanes=lanes)
    assert dense >= layer.rows * weights / lanes / 2
    here = columns_step_cycles(layer, block, columns, lanes=lanes)
    assert here >= layer.rows * columns * block / min(lanes, 16) / 2
    assert here <= columns_step_cycles(layer, block, columns + 4, lanes=lanes)
    more = replace(layer, rows=layer.rows + 12)
    assert dense < dense_step_cycles(more, lanes=lanes)
    assert here < columns_step_cycles(more, block, columns, lanes=lanes)


@given(recurrents, st.sampled_from([8, 16]))
def test_dense_gates_fit_the_registers(layer: RecurrentLayer, lanes: int) -> None:
    block = DenseGates.of(lanes, layer.gates, layer.hidden, layer.rows)
    wide = layer.gates * block.vectors
    # A single row needs no register for its weights: each is used once.
    weights = wide if block.rows > 1 else 0
    assert block.rows * wide + weights + 1 <= (32 if lanes == 16 else 16)


@given(st.integers(1, 2**27), st.integers(1, 2**20))
def test_more_weights_take_longer_to_read(size: int, more: int) -> None:
    assert 0 < stream_cycles(size) < stream_cycles(size + more)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 64), machines)
def test_inputs_that_stay_near_are_no_slower(
    positions: int, filters: int, columns: int, machine: Registers
) -> None:
    near = ColumnLayer(positions, filters, 4, columns, channels=1)
    far = replace(near, channels=100_000)
    block = best_columns_block(near, machine)
    assert columns_cycles(near, block, lanes=machine.lanes) <= columns_cycles(
        far, block, lanes=machine.lanes
    )


@given(machines, st.integers(2, 256), st.integers(1, 4000))
def test_blocks_of_channels_cost_sums(
    machine: Registers, channels: int, kernels: int
) -> None:
    # With 8 rows no filter waits for its own multiply-adds.
    layer = SparseLayer(56, 56, 64, channels, kernels, 4, (3, 3))
    whole, halves = Tile(8, channels), Tile(8, -(-channels // 2))
    one = pattern_cycles(layer, whole, lanes=machine.lanes)
    assert one < pattern_cycles(layer, halves, lanes=machine.lanes)


@pytest.mark.parametrize("registers", [Registers(8, 16), Registers(16, 32)])
def test_products_without_an_instruction_have_registers_and_wide_columns(
    registers: Registers,
) -> None:
    kept = tuple((filters, 90 // filters) for filters in candidates(registers))
    layer = QuadLayer(784, 64, 16, kept, steps=1, bounded=True)
    blocks = quads_blocks(layer, registers)
    assert blocks
    # The ones that add pairs, and a product on its way to the sum.
    assert all(block.used + 2 <= registers.count for block in blocks)
    assert set(blocks) <= set(quads_blocks(replace(layer, bounded=False), registers))
    # Two slots of the tables cost less than two columns.
    for block in blocks:
        plain, wide = (
            quads_cycles(each, block, lanes=registers.lanes)
            for each in (layer, replace(layer, wide=kept))
        )
        assert plain < wide < 1.5 * plain
