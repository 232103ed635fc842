"""Sparse convolution kernels as machine code, against float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import columns, fkw
from edgec.errors import InvalidInput
from edgec.kernels.conv.columns import ColumnConv, pack_columns
from edgec.kernels.conv.pack_pattern import pack_pattern
from edgec.kernels.conv.pattern import PatternConv
from edgec.kernels.conv.pattern_loops import FORMS
from edgec.kernels.conv.window import Window
from edgec.kernels.layout import Layout
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
    small_deep,
    small_ungrouped,
    targets,
)
from tests.convs import (
    Array,
    Floats,
    check_buffer,
    conv_shapes,
    expected,
    make_kernel,
    put,
)
from tests.effort import examples


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
@examples(14)
@given(case=pattern_cases, schedule=schedules, pruning=prunings)
def test_pattern(
    target: Target, case: Case, schedule: Schedule, pruning: Pruning
) -> None:
    made = pattern_kernel(case, schedule, pruning, target.lanes)
    check(case, *made, target)


def column_kernel(
    case: Case, schedule: tuple[int, int, int, int], pruning: Pruning
) -> tuple[ColumnConv, list[Array], tuple[Floats, Floats, Floats | None]]:
    """The kernel's spec, its buffers, and input, weight and bias."""
    filters, vectors, chunk, parts = schedule
    x, w, bias = case.numbers()
    rng = np.random.default_rng(pruning.seed)
    block, groups = filters * parts, case.shape.groups
    each = len(w) // groups
    keep = rng.random((groups, -(-each // block), *w.shape[1:])) < pruning.density
    keep[rng.random(keep.shape[:2]) < pruning.empty_filters] = False
    w = w * np.repeat(keep, block, axis=1)[:, :each].reshape(w.shape)
    reordered = bool(rng.integers(4))
    order = None
    if reordered:
        parts_of = [g * each + rng.permutation(each) for g in range(groups)]
        order = np.concatenate(parts_of).tolist()
    storage = columns.pack(w, block, order, groups)
    spec = ColumnConv(
        case.source,
        case.result,
        case.shape.window.tap_offsets(case.source),
        groups,
        case.has_bias,
        case.end.steps,
        case.end.extras,
        filters,
        max(1, min(vectors, MOST_PRODUCTS // filters)),
        chunk,
        storage.num_columns * parts,
        reordered,
    )
    t = pack_columns(storage, spec)
    buffers = flat_buffers(case, x, t.w, bias)
    buffers[2:2] = [t.where, t.starts, *([t.rows_of] if reordered else [])]
    return spec, buffers, (x, w, bias)


column_schedules = st.tuples(
    st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)
)


flat_shapes = conv_shapes(most_kernel=4) | deep


@targets
@examples(24)
@given(
    case=cases(flat_shapes, flat=True),
    schedule=column_schedules,
    pruning=prunings,
)
def test_columns(
    target: Target, case: Case, schedule: tuple[int, int, int, int], pruning: Pruning
) -> None:
    check(case, *column_kernel(case, schedule, pruning), target)


# Accesses: the interpreter raises at the first one outside of its buffer.

small_grouped = conv_shapes(most_channels=6, most_size=6, most_kernel=3)
any_small = small_grouped | small_deep


@lanes_of_targets
@examples(10)
@given(case=cases(any_small, flat=True), schedule=column_schedules, pruning=prunings)
def test_columns_stay_inside(
    lanes: int, case: Case, schedule: tuple[int, int, int, int], pruning: Pruning
) -> None:
    spec, buffers, numbers = column_kernel(case, schedule, pruning)
    found = check_accesses(case, spec, buffers, lanes)
    check_buffer(case.result, found, *expected(case.shape, *numbers, case.end))


@lanes_of_targets
@examples(5)
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": 3}, "bands must be one of"),
        ({"bands": 2, "packed": False}, "1 unless packed, got 2"),
        ({"bands": 2, "rows": 5}, "rows must be 1 to 4"),
        ({"rows": 0}, "rows must be 1 to 8"),
        ({"block": 0}, "block and splits at least 1, got 1, 0 and 1"),
    ],
)
def test_schedules_that_leave_the_plane(changes: dict[str, Any], message: str) -> None:
    plane = Layout((1, 2, 8, 8), (64, 64, 8, 1))
    spec = PatternConv(
        *(plane, plane, Window((1, 1), (1, 1), (0, 0), (0, 0), (1, 1)), ((0,),)),
        *(4, False, (), (), "pairs", True, 1, 1, 1, 1),
    )
    with pytest.raises(InvalidInput, match=message):
        replace(spec, **changes)


def test_bands_of_one_lane() -> None:
    plane = Layout((1, 2, 8, 8), (64, 64, 8, 1))
    spec = PatternConv(
        *(plane, plane, Window((1, 1), (1, 1), (0, 0), (0, 0), (1, 1)), ((0,),)),
        *(4, False, (), (), "pairs", True, 1, 4, 2, 1),
    )
    with pytest.raises(InvalidInput, match="at most half of the 4 lanes, got 4"):
        make_kernel(spec, 4)
