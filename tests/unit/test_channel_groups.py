"""Which filters go together, and how `prune` takes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import edgec
from edgec.compress import ChannelGroups, masks_of, prune
from edgec.errors import InvalidInput
from tests.coupled import Add, Concat, conv, living_filters, shrunk_filters, unit
from tests.importing import sample
from tests.networks import seeded

X = sample(1, 3, 5, 6)


def residual() -> nn.Module:
    """A stem, two layers that meet in a sum with it, and a last one."""
    inside = nn.Sequential(unit(8, 6), conv(6, 8))
    return seeded(
        lambda: nn.Sequential(unit(3, 8), Add(nn.Identity(), inside), conv(8, 4))
    )


def notes(report: edgec.compress.PruneReport) -> dict[str, str]:
    return {row.name: row.note for row in report.layers}


STEM, MIDDLE, END, LAST = "0.0", "1.branches.1.0.0", "1.branches.1.1", "2"


def test_a_sum_ties_the_layers_that_meet() -> None:
    groups = edgec.channel_groups(residual(), X)
    assert groups.tied == ((STEM, END), (MIDDLE,), (LAST,))
    assert groups.filters[STEM] == groups.filters[END]
    assert groups.fixed == frozenset(groups.filters[LAST])
    assert groups.vectors["0.1.weight"] == groups.filters[STEM]
    assert groups.vectors["0.1.bias"] == groups.vectors["1.branches.1.1.bias"]


def test_a_concatenation_ties_with_an_offset() -> None:
    joined = Concat(conv(3, 5), conv(3, 2))
    model = nn.Sequential(Add(joined, conv(3, 7)), conv(7, 4))
    groups = edgec.channel_groups(model, X)
    a, b, both = list(groups.filters.values())[:3]
    assert a + b == both


def test_a_layer_called_twice_has_one_group_for_each_filter() -> None:
    twice = conv(3, 3)
    model = nn.Sequential(twice, nn.ReLU(), twice, conv(3, 4))
    groups = edgec.channel_groups(model, X)
    assert len(set(groups.filters["0"])) == 3
    prune(model, "filter", 0.5, groups=groups, skip_first=False)
    assert living_filters(model) == [1, 4]
    assert shrunk_filters(model, X) == ([1, 1, 4], 0)


def test_computed_filters_are_fixed() -> None:
    model = nn.Sequential(conv(3, 8), conv(8, 4))
    nn.utils.parametrizations.weight_norm(model[0])
    groups = edgec.channel_groups(model, X)
    assert "0" not in groups.filters


def test_dropped_channels_are_zero() -> None:
    model = residual()
    groups = edgec.channel_groups(model, X)
    report = prune(model, "filter", 0.5, groups=groups, skip_first=False)
    assert notes(report)[LAST].startswith("fixed")
    assert living_filters(model) == [3, 4, 4, 4]
    assert shrunk_filters(model, X) == ([3, 4, 4, 4], 0)
    with torch.no_grad():
        stem = model.get_submodule("0")(X)
    assert int(stem.flatten(2).any(2).sum()) <= 4


def test_without_groups_partners_keep_different_filters() -> None:
    model = residual()
    prune(model, "filter", 0.5, skip_first=False)
    assert shrunk_filters(model, X)[0] != [3, 4, 4, 4]


def test_a_set_with_a_skipped_layer_stays_dense() -> None:
    model = residual()
    groups = edgec.channel_groups(model, X)
    report = prune(model, "filter", 0.5, groups=groups, skip=END, skip_first=False)
    assert notes(report)[STEM] == f"tied to '{END}' (skipped)"
    assert [row.name for row in report.pruned] == [MIDDLE]


def test_a_set_with_the_first_convolution_stays_dense() -> None:
    model = residual()
    report = prune(model, "filter", 0.5, groups=edgec.channel_groups(model, X))
    assert notes(report)[END] == f"tied to '{STEM}' (first convolution)"


def test_masks_hold_batch_norms_of_dropped_channels_only() -> None:
    model = residual()
    groups = edgec.channel_groups(model, X)
    prune(model, "filter", 0.5, groups=groups, skip_first=False)
    last_norm = model.get_parameter("1.branches.1.0.1.bias")
    with torch.no_grad():
        last_norm.zero_()  # also where the channel lives
    masks = masks_of(model, groups)
    assert int(masks["0.1.bias"].sum()) == 4
    assert int(masks["1.branches.1.0.1.bias"].sum()) == 3
    assert "0.1.bias" not in masks_of(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "channel"}, "groups goes with scheme 'filter' only, got channel"),
        ({"groups": {}}, "groups must be a ChannelGroups, .* got dict"),
        (
            {"layers": {STEM: 0.5, "*": 0.25}},
            f"must have one density, got 0.5 for '{STEM}', 0.25 for '{END}'",
        ),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    model = residual()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    groups = edgec.channel_groups(model, X)
    given: dict[str, Any] = {"scheme": "filter", "groups": groups} | options
    with pytest.raises(InvalidInput, match=message.replace("(", r"\(")):
        prune(model, skip_first=False, **given)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_groups_of_another_model() -> None:
    other = edgec.channel_groups(nn.Sequential(conv(3, 8), conv(8, 4)), X)
    with pytest.raises(InvalidInput, match="groups must be of this model: parameter"):
        prune(residual(), "filter", 0.5, groups=other)
    own = edgec.channel_groups(residual(), X)
    less = replace(own, shapes={**own.shapes, "0.0.weight": (9, 3, 3, 3)})
    with pytest.raises(InvalidInput, match=r"'0.0.weight' has shape \(8, 3, 3, 3\)"):
        masks_of(residual(), less)


def test_only_modules_have_groups() -> None:
    wrong: Any = "model.pt2"
    with pytest.raises(InvalidInput, match=r"must be an nn\.Module, got str"):
        edgec.channel_groups(wrong, X)
    assert isinstance(edgec.channel_groups(residual(), X), ChannelGroups)
