"""Convolutions of pairs against sums in float64 of operands rounded to bfloat16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects import bf16
from edgec.dialects.bf16 import PAIR
from edgec.kernels.conv.pairs import (
    PairConv,
    as_pairs,
    count_pair_columns,
    pack_pairs,
    pair_columns,
)
from edgec.target import Target
from tests.conv_cases import MOST_PRODUCTS
from tests.convs import (
    Room,
    Shape,
    layouts_of,
    rooms,
    spaced,
)
from tests.effort import examples
from tests.held_convs import shapes
from tests.lanes import runnable_targets
from tests.pair_convs import (
    POINTS,
    Numbers,
    check_conv,
    check_infinities,
    draw_arrays,
    epilogue,
    numbers,
)

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)


@targets
@examples(8)
@given(
    shape=shapes,
    spaces=st.tuples(rooms, rooms, rooms),
    given_=numbers,
    schedule=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5)),
)
def test_within_the_bound(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room, Room],
    given_: Numbers,
    schedule: tuple[int, int, int],
) -> None:
    parts, vectors, chunk = schedule
    filters = PAIR * parts
    if given_.packed:
        shape = replace(shape, filters=shape.filters + shape.filters % PAIR)
    arrays = draw_arrays(shape, given_, filters)
    grouped = replace(
        shape,
        channels=-(-shape.channels // PAIR),
        filters=-(-shape.filters // PAIR),
    )
    source, result = layouts_of(grouped, *spaces[:2], flat=True)
    if not given_.packed:
        result = spaced(shape.output, result.pitch, spaces[1], result.slab)
    end = epilogue(shape, result, spaces[2], given_)
    spec = PairConv(
        source,
        result,
        shape.window.tap_offsets(source),
        1,
        has_bias=given_.has_bias,
        steps=end.steps,
        extras=end.extras,
        filters=filters,
        vectors=max(1, min(vectors, MOST_PRODUCTS // (4 * filters))),
        chunk=chunk,
        columns=0,
        reordered=False,
        packed=given_.packed,
    )
    columns = pair_columns(arrays[1], spec.num_filters, filters)
    assert count_pair_columns(arrays[1], [filters])[filters] == columns.num_columns
    spec = replace(spec, columns=columns.num_columns)
    tables = vars(pack_pairs(arrays[1], spec))
    check_conv(target, spec, tables, (shape, given_, arrays, end))


def test_pairs_of_a_weight() -> None:
    weight = np.arange(3 * 3, dtype=np.float32).reshape(3, 3)
    pairs = as_pairs(weight, 4)
    assert pairs.shape == (4, 2)
    np.testing.assert_array_equal(bf16.parts_of(pairs)[1], [[3, 4], [5, 0]])
    assert not pairs[3:].any()


def test_a_negative_zero_is_left_out() -> None:
    weight = np.zeros((2, 4), np.float32)
    weight[:, :2] = -0.0
    weight[1, 3] = -1e-44  # rounds to zero
    weight[0, 2] = 1
    assert pair_columns(weight, 2, 2).num_columns == 1


@examples(8)
@given(st.integers(0, 2**16))
def test_infinities_and_nan_reach_the_result(seed: int) -> None:
    """A pixel that is no number shows in the result, where a weight reads it."""
    spec = PairConv(
        *(POINTS, POINTS, (0,), 1), *(False, (), (), 2, 1, 1, 1, False, True)
    )
    check_infinities(spec, lambda w: vars(pack_pairs(w, spec)), seed)
