"""Integer convolutions: exact to the bit against integers, then float32, in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.lane import PAIR_BOUND, QUAD
from edgec.kernels.conv.quads import QuadConv, as_quads, pack_quads, quad_columns
from edgec.target import Target
from tests.conv_cases import MOST_PRODUCTS
from tests.convs import Room, Shape, layouts_of, rooms, spaced
from tests.effort import examples
from tests.held_convs import shapes
from tests.lanes import runnable_targets
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


@targets
@examples(8)
@given(
    shape=shapes,
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    bounded=st.booleans(),
)
def test_exact(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: tuple[int, int, int],
    bounded: bool,
) -> None:
    parts, vectors, chunk = schedule
    filters = QUAD * parts
    arrays = draw_arrays(shape, given_, filters)
    source, result = layouts_of(grouped(shape), *spaces[:2], flat=True)
    if given_.result is None:
        result = spaced(shape.output, result.pitch, spaces[1], result.slab)
    end = epilogue(shape, result, spaces[2], given_)
    spec = QuadConv(
        source,
        result,
        shape.window.tap_offsets(source),
        1,
        has_bias=False,
        steps=end.steps,
        extras=end.extras,
        filters=filters,
        vectors=max(1, min(vectors, MOST_PRODUCTS // (4 * filters))),
        chunk=chunk,
        columns=0,
        reordered=False,
        requantize=given_.result,
        addend=given_.addend,
        bounded=bounded,
    )
    slots, _ = quad_columns(arrays[1], spec.num_filters, filters, bounded=bounded)
    spec = replace(spec, columns=slots.num_columns)
    tables = pack_quads(arrays[1], given_.zero_point, spec)
    check_conv(target, spec, vars(tables), (shape, given_, arrays, end))


def test_quads_of_a_weight() -> None:
    weight = np.arange(5 * 3, dtype=np.int8).reshape(5, 3)
    quads = as_quads(weight, 8)
    assert quads.shape == (8, 1)
    assert quads[0, 0] == int.from_bytes(bytes([0, 1, 2, 0]), "little")
    assert not quads[5:].any()


def test_a_byte_of_minus_128_is_no_zero() -> None:
    """As float32 the quad would be -0."""
    weight = np.zeros((4, 4), np.int8)
    weight[2, 3] = -128
    assert quad_columns(weight, 4, 4, bounded=False).slots.num_columns == 1


@examples(50)
@given(seed=st.integers(0, 2**16), spread=st.sampled_from([20, 80, 127]))
def test_wide_columns_have_two_slots_behind_the_others(seed: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-spread - 1, spread + 1, (8, 12)).astype(np.int8)
    (plain, none), (split, wide) = (
        quad_columns(weight, 8, 4, bounded=bounded) for bounded in (False, True)
    )
    np.testing.assert_array_equal(none, plain.offset[1:])
    for block in range(2):
        stored = plain.weight.view(np.int8).reshape(-1, 4, QUAD)
        begin, end = plain.offset[block : block + 2]
        wanted = {plain.index[k]: stored[k].tolist() for k in range(begin, end)}
        first, last = split.offset[block : block + 2]
        found: dict[int, list[list[int]]] = {}
        for k in range(first, wide[block]):
            narrow = split.weight[k].view(np.int8).reshape(4, QUAD)
            pairs = narrow.astype(int).reshape(-1, 2)
            assert (pairs.clip(min=0).sum(1) <= PAIR_BOUND).all()
            assert (-pairs.clip(max=0).sum(1) <= PAIR_BOUND).all()
            found[split.index[k]] = narrow.tolist()
        assert (last - wide[block]) % 2 == 0
        for k in range(wide[block], last, 2):
            assert split.index[k] == split.index[k + 1]
            even, odd = (split.weight[k + s].view("<i2").reshape(4, 2) for s in (0, 1))
            found[split.index[k]] = np.stack([even, odd], -1).reshape(4, QUAD).tolist()
        assert found == wanted
