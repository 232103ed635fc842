"""Filters of several layers that are pruned together.

Layers that have a group of channels in common (`channels`) are a *set*. A set is pruned
by one ranking of its groups, or not at all. Layers differ in the size of their weights,
so that a filter's score is its sum of squares divided by the layer's mean; the score of
a group is the mean of those of its filters.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023), section
3.3, for scores of groups; Li et al., "Pruning Filters for Efficient ConvNets" (ICLR
2017), for filters by their norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgec.compress.channels import ChannelGroups
from edgec.compress.geometry import Bools, Doubles, Floats, Ints
from edgec.compress.granules import keep_best
from edgec.compress.schemes import DEPTHWISE, FilterScheme
from edgec.compress.selection import Choice
from edgec.errors import InvalidInput

FIXED = "fixed: results of the model, or read by an op that needs all"
"""Note of a layer none of whose filters can go."""

UNKNOWN = "in no group of channels"
"""Note of a layer that the example inputs do not reach, or whose filters are computed.
"""


def coupled_choices(
    choices: Mapping[str, Choice], groups: ChannelGroups
) -> dict[str, Choice]:
    """The same choices, but a set of tied layers is pruned as a whole or stays dense.

    A depthwise layer goes with the layers that it is tied to.
    """
    if not any(isinstance(choice.scheme, FilterScheme) for choice in choices.values()):
        schemes = sorted({choice.scheme.text for choice in choices.values()})
        raise InvalidInput(
            f"groups goes with scheme 'filter' only, got {', '.join(schemes)}"
        )
    result = dict(choices)
    for names in groups.tied:
        why = _why_dense(names, choices, groups)
        for name in names:
            is_alone_dense = choices[name].why_dense not in ("", DEPTHWISE)
            if not is_alone_dense and isinstance(choices[name].scheme, FilterScheme):
                result[name] = replace(choices[name], why_dense=why)
    for name, choice in choices.items():
        is_wanted = isinstance(choice.scheme, FilterScheme) and not choice.why_dense
        if is_wanted and name not in groups.filters:
            result[name] = replace(choice, why_dense=UNKNOWN)
    return result


def _why_dense(
    names: Sequence[str], choices: Mapping[str, Choice], groups: ChannelGroups
) -> str:
    """Why a set stays dense; empty if it is pruned."""
    for name in names:
        scheme, why = choices[name].scheme, choices[name].why_dense
        if not isinstance(scheme, FilterScheme):
            return f"tied to '{name}' ({why or scheme.text})"
        if why not in ("", DEPTHWISE):
            return f"tied to '{name}' ({why})"
    if all(groups.fixed.issuperset(groups.filters[name]) for name in names):
        return FIXED
    return ""


@dataclass(frozen=True)
class Coupled:
    """What stays of coupled layers."""

    masks: dict[str, Bools] = field(default_factory=dict[str, Bools])
    """Of each layer that is pruned with others, `[F, C, T]`."""
    vectors: dict[str, Bools] = field(default_factory=dict[str, Bools])
    """Of each parameter with one element per channel."""
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """What is to be said of a layer."""


def couple(
    groups: ChannelGroups,
    choices: Mapping[str, Choice],
    densities: Mapping[str, float],
    arrays: Mapping[str, Floats],
) -> Coupled:
    """Masks of the layers in `arrays` by scheme `filter`, of each set at its density.

    The density of a set is the one that its layers are given, or the mean of what the
    rates say, by weights.
    """
    is_fixed = _marked(groups, groups.fixed)
    keep, result = np.ones(len(is_fixed), np.bool_), Coupled()
    for names in groups.tied:
        # `coupled_choices` left all layers of a set to prune, or none.
        if any(
            name not in arrays or not isinstance(choices[name].scheme, FilterScheme)
            for name in names
        ):
            continue
        density = _density(names, choices, densities, arrays)
        rows = {name: np.array(groups.filters[name]) for name in names}
        keep &= kept_groups(rows, arrays, is_fixed, density)
        for name in names:
            held = int(is_fixed[rows[name]].sum())
            total = len(rows[name])
            result.notes[name] = f"{held} of {total} filters fixed" if held else ""
            mask = keep[rows[name]][:, None, None]
            result.masks[name] = np.broadcast_to(mask, arrays[name].shape).copy()
    for name, of in groups.vectors.items():
        result.vectors[name] = keep[np.array(of)]
    return result


def _marked(groups: ChannelGroups, which: frozenset[int]) -> Bools:
    """By the group's number whether it is one of `which`."""
    every = [*groups.filters.values(), *groups.vectors.values()]
    marks = np.zeros(1 + max(map(max, every), default=-1), np.bool_)
    marks[list(which)] = True
    return marks


def _density(
    names: Sequence[str],
    choices: Mapping[str, Choice],
    densities: Mapping[str, float],
    arrays: Mapping[str, Floats],
) -> float:
    """One density for a set."""
    given = {d: name for name in names if (d := choices[name].density) is not None}
    if len(given) > 1:
        each = ", ".join(f"{d:g} for '{name}'" for d, name in given.items())
        raise InvalidInput(f"tied layers must have one density, got {each}")
    if given:
        return next(iter(given))
    sizes = [arrays[name].size for name in names]
    return float(np.average([densities[name] for name in names], weights=sizes))


def kept_groups(
    rows: Mapping[str, Ints],
    arrays: Mapping[str, Floats],
    is_fixed: Bools,
    density: float,
) -> Bools:
    """By the group's number whether it stays; true for groups of other layers.

    `rows` are the groups of each layer's filters. Fixed groups stay, and the best of
    the others, at least one, so that as near to `density` of all weights stay as whole
    groups come; besides the best one of each layer, which may be a part of what a
    concatenation ties.
    """
    count = len(is_fixed)
    score, sizes = np.zeros(count), np.zeros(count, np.int64)
    filters = np.zeros(count, np.int64)
    for name, of in rows.items():
        np.add.at(score, of, _relative_energies(arrays[name]))
        np.add.at(filters, of, 1)
        np.add.at(sizes, of, arrays[name][0].size)
    free = np.flatnonzero((filters > 0) & ~is_fixed)
    wanted = density * sizes.sum() - sizes[is_fixed].sum()
    rank = score / np.maximum(filters, 1)
    keep = np.ones(count, np.bool_)
    # `keep_best` ranks by energy per weight.
    keep[free] = keep_best(rank[free] * sizes[free], sizes[free], wanted)
    for of in rows.values():
        keep[of[np.argmax(np.where(keep[of], np.inf, rank[of]))]] = True
    return keep


def _relative_energies(weight: Floats) -> Doubles:
    """The sum of squares of each filter of `[F, C, T]`, divided by their mean."""
    energies = np.square(weight.astype(np.float64)).sum(axis=(1, 2))
    mean = float(energies.mean())
    return energies / mean if mean else energies


def living_channels(
    groups: ChannelGroups, empty: Mapping[str, Bools]
) -> dict[str, Bools]:
    """Of each vector whether an element's channel still has a filter with weights.

    `empty` says of each layer which of its filters have none.
    """
    lives = np.zeros(len(_marked(groups, frozenset())), np.bool_)
    is_made = lives.copy()
    for name, of in groups.filters.items():
        lives[np.array(of)[~empty[name]]] = True
        is_made[list(of)] = True
    return {
        name: (lives | ~is_made)[np.array(of)] for name, of in groups.vectors.items()
    }
