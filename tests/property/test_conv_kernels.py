"""Dense convolution kernels as machine code, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.kernels.conv.dense import DenseConv, pack_dense, split_window
from edgec.kernels.conv.depthwise import DepthwiseConv
from edgec.kernels.conv.depthwise_strided import StridedDepthwiseConv
from edgec.kernels.conv.window import Window
from edgec.target import Target
from tests.conv_cases import (
    MOST_PRODUCTS,
    Case,
    cases,
    check,
    check_accesses,
    deep,
    flat_buffers,
    lanes_of_targets,
    small,
    small_deep,
    targets,
)
from tests.convs import (
    DEEP_STRIDES,
    Array,
    Epilogue,
    Room,
    Shape,
    check_buffer,
    conv_shapes,
    expected,
    layouts_of,
    put,
)
from tests.effort import examples

Ints = tuple[int, ...]


def dense_spec(case: Case, filters: int, vectors: int, chunk: int) -> DenseConv:
    vectors = max(1, min(vectors, MOST_PRODUCTS // (filters * case.shape.taps)))
    return DenseConv(
        case.source,
        case.result,
        case.shape.window.tap_offsets(case.source),
        case.shape.groups,
        case.has_bias,
        case.end.steps,
        case.end.extras,
        filters,
        vectors,
        chunk,
    )


large = conv_shapes(
    most_channels=3,
    most_size=6,
    least_kernel=5,
    most_kernel=6,
    strides=((1, 1, 1), (2, 1, 1), (3, 2, 1)),
)
deep_single = conv_shapes(
    depthwise=True, most_size=9, most_kernel=3, strides=DEEP_STRIDES
)
"""3-D depthwise convolutions, whose strides are splits into phases."""
blocks = st.tuples(st.integers(1, 14), st.integers(1, 4), st.integers(1, 5))


@targets
@examples(24)
@given(
    case=cases(conv_shapes() | deep, flat=True),
    block=blocks,
)
def test_dense(target: Target, case: Case, block: tuple[int, int, int]) -> None:
    spec = dense_spec(case, *block)
    x, w, bias = case.numbers()
    packed = pack_dense(w, case.shape.groups, spec.filters)
    buffers = flat_buffers(case, x, packed, bias)
    check(case, spec, buffers, (x, w, bias), target)


@targets
@examples(16)
@given(
    case=cases(conv_shapes(depthwise=True) | deep_single, flat=True),
    vectors=st.integers(1, 4),
)
def test_depthwise(target: Target, case: Case, vectors: int) -> None:
    taps = case.shape.window.tap_offsets(case.source)
    spec = DepthwiseConv(
        case.source,
        case.result,
        taps,
        case.has_bias,
        case.end.steps,
        case.end.extras,
        vectors,
    )
    x, w, bias = case.numbers()
    check(case, spec, flat_buffers(case, x, w, bias), (x, w, bias), target)


def strided_spec(case: Case) -> StridedDepthwiseConv:
    window = case.shape.window
    rows, columns = window.stride
    return StridedDepthwiseConv(
        case.source,
        case.result,
        window.direct_offsets(case.source),
        case.has_bias,
        case.end.steps,
        case.end.extras,
        (rows, columns),
    )


def strided_buffers(case: Case) -> list[Array]:
    x, w, bias = case.numbers()
    buffers: list[Array] = [put(case.source, x), w.reshape(-1)]
    return buffers if bias is None else [*buffers, bias]


strides = ((2, 2), (1, 2), (3, 2), (2, 1), (2, 3), (1, 6))


@targets
@examples(8)
@given(
    case=cases(conv_shapes(depthwise=True, strides=strides), flat=False, split=False)
)
def test_strided_depthwise(target: Target, case: Case) -> None:
    spec, buffers = strided_spec(case), strided_buffers(case)
    check(case, spec, buffers, case.numbers(), target)


# Patterns


# Accesses: the interpreter raises at the first one outside of its buffer.

small_strided = conv_shapes(
    depthwise=True, most_channels=2, most_size=9, most_kernel=3, strides=strides
)


@lanes_of_targets
@examples(8)
@given(case=cases(small | small_deep, flat=True), block=blocks)
def test_dense_stays_inside(
    lanes: int, case: Case, block: tuple[int, int, int]
) -> None:
    spec = dense_spec(case, *block)
    x, w, bias = case.numbers()
    packed = pack_dense(w, case.shape.groups, spec.filters)
    found = check_accesses(case, spec, flat_buffers(case, x, packed, bias), lanes)
    check_buffer(case.result, found, *expected(case.shape, x, w, bias, case.end))


@targets
@examples(6)
@given(case=cases(large, flat=True), block=blocks)
def test_dense_with_a_large_window(
    target: Target, case: Case, block: tuple[int, int, int]
) -> None:
    """Windows whose slices or rows are looped over."""
    spec = dense_spec(case, *block)
    x, w, bias = case.numbers()
    packed = pack_dense(w, case.shape.groups, spec.filters)
    check(case, spec, flat_buffers(case, x, packed, bias), (x, w, bias), target)


@pytest.mark.parametrize(
    ("kernel", "parts"),
    [((3, 3, 3), 1), ((5, 5, 5), 5), ((7, 7, 7), 7), ((11, 11), 11), ((2, 67), 1)],
)
def test_parts_of_a_window_are_the_window(kernel: tuple[int, ...], parts: int) -> None:
    places = np.ndindex(kernel)
    taps = tuple(sum(97**axis * k for axis, k in enumerate(at)) for at in places)
    part, count, steps = split_window(taps)
    assert joined(part, count, steps) == taps
    assert (count, len(steps)) == (parts, min(1, parts - 1))


def joined(part: tuple[int, ...], count: int, steps: tuple[int, ...]) -> Ints:
    """The taps of all parts."""
    starts = [sum(steps[i % len(steps)] for i in range(n)) for n in range(count)]
    return tuple(start + tap for start in starts for tap in part)


@pytest.mark.parametrize(
    ("kernel", "stride", "low", "parts", "period"),
    [
        ((5, 5, 5), (2, 1, 1), (0, 0, 0), 5, 2),
        ((5, 5, 5), (2, 2, 2), (2, 2, 2), 5, 2),
        ((7, 7, 7), (3, 1, 2), (1, 3, 3), 7, 3),
        ((11, 11), (4, 4), (2, 2), 11, 4),
        ((13, 5), (6, 1), (0, 0), 1, 0),
    ],
)
def test_parts_of_a_strided_window_lie_in_turn_in_its_phases(
    kernel: Ints, stride: Ints, low: Ints, parts: int, period: int
) -> None:
    window = Window(kernel, stride, low, low, (1,) * len(kernel))
    shape = Shape(1, 1, tuple(2 * k for k in kernel), 1, 1, window)
    source, _ = layouts_of(shape, Room(0, 0, 0), Room(0, 0, 0), flat=True)
    taps = window.tap_offsets(source)
    part, count, steps = split_window(taps)
    assert joined(part, count, steps) == taps
    assert (count, len(steps)) == (parts, period)


def test_short_rows_with_a_large_stride_stay_inside() -> None:
    """Regression: lanes beyond the row read further than the slack."""
    window = Window((1, 1), (1, 6), (0, 0), (0, 0), (1, 1))
    shape = Shape(1, 1, (2, 6), 1, 1, window)
    layouts = layouts_of(shape, Room(0, 0, 0), Room(0, 0, 0), flat=False, split=False)
    case = Case(shape, *layouts, Epilogue((), (), ()), False, False, 0)
    found = check_accesses(case, strided_spec(case), strided_buffers(case), 16)
    check_buffer(case.result, found, *expected(shape, *case.numbers(), case.end))


@lanes_of_targets
@examples(5)
@given(case=cases(small_strided, flat=False, split=False))
def test_strided_depthwise_stays_inside(lanes: int, case: Case) -> None:
    found = check_accesses(case, strided_spec(case), strided_buffers(case), lanes)
    check_buffer(case.result, found, *expected(case.shape, *case.numbers(), case.end))
