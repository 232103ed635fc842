"""Formats within budgets, against all choices there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgec.compress.quantization.choice import Choice, Options, choose, lower_bound
from tests.effort import examples

MOST = 5
"""Items, and options of each but one less: at most 4 ** 5 choices."""


@st.composite
def problems(draw: st.DrawFn, budgets: int = 1) -> tuple[Options, list[float]]:
    """Few items, often with ties, and limits between the least and the largest cost."""
    shape = draw(st.integers(1, MOST)), draw(st.integers(1, MOST - 1))
    numbers = st.integers(0, 40).map(float)
    options = Options(
        draw(arrays(np.float64, shape, elements=numbers)),
        draw(arrays(np.float64, (budgets, *shape), elements=numbers)),
    )
    least, most = options.least_costs(), options.costs.max(axis=2).sum(axis=1)
    shares = draw(st.lists(st.floats(0, 1), min_size=budgets, max_size=budgets))
    limits = [
        float(low + share * (high - low))
        for low, high, share in zip(least, most, shares, strict=True)
    ]
    return options, limits


def best(options: Options, limits: list[float]) -> float | None:
    """The least error of all choices that fit."""
    items, count = options.errors.shape
    fitting = [
        sum(options.errors[i, p] for i, p in enumerate(picks))
        for picks in product(range(count), repeat=items)
        if all(
            sum(costs[i, p] for i, p in enumerate(picks)) <= limit
            for costs, limit in zip(options.costs, limits, strict=True)
        )
    ]
    return min(fitting, default=None)


def check(options: Options, limits: list[float], found: Choice) -> None:
    """A choice fits, and its error is what it says."""
    assert (options.total(found.picks) <= np.array(limits) + 1e-9).all()
    own = sum(options.errors[i, p] for i, p in enumerate(found.picks))
    assert found.error == pytest.approx(own)


@examples(60)
@given(problem=problems())
def test_one_budget_is_met_and_at_most_one_step_is_lost(
    problem: tuple[Options, list[float]],
) -> None:
    options, limits = problem
    found, least = choose(options, limits), best(options, limits)
    assert found is not None
    assert least is not None
    check(options, limits, found)
    worst_step = float((options.errors.max(axis=1) - options.errors.min(axis=1)).max())
    assert least <= found.error <= least + worst_step
    assert lower_bound(options, limits) <= least + 1e-9


@examples(40)
@given(problem=problems(budgets=2))
def test_two_budgets_are_met_and_the_bound_holds(
    problem: tuple[Options, list[float]],
) -> None:
    options, limits = problem
    found, least = choose(options, limits), best(options, limits)
    if least is None:
        assert found is None
        return
    assert lower_bound(options, limits) <= least + 1e-9
    if found is not None:
        check(options, limits, found)
        assert found.error >= least


@examples(40)
@given(problem=problems(budgets=2), more=st.tuples(*[st.floats(0, 20)] * 2))
def test_a_larger_budget_is_never_worse(
    problem: tuple[Options, list[float]], more: tuple[float, float]
) -> None:
    options, limits = problem
    one = choose(options, limits)
    other = choose(options, [a + b for a, b in zip(limits, more, strict=True)])
    if one is not None:
        assert other is not None
        assert other.error <= one.error


def test_most_small_problems_are_solved_exactly() -> None:
    generator = np.random.default_rng(0)
    exact = {1: 0, 2: 0}
    for trial in range(100):
        budgets = 1 + trial % 2
        errors = generator.exponential(size=(5, 4))
        costs = generator.integers(1, 100, (budgets, 5, 4)).astype(float)
        options = Options(errors, costs)
        low, high = options.least_costs(), costs.max(axis=2).sum(axis=1)
        limits = list(low + 0.5 * (high - low))
        found = choose(options, limits)
        assert found is not None
        exact[budgets] += found.error == pytest.approx(best(options, limits))
    assert min(exact.values()) >= 40


def test_no_choice_fits() -> None:
    options = Options(np.zeros((2, 2)), np.ones((1, 2, 2)))
    assert choose(options, [1.9]) is None
    assert choose(options, [2.0]) == Choice((0, 0), 0.0)
