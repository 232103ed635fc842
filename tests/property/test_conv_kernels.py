"""Convolution kernels as machine code, against float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.dialects import fkw
from edgec.kernels.conv import DenseConv, pack_dense
from edgec.kernels.conv_depthwise import DepthwiseConv
from edgec.kernels.conv_depthwise_strided import StridedDepthwiseConv
from edgec.kernels.conv_pattern import PatternConv
from edgec.kernels.layout import Layout
from edgec.kernels.pack_pattern import pack_pattern
from edgec.kernels.pattern_loops import FORMS
from edgec.kernels.positions import row_mask
from edgec.kernels.window import Window
from edgec.target import Target
from tests.convs import (
    Array,
    Epilogue,
    Floats,
    Room,
    Shape,
    check_buffer,
    conv_shapes,
    epilogues,
    expected,
    layouts_of,
    make_kernel,
    put,
    rooms,
    run_interpreted,
    run_native,
)
from tests.lanes import runnable_targets

THREADS = (1, 2, 3)

MOST_PRODUCTS = 300
"""Multiply-adds of the largest unrolled body: keeps the code generator quick."""

targets = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)


@dataclass(frozen=True)
class Case:
    """A convolution, its layouts and its epilogue."""

    shape: Shape
    source: Layout
    result: Layout
    end: Epilogue
    has_bias: bool
    share_loads: bool
    seed: int

    def numbers(self) -> tuple[Floats, Floats, Floats | None]:
        """Input, weight, bias."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal(self.shape.input, np.float32)
        w = rng.standard_normal(self.shape.weight, np.float32)
        bias = rng.standard_normal(self.shape.filters, np.float32)
        return x, w, bias if self.has_bias else None


@st.composite
def cases(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[Shape],
    *,
    flat: bool,
    split: bool = True,
) -> Case:
    shape = draw(shapes)
    source, result = layouts_of(shape, draw(rooms), draw(rooms), flat=flat, split=split)
    end = draw(epilogues(result, same_pitch=flat))
    flags = draw(st.booleans()), draw(st.booleans())
    return Case(shape, source, result, end, *flags, draw(st.integers(0, 2**16)))


def check(
    case: Case,
    spec: DenseConv | DepthwiseConv | StridedDepthwiseConv | PatternConv,
    buffers: list[Array],
    numbers: tuple[Floats, Floats, Floats | None],
    target: Target,
) -> None:
    kernel = make_kernel(spec, target.lanes, share_loads=case.share_loads)
    extras = zip(case.end.extras, case.end.values, strict=True)
    buffers = [*buffers, *(put(extra.layout, value) for extra, value in extras)]
    first, *others = run_native(kernel, buffers, target, THREADS)
    check_buffer(case.result, first, *expected(case.shape, *numbers, case.end))
    for other in others:
        np.testing.assert_array_equal(other, first, "threads change the result")


def flat_buffers(case: Case, x: Floats, w: Floats, bias: Floats | None) -> list[Array]:
    buffers: list[Array] = [put(case.source, x), w.reshape(-1)]
    if bias is not None:
        buffers.append(bias)
    if case.result.row_gap:
        buffers.append(row_mask(case.result))
    return buffers


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


blocks = st.tuples(st.integers(1, 14), st.integers(1, 4), st.integers(1, 5))


@targets
@settings(max_examples=12)
@given(case=cases(conv_shapes(), flat=True), block=blocks)
def test_dense(target: Target, case: Case, block: tuple[int, int, int]) -> None:
    spec = dense_spec(case, *block)
    x, w, bias = case.numbers()
    packed = pack_dense(w, case.shape.groups, spec.filters)
    buffers = flat_buffers(case, x, packed, bias)
    check(case, spec, buffers, (x, w, bias), target)


@targets
@settings(max_examples=8)
@given(case=cases(conv_shapes(depthwise=True), flat=True), vectors=st.integers(1, 4))
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
    return StridedDepthwiseConv(
        case.source,
        case.result,
        window.direct_offsets(case.source),
        window.stride,
        case.has_bias,
        case.end.steps,
        case.end.extras,
    )


def strided_buffers(case: Case) -> list[Array]:
    x, w, bias = case.numbers()
    buffers: list[Array] = [put(case.source, x), w.reshape(-1)]
    return buffers if bias is None else [*buffers, bias]


strides = ((2, 2), (1, 2), (3, 2), (2, 1), (2, 3), (1, 6))


@targets
@settings(max_examples=8)
@given(
    case=cases(conv_shapes(depthwise=True, strides=strides), flat=False, split=False)
)
def test_strided_depthwise(target: Target, case: Case) -> None:
    spec, buffers = strided_spec(case), strided_buffers(case)
    check(case, spec, buffers, case.numbers(), target)


# Patterns


@dataclass(frozen=True)
class Schedule:
    """What a pattern kernel leaves open, drawn before its shape is known."""

    form: str
    packed: bool
    rows: int
    bands: int
    block: int
    splits: int
    ordered: bool


schedules = st.builds(
    Schedule,
    st.sampled_from(FORMS),
    st.booleans(),
    st.integers(1, 7),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 20),
    st.integers(1, 4),
    st.booleans(),
)


