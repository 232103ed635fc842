"""Depthwise convolutions of quads: exact to the bit against numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.conv.depthwise_quads import (
    QuadDepthwise,
    is_bounded,
    pack_depthwise,
)
from edgec.kernels.conv.window import Window
from edgec.kernels.layout import plain
from edgec.kernels.requantize import Requantize
from edgec.target import Target
from tests.convs import Array, Room, Shape, conv_shapes, layouts_of, rooms
from tests.effort import examples
from tests.held_convs import STEPS, Epilogue
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import (
    Numbers,
    check,
    draw_arrays,
    expected,
    grouped,
    quads_in,
)

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

numbers = st.builds(
    Numbers,
    st.sampled_from([0, 3, 255]),
    st.builds(
        Requantize,
        st.sampled_from([1.0, 25.0]),
        st.sampled_from([0, 7, 255]),
        st.sampled_from([0, 1]),
        st.sampled_from([255, 127]),
        st.booleans(),
    ),
    st.lists(st.sampled_from(list(STEPS)), max_size=1).map(tuple),
    st.just(1.0),
    st.booleans(),
    st.integers(0, 2**16),
    st.just(False),
)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """One filter for each channel; some rows longer than two registers."""
    shape = draw(conv_shapes(depthwise=True, most_channels=6, most_size=36))
    return replace(shape, filters=shape.channels)


@targets
@examples(8)
@given(
    shape=shapes(),
    spaces=st.tuples(rooms, rooms),
    given_=numbers,
    rows=st.integers(1, 3),
)
def test_exact(
    target: Target,
    shape: Shape,
    spaces: tuple[Room, Room],
    given_: Numbers,
    rows: int,
) -> None:
    assert given_.result is not None
    arrays = draw_arrays(shape, given_, 1)
    source, result = layouts_of(grouped(shape), *spaces, flat=False, split=False)
    steps = tuple(STEPS[kind] for kind in given_.end)
    spec = QuadDepthwise(
        source, result, shape.window, steps, given_.result, rows, bounded=False
    )
    assume(len(spec.products) <= 60)
    tables = pack_depthwise(arrays[1], given_.zero_point, spec)
    if is_bounded(tables):
        spec = replace(spec, bounded=True)
    missing = -shape.channels % 4
    buffers: list[Array] = [quads_in(source, arrays[0], given_.zero_point)]
    buffers += [tables.w, tables.sums]
    buffers += [np.pad(array, (0, missing)) for array in arrays[2:]]
    module = program(spec.build("kernel", target.lanes), len(buffers))
    ((compiled,), (interpreted,)) = run_both(module, buffers, target)
    end = Epilogue(steps, (), (), ())
    for found, fused in ((compiled, target.fma), (interpreted, True)):
        q = expected(shape, given_, arrays, end, fused=fused)
        zero = given_.result.zero_point
        check(result, zero, shape.filters, found, quads_in(result, q, zero))


def example(**changes: object) -> QuadDepthwise:
    window = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    shape = Shape(1, 8, (6, 20), 8, 8, window)
    room = Room(0, 0, 0)
    layouts = layouts_of(grouped(shape), room, room, flat=False, split=False)
    spec = QuadDepthwise(
        *layouts, window, (), Requantize(1.0, 0), rows=2, bounded=False
    )
    return replace(spec, **changes)


def test_two_rows_share_what_they_read() -> None:
    spec = example()
    assert spec.groups == ((-1, 0, 1, 2),)
    assert spec.taps_of(0, 0) == (0, 1, 2, None)
    assert spec.taps_of(1, 0) == (None, 0, 1, 2)
    function = spec.build("kernel", 16)
    transposes = [op for op in function.walk() if op.name == "lane.transpose_quads"]
    # Two of six positions more than a register holds, in two tiles of a row.
    assert len(transposes) == 4


def test_small_weights_are_bounded() -> None:
    spec = example(rows=1)
    weight = np.full((8, 1, 3, 3), 64, np.int8)
    assert is_bounded(pack_depthwise(weight, 0, spec))
    weight[3, 0, 0, 0] = 65
    assert not is_bounded(pack_depthwise(weight, 0, spec))


def test_extra_operands() -> None:
    with pytest.raises(InvalidInput, match="steps must have one operand"):
        example(steps=(Step("add", (), 0, False),))


def test_phases() -> None:
    source = replace(example().source, phase=(2, 2))
    with pytest.raises(InvalidInput, match="planes without phases"):
        example(source=source)


def test_no_room_around_the_input() -> None:
    spec = example(source=plain((1, 2, 6, 20)))
    with pytest.raises(InvalidInput, match="reads elements -21 to"):
        spec.build("kernel", 16)
