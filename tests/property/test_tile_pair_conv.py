"""Convolutions of bfloat16 on tiles against sums in float64, within a bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.emit import emit_module
from edgec.codegen.host import host_features
from edgec.codegen.jit import emit_assembly
from edgec.dialects.bf16 import PAIR
from edgec.dialects.sq import LaneAttr
from edgec.kernels.conv.pairs import as_pairs
from edgec.kernels.conv.tile_columns import COLUMNS, count_groups
from edgec.kernels.conv.tile_pairs import TilePairConv, pack_tile_pairs
from edgec.kernels.layout import lane_layout
from edgec.target import Target
from tests.assembly import loops
from tests.convs import Room, Shape, layouts_of, rooms, spaced
from tests.effort import examples
from tests.held_convs import Schedule, schedules, shapes, wide_shapes
from tests.lanes import program, runnable_targets
from tests.pair_convs import (
    POINTS,
    Numbers,
    check_conv,
    check_infinities,
    draw_arrays,
    epilogue,
    numbers,
)

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

AMX = Target.parse("x86-64-v4+vnni+amx+bf16")


def run(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: Schedule,
) -> None:
    filters, (tiles, vectors), chunk = schedule
    if given_.packed:
        shape = replace(shape, filters=shape.filters + shape.filters % PAIR)
    arrays = draw_arrays(shape, given_, filters)
    in_lanes = replace(
        shape, channels=-(-shape.channels // PAIR), filters=-(-shape.filters // PAIR)
    )
    source, result = layouts_of(in_lanes, *spaces[:2], flat=True)
    if not given_.packed:
        result = spaced(shape.output, result.pitch, spaces[1], result.slab)
    end = epilogue(shape, result, spaces[2], given_)
    lanes = as_pairs(arrays[1], shape.filters)
    spec = TilePairConv(
        source,
        result,
        shape.window.tap_offsets(source),
        1,
        has_bias=given_.has_bias,
        steps=end.steps,
        extras=end.extras,
        filters=filters,
        vectors=vectors,
        chunk=chunk,
        columns=COLUMNS * count_groups(lanes, [filters])[filters].count,
        reordered=False,
        packed=given_.packed,
        tiles=tiles,
    )
    tables = vars(pack_tile_pairs(arrays[1], spec))
    check_conv(target, spec, tables, (shape, given_, arrays, end))


@targets
@examples(8)
@given(
    shape=shapes,
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=schedules,
)
def test_within_the_bound(
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
    shape=wide_shapes([32, 35, 66]),
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


@examples(8)
@given(st.integers(0, 2**16))
def test_infinities_and_nan_reach_the_result(seed: int) -> None:
    """Fifteen columns that only fill their group make no NaN of an infinity."""
    spec = TilePairConv(
        *(POINTS, POINTS, (0,), 1),
        *(False, (), (), 16, 1, 1, COLUMNS, False, True, 1),
    )
    check_infinities(spec, lambda w: vars(pack_tile_pairs(w, spec)), seed)


@pytest.mark.parametrize(
    ("filters", "tiles", "vectors", "passes"),
    [(32, 2, 2, 1), (64, 2, 2, 2), (16, 1, 3, 1)],
)
def test_the_loops_of_products(
    filters: int, tiles: int, vectors: int, passes: int
) -> None:
    """As many products as there are sums, each factor loaded once; no spills."""
    source = lane_layout((1, 64, 14, 14), LaneAttr.of(15, 256, 16))
    result = lane_layout((1, 64, 14, 14), LaneAttr.of(15, 224, 0))
    spec = TilePairConv(
        source,
        result,
        tuple(15 * y + x for y in (-1, 0, 1) for x in (-1, 0, 1)),
        1,
        has_bias=True,
        steps=(),
        extras=(),
        filters=filters,
        vectors=vectors,
        chunk=4,
        columns=COLUMNS * 100,
        reordered=False,
        packed=True,
        tiles=tiles,
    )
    module = program(spec.build("kernel", 16), 7)
    text = emit_assembly(emit_module(module, AMX).text, AMX)
    full = [
        loop
        for loop in loops(text)
        if sum("\ttdpbf16ps\t" in line for line in loop) == tiles * vectors
    ]
    # In place and gathered, for each of the filters that are multiplied together.
    assert len(full) >= 2 * passes
    for loop in full:
        assert sum("\ttileloadd\t" in line for line in loop) == tiles + vectors
        assert not [line for line in loop if "mm" in line and "(%rsp)" in line]
