"""Convolutions on tiles: exact to the bit against integers, in numpy."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.emit import emit_module
from edgec.codegen.host import host_features
from edgec.codegen.jit import emit_assembly
from edgec.dialects.lane import QUAD
from edgec.dialects.sq import LaneAttr
from edgec.kernels.conv.quads import as_quads
from edgec.kernels.conv.tile_columns import COLUMNS, count_groups, group_columns
from edgec.kernels.conv.tiles import TileConv, pack_tiles
from edgec.kernels.layout import lane_layout
from edgec.kernels.requantize import Requantize
from edgec.target import Target
from tests.assembly import loops
from tests.convs import Room, Shape, layouts_of, rooms, spaced
from tests.effort import examples
from tests.held_convs import Schedule, schedules, shapes, wide_shapes
from tests.lanes import program, runnable_targets
from tests.quad_convs import (
    Numbers,
    check_conv,
    draw_arrays,
    epilogue,
    grouped,
    numbers,
)

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)


def run(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: Schedule,
) -> None:
    filters, (tiles, vectors), chunk = schedule
    arrays = draw_arrays(shape, given_, filters)
    source, result = layouts_of(grouped(shape), *spaces[:2], flat=True)
    if given_.result is None:
        result = spaced(shape.output, result.pitch, spaces[1], result.slab)
    end = epilogue(shape, result, spaces[2], given_)
    lanes = as_quads(arrays[1], shape.filters)
    groups = count_groups(lanes, [filters])[filters].count
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
        addend=given_.addend,
        bounded=False,
        tiles=tiles,
    )
    tables = pack_tiles(arrays[1], given_.zero_point, spec)
    check_conv(target, spec, vars(tables), (shape, given_, arrays, end))


@targets
@examples(8)
@given(
    shape=shapes,
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=schedules,
)
def test_exact(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: Schedule,
) -> None:
    run(target, shape, spaces, given_, schedule)


@pytest.mark.parametrize("target", machines[-1:], ids=lambda t: t.name)
@examples(12)
@given(
    shape=wide_shapes([64, 67, 130]),
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=schedules,
)
def test_columns_that_lie_side_by_side(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: Schedule,
) -> None:
    run(target, shape, spaces, replace(given_, end=()), schedule)


@examples(60)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 140)),
    block=st.sampled_from([16, 32, 64]),
    density=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
)
def test_groups_hold_the_weight(
    seed: int, sizes: tuple[int, int], block: int, density: float
) -> None:
    """Columns added up at their places are the weight; counts are those promised."""
    rng, (filters, channels) = np.random.default_rng(seed), sizes
    weight = rng.integers(-128, 128, (filters, channels, 1, 3)).astype(np.int8)
    weight *= (rng.random((1, channels, 1, 3)) < density).astype(np.int8)
    rows = -(-filters // QUAD) * QUAD
    found, blocks = group_columns(as_quads(weight, rows), block), -(-filters // block)
    promised = count_groups(as_quads(weight, filters), [block])[block]
    counts = np.diff(found.starts)
    assert len(found.starts) == 2 * blocks + 1
    assert (counts[::2].sum(), counts[1::2].sum()) == (
        promised.direct,
        promised.gathered,
    )
    quads = -(-channels // QUAD)
    rebuilt = np.zeros((blocks * block, quads * 3, QUAD), np.int64)
    for number in range(2 * blocks):
        first = number // 2 * block
        for group in range(*found.starts[number : number + 2]):
            index = found.index[group]
            if number % 2 == 0:  # in place: neighbouring channels of one tap
                assert (np.diff(index) == 3).all()
            parts = found.weight[group].view(np.int8).reshape(block, COLUMNS, QUAD)
            for column, place in enumerate(index):
                rebuilt[first : first + block, place] += parts[:, column]
    padded = np.zeros((blocks * block, quads * QUAD, 3), np.int64)
    padded[:filters, :channels] = weight[:, :, 0]
    wanted = padded.reshape(-1, quads, QUAD, 3).swapaxes(2, 3)
    np.testing.assert_array_equal(rebuilt, wanted.reshape(rebuilt.shape))


AMX = Target.parse("x86-64-v4+vnni+amx")


@pytest.mark.parametrize(
    ("filters", "tiles", "vectors", "passes"),
    [(32, 2, 2, 1), (64, 2, 2, 2), (16, 1, 3, 1), (16, 1, 1, 1)],
)
def test_the_loops_of_products(
    filters: int, tiles: int, vectors: int, passes: int
) -> None:
    """As many products as there are sums, each factor loaded once; no spills."""
    source = lane_layout((1, 64, 14, 14), LaneAttr.of(15, 256, 16))
    result = lane_layout((1, 64, 14, 14), LaneAttr.of(15, 224, 0))
    taps = tuple(15 * y + x for y in (-1, 0, 1) for x in (-1, 0, 1))
    spec = TileConv(
        source,
        result,
        taps,
        1,
        has_bias=False,
        steps=(),
        extras=(),
        filters=filters,
        vectors=vectors,
        chunk=4,
        columns=16 * 100,
        reordered=False,
        requantize=Requantize(1.0, 0, bounded=True),
        addend=None,
        bounded=False,
        tiles=tiles,
    )
    module = program(spec.build("kernel", 16), 8)
    text = emit_assembly(emit_module(module, AMX).text, AMX)
    found = [loop for loop in loops(text) if any("tdpb" in line for line in loop)]
    full = [
        loop
        for loop in found
        if sum("tdpbsud" in line for line in loop) == tiles * vectors
    ]
    # In place and gathered, for each of the filters that are multiplied together.
    assert len(full) >= 2 * passes
    for loop in full:
        names = Counter(line.split()[0] for line in loop)
        assert names["tileloadd"] == tiles + vectors
        copies = sum("zmm" in line for line in loop)
        assert copies in (0, 2 * 16 * vectors)
        assert not [line for line in loop if "tilestored" in line]
        assert not [line for line in loop if re.search(r"mm\d+.*\(%rsp\)", line)]
