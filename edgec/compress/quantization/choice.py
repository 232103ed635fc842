"""One option for each of several items, with the least error within budgets.

The multiple-choice knapsack problem. A budget prices what it bounds, and with a price
each item chooses for itself (Lagrangian relaxation; Everett 1963): from the cheapest
options on, items take steps along the lower convex hull of their options, the steepest
first, which is the optimum of the linear relaxation until the step that does not fit
(Sinha and Zoltners, The Multiple-Choice Knapsack Problem, 1979). Each place on that way
is a candidate, alone and with one item changed, and the best that fits is taken.

With one budget the error is less than the least one plus that of the one step that did
not fit. Candidates do not depend on the budgets, so that a larger budget never makes
the error larger. With two budgets, ways are tried for several ratios of their prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

RATIOS = 17
"""Of the prices of two budgets."""


@dataclass(frozen=True)
class Choice:
    """What was chosen."""

    picks: tuple[int, ...]
    """An option for each item."""
    error: float
    """Sum of the errors of these."""


@dataclass(frozen=True)
class Options:
    """Errors and costs of every option of every item; all finite."""

    errors: Doubles
    """`[items, options]`."""
    costs: Doubles
    """`[budgets, items, options]`."""

    def total(self, picks: Sequence[int]) -> Doubles:
        """`[budgets]`: what a choice costs."""
        return self.costs[:, np.arange(len(picks)), list(picks)].sum(axis=1)

    def least_costs(self) -> Doubles:
        """`[budgets]`: the least that each can be, by itself."""
        return self.costs.min(axis=2).sum(axis=1)


def choose(options: Options, budgets: Sequence[float]) -> Choice | None:
    """The best candidate within all budgets; None if none is.

    Of equal errors the one that costs less, and then the first.
    """
    best: tuple[tuple[float, ...], tuple[int, ...]] | None = None
    for prices in _prices(options.costs):
        for picks in _way(options, prices):
            found = _best_near(options, picks, budgets)
            if found is not None and (best is None or found[0] < best[0]):
                best = found
    return None if best is None else Choice(best[1], best[0][0])


def lower_bound(options: Options, budgets: Sequence[float]) -> float:
    """An error that no choice within the budgets is below: the best price's.

    At prices p the sum of the least `error + p * cost`, less `p * budget`, is none too
    large for any p >= 0 (weak duality).
    """
    limits = np.asarray(budgets, np.float64)
    best = float(options.errors.min(axis=1).sum())
    for prices in _prices(options.costs):
        cost = np.tensordot(prices, options.costs, axes=1)
        for slope, *_ in _steps(options.errors, cost):
            least = (options.errors + slope * cost).min(axis=1).sum()
            best = max(best, float(least - slope * prices @ limits))
    return best


def _prices(costs: Doubles) -> list[Doubles]:
    """Ratios of prices, each budget measured by the largest choice there is."""
    sizes = costs.max(axis=2).sum(axis=1)
    unit = 1 / np.where(sizes > 0, sizes, 1.0)
    if len(costs) == 1:
        return [unit]
    shares = np.linspace(0, 1, RATIOS)
    return [np.array([share, 1 - share]) * unit for share in shares]


def _way(options: Options, prices: Doubles) -> Iterator[list[int]]:
    """The optima of the relaxation for all prices of a ratio, the cheapest first."""
    cost = np.tensordot(prices, options.costs, axes=1)
    picks = [_cheapest(e, c) for e, c in zip(options.errors, cost, strict=True)]
    yield list(picks)
    for _, item, option in _steps(options.errors, cost):
        picks[item] = option
        yield list(picks)


def _cheapest(errors: Doubles, costs: Doubles) -> int:
    return min(range(len(errors)), key=lambda i: (costs[i], errors[i]))


def _steps(errors: Doubles, costs: Doubles) -> list[tuple[float, int, int]]:
    """Error saved per cost, item and new option; along hulls, the steepest first."""
    found: list[tuple[float, int, int]] = []
    for item, (error, cost) in enumerate(zip(errors, costs, strict=True)):
        now = _cheapest(error, cost)
        while True:
            better = [i for i in range(len(error)) if error[i] < error[now]]
            # Not cheaper than what is least, so that it costs more.
            better = [i for i in better if cost[i] > cost[now]]
            if not better:
                break
            slopes = {i: _slope(error, cost, now, i) for i in better}
            # Of equally steep ones the farthest.
            now = max(better, key=lambda i: (slopes[i], cost[i]))
            found.append((slopes[now], item, now))
    return sorted(found, key=lambda step: -step[0])


def _slope(error: Doubles, cost: Doubles, one: int, other: int) -> float:
    return float((error[one] - error[other]) / (cost[other] - cost[one]))


def _best_near(
    options: Options, picks: list[int], budgets: Sequence[float]
) -> tuple[tuple[float, ...], tuple[int, ...]] | None:
    """The least error with at most one item changed, that fits; with its costs."""
    items = np.arange(len(picks))
    errors, costs = options.errors, options.costs
    # [items, options]: all that one change makes; no change is one of them.
    error = errors[items, picks].sum() + errors - errors[items, picks][:, None]
    own = costs[:, items, picks]
    cost = own.sum(axis=1)[:, None, None] + costs - own[:, :, None]
    limits = np.asarray(budgets, np.float64)[:, None, None]
    fits = (cost <= limits).all(axis=0)
    if not fits.any():
        return None
    least = np.where(fits, error, np.inf)
    keys = (*cost.reshape(len(cost), -1)[::-1], least.reshape(-1))
    place = int(np.lexsort(keys)[0])
    item, option = divmod(place, errors.shape[1])
    changed = [*picks]
    changed[item] = option
    # Summed anew: the same choice has the same error whichever way it was found.
    total = float(errors[items, changed].sum())
    return (total, *options.total(changed).tolist()), tuple(changed)
