"""Pruned by groups, every layer loses in the compiler what the pruner dropped."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import edgec
from edgec.compress import masks_of, prune
from edgec.compress.coupling import kept_groups
from tests.coupled import Add, Concat, conv, living_filters, shrunk_filters, unit
from tests.effort import examples
from tests.importing import randomized, sample

STEPS = ("unit", "bias", "residual", "shortcut", "concat", "dense", "depthwise", "pool")


def step(name: str, width: int, other: int) -> tuple[nn.Module, int]:
    """A part of a network that reads `width` channels, and how many it makes."""
    inside = nn.Sequential(unit(width, other), conv(other, width))
    parts: dict[str, tuple[nn.Module, int]] = {
        "unit": (unit(width, other), other),
        "bias": (nn.Sequential(conv(width, other), nn.SiLU()), other),
        "residual": (nn.Sequential(Add(nn.Identity(), inside), nn.ReLU()), width),
        "shortcut": (Add(unit(width, other), conv(width, other, 1)), other),
        "concat": (Concat(unit(width, other), conv(width, 3, 1)), other + 3),
        "dense": (Concat(nn.Identity(), unit(width, other)), width + other),
        "depthwise": (unit(width, width, 3, groups=width), width),
        "pool": (nn.MaxPool2d(3, 1, 1), width),
    }
    return parts[name]


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Residual sums, concatenations and depthwise layers in any order."""
    width = draw(st.integers(3, 6))
    seed = draw(st.integers(0, 99))
    names = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5))

    def build() -> nn.Module:
        parts, channels = [unit(3, width)], width
        for number, name in enumerate(names):
            part, channels = step(name, channels, 3 + (seed + number) % 5)
            parts.append(part)
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), conv(channels, 4))

    with torch.random.fork_rng():
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        return randomized(build()).eval()


@examples(8)
@given(networks(), st.sampled_from([0.3, 0.5, 0.8]))
def test_what_is_dropped_is_removed(model: nn.Module, density: float) -> None:
    x = sample(1, 3, 5, 6)
    groups = edgec.channel_groups(model, x)
    report = prune(model, "filter", density, groups=groups, skip_first=False)
    (last,) = [row for row in report.layers if row not in report.pruned]
    assert last.note.startswith("fixed")
    assert shrunk_filters(model, x) == (living_filters(model), 0)


@examples(4)
@given(networks())
def test_training_keeps_dropped_channels_at_zero(model: nn.Module) -> None:
    x = sample(2, 3, 5, 6)
    groups = edgec.channel_groups(model, x)
    prune(model, "filter", 0.5, groups=groups, skip_first=False)
    before = shrunk_filters(model, x)
    masks = masks_of(model, groups)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with edgec.compress.MaskedGradients(model, masks):
        model(x).square().sum().backward()
        optimizer.step()
    for name, mask in masks.items():
        assert not model.get_parameter(name).detach()[~mask].any()
    assert shrunk_filters(model, x) == before


@given(st.data())
def test_the_kept_groups_are_the_best(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    layers, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    density = data.draw(st.sampled_from([0.1, 0.5, 0.7, 1.0]))
    arrays = {str(n): rng.normal(size=(count, 1 + n, 2)) * 10**n for n in range(layers)}
    rows = {name: rng.permutation(count) for name in arrays}
    is_fixed = rng.random(count) < 0.2
    is_fixed[rng.integers(count)] = False  # others are not asked for
    keep = kept_groups(rows, arrays, is_fixed, density)
    # The slow way: each group by itself, the best first.
    score = [0.0] * count
    for name, array in arrays.items():
        energies = [float((row**2).sum()) for row in array]
        for energy, group in zip(energies, rows[name].tolist(), strict=True):
            score[group] += energy / (sum(energies) / count)
    free = sorted((g for g in range(count) if not is_fixed[g]), key=lambda g: -score[g])
    assert keep[is_fixed].all()
    kept = int(keep.sum())
    assert kept == max(int(is_fixed.sum()) + 1, math.ceil(density * count - 0.5))
    assert set(free[: kept - int(is_fixed.sum())]) == set(
        np.flatnonzero(keep & ~is_fixed).tolist()
    )
