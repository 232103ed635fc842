"""FKW storage: what is packed comes back, in every order, for every density."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgec.dialects import fkw
from edgec.errors import InvalidInput

SQUARES = ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8))


@st.composite
def pruned(draw: st.DrawFn) -> tuple[fkw.Floats, tuple[fkw.Pattern, ...]]:
    """A weight `[F, C, *K]` whose kernels are empty or have a drawn pattern."""
    spatial = draw(st.sampled_from([(1,), (3,), (1, 1), (3, 3), (2, 3, 2)]))
    filters, channels = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    positions = int(np.prod(spatial))
    taps = draw(st.integers(1, min(4, positions)))
    candidates = list(combinations(range(positions), taps))
    patterns = draw(
        st.lists(st.sampled_from(candidates), min_size=1, max_size=8, unique=True)
    )
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = np.zeros((filters, channels, positions), np.float32)
    for kernel in weight.reshape(-1, positions):
        if rng.random() < density:
            taps_kept = list(patterns[rng.integers(len(patterns))])
            kernel[taps_kept] = rng.standard_normal(taps)
            if rng.random() < 0.2:  # a kept weight may happen to be zero
                kernel[taps_kept[0]] = 0
    return weight.reshape(filters, channels, *spatial), tuple(patterns)


@given(pruned())
def test_unpack_inverts_pack_and_reorder(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]],
) -> None:
    weight, patterns = case
    packed = fkw.pack(weight, patterns)
    ordered = fkw.reorder(packed)
    for stored in (packed, ordered):
        back = fkw.unpack(stored, weight.shape)
        assert back.tobytes() == weight.tobytes()
        assert stored.num_kernels == weight.any(axis=tuple(range(2, weight.ndim))).sum()


@given(pruned())
def test_reorder_sorts_rows_by_length_and_kernels_by_pattern(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]],
) -> None:
    ordered = fkw.reorder(fkw.pack(*case))
    assert ordered.stride is not None
    lengths = np.diff(ordered.offset)
    assert (np.diff(lengths) <= 0).all()
    for row, start in enumerate(ordered.offset[:-1]):
        end = ordered.offset[row + 1]
        kinds, channels = ordered.pattern[start:end], ordered.index[start:end]
        keys = list(zip(kinds.tolist(), channels.tolist(), strict=True))
        assert keys == sorted(set(keys))
        assert ordered.stride[row, 0] == 0
        assert ordered.stride[row, -1] == lengths[row]
        for kind in range(len(ordered.patterns)):
            first, last = ordered.stride[row, kind : kind + 2]
            assert (kinds[first:last] == kind).all()


@given(pruned())
def test_reorder_follows_the_greedy_rule(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]],
) -> None:
    ordered = fkw.reorder(fkw.pack(*case))
    bounds = list(zip(ordered.offset[:-1], ordered.offset[1:], strict=True))
    pairs = [
        set(
            zip(ordered.index[a:b].tolist(), ordered.pattern[a:b].tolist(), strict=True)
        )
        for a, b in bounds
    ]
    shared = [len(a & b) for a, b in pairwise(pairs)]
    assert sum(shared) == fkw.shared_pairs(ordered)
    for row in range(1, len(pairs)):
        rivals = [p for p in pairs[row:] if len(p) == len(pairs[row])]
        assert shared[row - 1] == max(len(p & pairs[row - 1]) for p in rivals)


@given(pruned(), st.data())
def test_reorder_depends_on_the_weight_only(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]], data: st.DataObject
) -> None:
    weight, patterns = case
    once = fkw.reorder(fkw.pack(weight, patterns))
    order = np.array(data.draw(st.permutations(range(len(weight)))), np.int32)
    shuffled = replace(fkw.pack(weight[order], patterns), reorder=order)
    for other in (fkw.reorder(once), fkw.reorder(shuffled)):
        for name in ("reorder", "offset", "index", "pattern", "weight", "stride"):
            assert np.array_equal(getattr(once, name), getattr(other, name)), name


@given(pruned())
def test_detect_finds_a_set_that_packs(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]],
) -> None:
    weight, patterns = case
    found = fkw.detect(weight)
    if isinstance(found, fkw.Dense):
        assert np.count_nonzero(weight.reshape(*weight.shape[:2], -1).any(2)) == (
            weight.shape[0] * weight.shape[1]
        )
        assert "no kernel is empty" in found.reason
        return
    assert found.taps <= len(patterns[0])
    assert len(found.patterns) <= fkw.MAX_PATTERNS
    assert list(found.patterns) == sorted(set(found.patterns))
    assert found == fkw.detect(weight.copy())
    packed = fkw.pack(weight, found.patterns)
    assert packed.num_kernels == found.num_kernels
    assert found.density == packed.weight.size / weight.size
    assert np.array_equal(fkw.unpack(packed, weight.shape), weight)


@given(pruned())
def test_detect_recovers_the_patterns_that_are_used_in_full(
    case: tuple[fkw.Floats, tuple[fkw.Pattern, ...]],
) -> None:
    weight, patterns = case
    kernels = weight.reshape(-1, int(np.prod(weight.shape[2:])))
    full = {tuple(np.flatnonzero(k).tolist()) for k in kernels}
    full = {support for support in full if len(support) == len(patterns[0])}
    assume(full)
    found = fkw.detect(weight)
    if isinstance(found, fkw.PatternScheme):
        assert full <= set(found.patterns)


def test_detect_merges_small_supports() -> None:
    weight = np.zeros((1, 6, 3, 3), np.float32)
    for kernel, taps in enumerate([(0, 1, 3, 4), (0, 1), (7,), (8,), (6, 7), ()]):
        weight.reshape(6, 9)[kernel, list(taps)] = 1
    # 0 and 1 fit the first pattern; 6, 7 and 8 share a second one, filled up from 0.
    found = fkw.detect(weight)
    assert found == fkw.PatternScheme(((0, 1, 3, 4), (0, 6, 7, 8)), 9, 5, 6)


def test_detect_of_zeros_and_of_whole_kernels() -> None:
    weight = np.zeros((2, 3, 3, 3), np.float32)
    empty = fkw.detect(weight)
    assert isinstance(empty, fkw.PatternScheme)
    assert empty.density == 0
    weight[0, 1] = 1
    assert fkw.detect(weight) == fkw.PatternScheme((tuple(range(9)),), 9, 1, 6)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (np.ones((2, 2, 3, 3)), "no kernel is empty"),
        (np.ones((4, 4)), "not the weight of a convolution"),
        (np.ones((0, 4, 3, 3)), "not the weight of a convolution"),
        (np.ones((1, 1, 8, 8)), "64 positions, more than 62"),
    ],
)
def test_detect_says_why_not(weight: fkw.Floats, reason: str) -> None:
    found = fkw.detect(weight)
    assert isinstance(found, fkw.Dense)
    assert reason in found.reason


def test_detect_refuses_unstructured_zeros() -> None:
    supports = list(combinations(range(9), 3))
    weight = np.zeros((1, len(supports), 3, 3), np.float32)
    for kernel, taps in enumerate(supports):
        weight.reshape(-1, 9)[kernel, list(taps)] = 1
    found = fkw.detect(weight)
    assert isinstance(found, fkw.Dense)
    assert "84 different supports" in found.reason


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-45, -0.0])
def test_special_values_survive(value: float) -> None:
    weight = np.zeros((1, 2, 3, 3), np.float32)
    weight[0, 1, :2, :2] = [[1, value], [2, 3]]
    back = fkw.unpack(fkw.reorder(fkw.pack(weight, SQUARES)), weight.shape)
    assert back.tobytes() == weight.tobytes()


def test_pruned_negative_zeros_count_as_zeros() -> None:
    weight = np.full((1, 2, 3, 3), -0.0, np.float32)
    weight[0, 0, 0, 0] = 1
    packed = fkw.pack(weight, SQUARES)
    assert packed.num_kernels == 1
    assert np.array_equal(fkw.unpack(packed, weight.shape), weight)


def test_pack_names_the_kernel_that_fits_no_pattern() -> None:
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[1, 2, 0, 0] = weight[1, 2, 2, 2] = 1
    with pytest.raises(InvalidInput, match=r"kernel \(1, 2\).*nonzeros at \(0, 8\)"):
        fkw.pack(weight, SQUARES)


@pytest.mark.parametrize("patterns", [(), ((),), ((0,), (1, 2)), ((1, 0),), ((9,),)])
def test_pack_refuses_bad_patterns(patterns: tuple[fkw.Pattern, ...]) -> None:
    with pytest.raises(InvalidInput, match="pattern"):
        fkw.pack(np.zeros((1, 1, 3, 3), np.float32), patterns)


def test_pack_refuses_other_types() -> None:
    with pytest.raises(InvalidInput, match="float32"):
        fkw.pack(np.zeros((1, 1, 3, 3)), SQUARES)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reorder", [0, 0]),
        ("offset", [0, 2, 1]),
        ("offset", [0, 1]),
        ("index", [0, 7]),
        ("pattern", [4, 0]),
        ("pattern", [0]),
    ],
)
def test_unpack_refuses_damaged_arrays(name: str, value: list[int]) -> None:
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[0, 0, 0, 0] = weight[1, 1, 0, 0] = 1
    packed = fkw.pack(weight, SQUARES)
    damaged = {name: np.array(value, np.int32)}
    with pytest.raises(InvalidInput, match=name):
        fkw.unpack(replace(packed, **damaged), weight.shape)


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 6))
def test_split_rows_balances_kernels(lengths: list[int], parts: int) -> None:
    offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    cuts = fkw.split_rows(offset, parts)
    assert len(cuts) == parts + 1
    assert cuts[0] == 0
    assert cuts[-1] == len(lengths)
    assert (np.diff(cuts) >= 0).all()
    share, longest = offset[-1] / parts, max(lengths, default=0)
    assert (abs(np.diff(offset[cuts]) - share) <= longest + 1).all()


def test_split_rows_of_empty_rows_and_bad_counts() -> None:
    assert fkw.split_rows(np.zeros(9, np.int32), 4).tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(InvalidInput, match="parts must be positive, got 0"):
        fkw.split_rows(np.zeros(1, np.int32), 0)
