"""Projections are exact: no weight with the same constraint is nearer."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgec.compress.connectivity import connectivity_projection, kernel_mask
from edgec.compress.patterns import (
    CANDIDATES,
    FIXED,
    Floats,
    choose_patterns,
    mine_patterns,
    pattern_projection,
)
from edgec.compress.schemes import pattern_connectivity_mask
from edgec.errors import InvalidInput


def weights(filters: int, channels: int) -> st.SearchStrategy[Floats]:
    """Small integers: sums of squares are exact, and ties are frequent."""
    return hnp.arrays(
        np.float32, (filters, channels, 3, 3), elements=st.integers(-4, 4)
    )


def distance(a: Floats, b: Floats) -> float:
    """Squared Euclidean distance."""
    return float(np.square(a.astype(np.float64) - b).sum())


def masked(weight: Floats, kernel_patterns: tuple[tuple[int, ...], ...]) -> Floats:
    """The weight with kernel i restricted to positions `kernel_patterns[i]`."""
    result = np.zeros_like(weight)
    for kernel, source, pattern in zip(
        result.reshape(-1, 9), weight.reshape(-1, 9), kernel_patterns, strict=True
    ):
        kernel[list(pattern)] = source[list(pattern)]
    return result


def test_pattern_sets() -> None:
    assert len(set(CANDIDATES)) == 56
    assert all(len(p) == 4 and 4 in p for p in CANDIDATES)
    assert len(set(FIXED)) == 8
    assert set(FIXED) <= set(CANDIDATES)


@given(weights(1, 3))
def test_pattern_projection_is_nearest(weight: Floats) -> None:
    projected = pattern_projection(weight, FIXED)
    for kernel, source in zip(projected[0], weight[0], strict=True):
        rivals = [masked(source, (pattern,)) for pattern in FIXED]
        nearest = min(distance(source, rival) for rival in rivals)
        assert distance(source, kernel) == nearest
        # The first of the nearest, so that ties fall the same way everywhere.
        first = next(r for r in rivals if distance(source, r) == nearest)
        assert np.array_equal(kernel, first)


@given(weights(2, 3))
def test_projections_are_idempotent_and_keep_values(weight: Floats) -> None:
    def connect(source: Floats) -> Floats:
        return connectivity_projection(source, 0.5)

    for project in (pattern_projection, connect):
        once = project(weight)
        assert np.array_equal(project(once), once)
        assert ((once == weight) | (once == 0)).all()
        assert once.dtype == weight.dtype


@given(weights(2, 3), st.integers(1, 6))
def test_connectivity_projection_is_nearest(weight: Floats, kept: int) -> None:
    projected = connectivity_projection(weight, kept / 6)
    everything = tuple(range(9))
    best = min(
        distance(weight, masked(weight, choice))
        for choice in product(((), everything), repeat=6)
        if sum(map(bool, choice)) == kept
    )
    assert distance(weight, projected) == best


@given(weights(2, 3), st.integers(1, 3))
def test_balanced_keeps_the_same_number_in_every_filter(
    weight: Floats, kept: int
) -> None:
    mask = kernel_mask(weight, kept / 3, balanced=True)
    assert (mask.sum(axis=1) == kept).all()
    energies = np.square(weight).sum(axis=(2, 3))
    for row, energy in zip(mask, energies, strict=True):
        rivals = [sum(energy[list(c)]) for c in combinations(range(3), kept)]
        assert energy[row].sum() == max(rivals)


@given(weights(1, 3), st.integers(1, 3))
def test_both_constraints_together_are_projected_exactly(
    weight: Floats, kept: int
) -> None:
    patterns = FIXED[:3]
    mask = pattern_connectivity_mask(weight, patterns, kept / 3)
    best = nearest(weight, patterns, kept)
    assert distance(weight, np.where(mask, weight, 0)) == best


def nearest(weight: Floats, patterns: tuple[tuple[int, ...], ...], kept: int) -> float:
    """The distance to the nearest weight of three kernels, of which `kept` stay."""
    return min(
        distance(weight, masked(weight, choice))
        for choice in product(((), *patterns), repeat=3)
        if sum(map(bool, choice)) <= kept
    )


@given(weights(2, 3), st.integers(1, 3))
def test_both_constraints_balanced_are_those_of_each_filter(
    weight: Floats, kept: int
) -> None:
    patterns = FIXED[:3]
    mask = pattern_connectivity_mask(weight, patterns, kept / 3, balanced=True)
    found = np.where(mask, weight, 0)
    for row, projected in zip(np.split(weight, 2), np.split(found, 2), strict=True):
        assert distance(row, projected) == nearest(row, patterns, kept)


@given(st.lists(weights(2, 2), min_size=1, max_size=3), st.integers(1, 16))
def test_mining_counts_the_best_candidates(sources: list[Floats], count: int) -> None:
    mined = mine_patterns(sources, count)
    wins = [0] * len(CANDIDATES)
    for kernel in np.concatenate([w.reshape(-1, 9) for w in sources]):
        energies = [sum(kernel[list(p)] ** 2) for p in CANDIDATES]
        wins[int(np.argmax(energies))] += 1
    ranked = sorted(range(len(CANDIDATES)), key=lambda i: -wins[i])
    assert mined == tuple(CANDIDATES[i] for i in ranked[:count])


def test_patterns_and_fractions_are_checked() -> None:
    weight = np.ones((1, 1, 3, 3), np.float32)
    with pytest.raises(InvalidInput, match="must not be empty"):
        choose_patterns(weight, ())
    with pytest.raises(InvalidInput, match=r"positions in 0..8, got \(1, 9\)"):
        pattern_projection(weight, ((1, 9),))
    for count in (0, 17):
        with pytest.raises(InvalidInput, match=f"1..16, got {count}"):
            mine_patterns([weight], count)
    for fraction in (0.0, 1.5, float("nan")):
        with pytest.raises(InvalidInput, match=r"in \(0, 1\]"):
            kernel_mask(weight, fraction)
