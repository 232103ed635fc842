"""Convolutions on tiles: exact to the bit against integers, in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.kernels.conv.positions import row_mask
from edgec.kernels.conv.tile_columns import (
    COLUMNS,
    count_groups,
)
from edgec.kernels.conv.tiles import TileConv, pack_tiles
from edgec.kernels.cost_tiles import fits
from edgec.target import Target
from tests.convs import Array, Room, Shape, layouts_of, put, rooms, spaced
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import (
    Numbers,
    check,
    draw_arrays,
    epilogue,
    expected,
    grouped,
    numbers,
    quads_in,
    shapes,
)

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

BLOCKS = [
    (tiles, vectors)
    for tiles in range(1, 4)
    for vectors in range(1, 4)
    if fits(tiles, vectors)
]
"""Tiles of filters, tiles of positions."""


def run(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: tuple[int, tuple[int, int], int],
) -> None:
    filters, (tiles, vectors), chunk = schedule
    arrays = draw_arrays(shape, given_, filters)
    source, result = layouts_of(grouped(shape), *spaces[:2], flat=True)
    if given_.result is None:
        result = spaced(shape.output, result.pitch, spaces[1], result.slab)
    end = epilogue(shape, result, spaces[2], given_)
    groups = count_groups(arrays[1], [filters])[filters].count
    spec = TileConv(
        source,
        result,
        shape.window.tap_offsets(source),
        1,
        has_bias=False,
        steps=end.steps,
        extras=end.extras,
        filters=filters,
        vectors=vectors,
        chunk=chunk,
        columns=COLUMNS * groups,
        reordered=False,
        requantize=given_.result,
        bounded=False,
        tiles=tiles,
    )
    tables = pack_tiles(arrays[1], given_.zero_point, spec)
    missing = spec.num_filters - shape.filters
    buffers: list[Array] = [quads_in(source, arrays[0], given_.zero_point)]
    buffers += [tables.w, tables.where, tables.starts, tables.sums]
    buffers += [np.pad(array, (0, missing)) for array in arrays[2:]]
    if result.has_gaps_inside:
        buffers.append(row_mask(result))
    buffers += end.buffers
    module = program(spec.build("kernel", target.lanes), len(buffers))
    ((compiled,), (interpreted,)) = run_both(module, buffers, target)
    for found, fused in ((compiled, target.fma), (interpreted, True)):
        wanted = expected(shape, given_, arrays, end, fused=fused)
        if given_.result is None:
            own = result.elements - result.slack
            np.testing.assert_array_equal(found[:own], put(result, wanted)[:own])
        else:
            zero = given_.result.zero_point
            check(result, zero, shape.filters, found, quads_in(result, wanted, 0))


@targets
@settings(max_examples=8)
@given(
    shape=shapes,
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=st.tuples(
        st.sampled_from([16, 32, 64]), st.sampled_from(BLOCKS), st.integers(1, 5)
    ),
)
def test_exact(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: tuple[int, tuple[int, int], int],
) -> None:
    run(target, shape, spaces, given_, schedule)
