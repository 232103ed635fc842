"""Rates: which density each layer gets, so that the model has the one asked for.

`uniform`: the same for all. `flops`: heavier layers are pruned more. `magnitude`: one
threshold for the mean square of a granule, over all layers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgec.compress.geometry import Doubles, Ints

RATES = ("uniform", "flops", "magnitude")
"""Rules that `prune` knows."""

SPREAD = 3.0
"""`flops` gives no layer less than a third of the model's density: what is pruned
harder loses more accuracy than the operations are worth."""

_HALVINGS = 200
"""Of the interval of a scale; float64 stands still long before."""


def flops_densities(
    density: float, costs: Mapping[str, float], ceilings: Mapping[str, float]
) -> dict[str, float]:
    """Densities with which `density` of all multiply-adds stay.

    Layer l gets `s * cost_l ** -0.5`, within `[density / 3, ceiling_l]`, where s is
    chosen so that the sum of `density_l * cost_l` is `density` of the sum of costs; all
    ceilings if that is more than they allow. A layer of four times the work thus keeps
    half the share of it.
    """
    cost = np.array([costs[name] for name in costs])
    ceiling = np.array([ceilings[name] for name in costs])
    floor = np.minimum(density / SPREAD, ceiling)

    def densities(scale: float) -> Doubles:
        return np.clip(scale / np.sqrt(cost), floor, ceiling)

    low, high = 0.0, float(np.sqrt(cost.max()))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_short = densities(middle) @ cost < density * cost.sum()
        low, high = (middle, high) if is_short else (low, middle)
    return dict(zip(costs, densities(high).tolist(), strict=True))


def magnitude_densities(
    density: float,
    scores: Mapping[str, tuple[Doubles, Ints]],
    totals: Mapping[str, int],
) -> dict[str, float]:
    """Densities with which the granules above one threshold stay, over all layers.

    `scores` holds sum of squares and size of every granule, `totals` the weights of
    each layer. The granules of largest mean square stay, as many as come nearest to
    `density` of all weights. Ties go to the earlier layer.
    """
    energies = np.concatenate([energy for energy, _ in scores.values()])
    sizes = np.concatenate([size for _, size in scores.values()])
    layer = np.repeat(
        np.arange(len(scores)), [len(size) for _, size in scores.values()]
    )
    order = np.argsort(-energies / sizes, kind="stable")
    reached = np.cumsum(sizes[order])
    wanted = density * sum(totals.values())
    kept = order[: 1 + int(np.argmin(np.abs(reached - wanted)))]
    counts = np.bincount(layer[kept], sizes[kept], minlength=len(scores))
    return {
        name: float(count) / totals[name]
        for name, count in zip(scores, counts, strict=True)
    }
