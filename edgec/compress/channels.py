"""Channels that have to be pruned together, as plain data.

A channel of a residual sum is made by a filter of each of the layers that meet there.
It is gone when all of them are, so they are kept or dropped as one. Which filters that
are depends on how a model connects its layers: `edgec.channel_groups` finds out.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from edgec.errors import InvalidInput

Group = int
"""The number of a group; it means nothing by itself."""


@dataclass(frozen=True)
class ChannelGroups:
    """Which filters of which layers are kept or dropped as one."""

    filters: Mapping[str, tuple[Group, ...]]
    """Of a layer, by its dotted path, the group of each filter."""
    vectors: Mapping[str, tuple[Group, ...]]
    """Of a bias, or the scale or shift of a batch norm, by its name among the model's
    parameters, the group of the channel that each element belongs to."""
    fixed: frozenset[Group]
    """Groups that stay: results of the model, or read by an op that needs them all."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of every parameter of the model that the groups are of."""

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """Sets of layers that have groups in common, in the model's order."""
        order = {name: number for number, name in enumerate(self.filters)}
        sets: list[tuple[list[str], set[Group]]] = []
        for name, groups in self.filters.items():
            names, union = [name], set(groups)
            apart: list[tuple[list[str], set[Group]]] = []
            for others in sets:
                if union.isdisjoint(others[1]):
                    apart.append(others)
                else:
                    names += others[0]
                    union |= others[1]
            sets = [*apart, (names, union)]
        found = [tuple(sorted(names, key=order.__getitem__)) for names, _ in sets]
        return tuple(sorted(found, key=lambda names: order[names[0]]))


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, under each of its names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: tuple(parameter.shape) for name, parameter in named}


def check_groups(model: nn.Module, groups: object) -> ChannelGroups:
    """The groups, after a check that they are of a model such as this one."""
    if not isinstance(groups, ChannelGroups):
        raise InvalidInput(
            "groups must be a ChannelGroups, as edgec.channel_groups(model, "
            f"example_inputs) returns it, got {type(groups).__name__}"
        )
    found = shapes_of(model)
    for name in {**groups.shapes, **found}:
        theirs, ours = groups.shapes.get(name), found.get(name)
        if theirs != ours:
            raise InvalidInput(
                f"groups must be of this model: parameter '{name}' has shape "
                f"{ours or 'none'} here, {theirs or 'none'} in the model of the groups"
            )
    return groups