@dataclass(frozen=True)
class Pruning:
    """Which weights are kept."""

    taps: int
    patterns: int
    density: float
    empty_filters: float
    seed: int

    def apply(self, w: Floats) -> tuple[Floats, tuple[tuple[int, ...], ...]]:
        """The weight with kernels outside of random patterns removed; the patterns."""
        rng = np.random.default_rng(self.seed)
        filters, channels, positions = *w.shape[:2], w.shape[2] * w.shape[3]
        taps = min(self.taps, positions)
        drawn = (rng.permutation(positions)[:taps] for _ in range(self.patterns))
        patterns = sorted({tuple(sorted(map(int, p))) for p in drawn})
        keep = rng.random((filters, channels)) < self.density
        keep[rng.random(filters) < self.empty_filters] = False
        mask = np.zeros((filters, channels, positions), np.bool_)
        masks = np.zeros((len(patterns), positions), np.bool_)
        for number, pattern in enumerate(patterns):
            masks[number, list(pattern)] = True
        mask = masks[rng.integers(0, len(patterns), keep.shape)] & keep[..., None]
        return w * mask.reshape(w.shape), tuple(patterns)


prunings = st.builds(
    Pruning,
    st.integers(1, 9),
    st.integers(1, 8),
    st.sampled_from([0.3, 0.3, 1.0, 0.05, 0.0]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 2**16),
)


def pattern_kernel(
    case: Case, schedule: Schedule, pruning: Pruning, lanes: int
) -> tuple[PatternConv, list[Array], tuple[Floats, Floats, Floats | None]]:
    """The kernel's spec, its buffers, and input, weight and bias."""
    x, w, bias = case.numbers()
    w, patterns = pruning.apply(w)
    storage = fkw.pack(w, patterns)
    if schedule.ordered or schedule.form == "runs":
        storage = fkw.reorder(storage)
    unrolled = len(patterns) if schedule.form == "switch" else 1
    most = max(1, MOST_PRODUCTS // (unrolled * len(patterns[0])))
    bands = min(schedule.bands, lanes // 2) if schedule.packed else 1
    height = -(-case.result.rows // bands)
    spec = PatternConv(
        case.source,
        case.result,
        case.shape.window,
        patterns,
        storage.num_kernels,
        case.has_bias,
        case.end.steps,
        case.end.extras,
        schedule.form,
        schedule.packed,
        min(schedule.rows, height, most),
        bands,
        min(schedule.block, case.shape.channels),
        schedule.splits,
    )
    t = pack_pattern(storage, spec, lanes)
    buffers: list[Array] = [put(case.source, x), t.w, t.where, t.counts, t.starts]
    buffers += [t.parts, t.visits, *([] if bias is None else [bias])]
    return spec, buffers, (x, w, bias)


pattern_cases = cases(conv_shapes(grouped=False, most_kernel=4), flat=False)


@targets
@settings(max_examples=14)
@given(case=pattern_cases, schedule=schedules, pruning=prunings)
def test_pattern(
    target: Target, case: Case, schedule: Schedule, pruning: Pruning
) -> None:
    made = pattern_kernel(case, schedule, pruning, target.lanes)
    check(case, *made, target)


# Accesses: the interpreter raises at the first one outside of its buffer.

small = conv_shapes(most_channels=3, most_size=6, most_kernel=3)
small_strided = conv_shapes(
    depthwise=True, most_channels=2, most_size=9, most_kernel=3, strides=strides
)
small_ungrouped = conv_shapes(
    grouped=False, most_channels=3, most_size=6, most_kernel=3
)
lanes_of_targets = pytest.mark.parametrize("lanes", [4, 8, 16])


def check_accesses(
    case: Case,
    spec: DenseConv | StridedDepthwiseConv | PatternConv,
    buffers: list[Array],
    lanes: int,
) -> Floats:
    extras = zip(case.end.extras, case.end.values, strict=True)
    buffers = [*buffers, *(put(extra.layout, value) for extra, value in extras)]
    return run_interpreted(make_kernel(spec, lanes), buffers)


@lanes_of_targets
@settings(max_examples=5)
@given(case=cases(small, flat=True), block=blocks)
def test_dense_stays_inside(
    lanes: int, case: Case, block: tuple[int, int, int]
) -> None:
    spec = dense_spec(case, *block)
    x, w, bias = case.numbers()
    packed = pack_dense(w, case.shape.groups, spec.filters)
    found = check_accesses(case, spec, flat_buffers(case, x, packed, bias), lanes)
    check_buffer(case.result, found, *expected(case.shape, x, w, bias, case.end))


def test_short_rows_with_a_large_stride_stay_inside() -> None:
    """Regression: lanes beyond the row read further than the slack."""
    window = Window((1, 1), (1, 6), (0, 0), (0, 0), (1, 1))
    shape = Shape(1, 1, (2, 6), 1, 1, window)
    layouts = layouts_of(shape, Room(0, 0, 0), Room(0, 0, 0), flat=False, split=False)
    case = Case(shape, *layouts, Epilogue((), (), ()), False, False, 0)
    found = check_accesses(case, strided_spec(case), strided_buffers(case), 16)
    check_buffer(case.result, found, *expected(shape, *case.numbers(), case.end))


@lanes_of_targets
@settings(max_examples=5)
@given(case=cases(small_strided, flat=False, split=False))
def test_strided_depthwise_stays_inside(lanes: int, case: Case) -> None:
    found = check_accesses(case, strided_spec(case), strided_buffers(case), lanes)
    check_buffer(case.result, found, *expected(case.shape, *case.numbers(), case.end))


@lanes_of_targets
@settings(max_examples=5)
@given(
    case=cases(small_ungrouped, flat=False),
    schedule=schedules,
    pruning=prunings,
)
def test_pattern_stays_inside(
    lanes: int, case: Case, schedule: Schedule, pruning: Pruning
) -> None:
    spec, buffers, numbers = pattern_kernel(case, schedule, pruning, lanes)
    found = check_accesses(case, spec, buffers, lanes)
    check_buffer(case.result, found, *expected(case.shape, *numbers, case.end))
