"""Sparse layers of every kind, pruned by every scheme, against torch in float64."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

import edgec
from edgec.compress import prune
from edgec.report import Report
from tests.importing import sample
from tests.lanes import runnable_targets

TOLERANCE = 1e-5
"""Largest difference relative to the largest value."""

WIDE = [target for target in runnable_targets() if target.lanes > 4]
"""AVX2 and, where the machine has it, AVX-512."""

Shape = tuple[int, ...]


def kinds() -> dict[str, tuple[nn.Module, Shape]]:
    """A layer of every kind and the shape of its input; odd sizes, several images."""
    conv, line, volume = nn.Conv2d, nn.Conv1d, nn.Conv3d
    return {
        "plain": (conv(9, 20, 3, padding=1), (2, 9, 7, 7)),
        "strided": (conv(6, 16, 3, 2, 1), (1, 6, 11, 10)),
        "dilated": (conv(6, 16, 3, padding=2, dilation=2), (2, 6, 9, 5)),
        "large": (conv(4, 16, (5, 7), (2, 1), (2, 3)), (1, 4, 9, 13)),
        "grouped": (conv(12, 26, 3, padding=1, groups=2), (2, 12, 5, 4)),
        "grouped strided": (conv(12, 32, 3, 2, 1, groups=4), (1, 12, 9, 8)),
        "pointwise": (conv(10, 17, 1), (2, 10, 6, 3)),
        "pointwise strided": (conv(10, 24, 1, 2), (1, 10, 7, 7)),
        "one position": (conv(10, 24, 1), (3, 10, 1, 1)),
        "whole plane": (conv(4, 16, 3), (2, 4, 3, 3)),
        "small plane": (conv(8, 16, 3, padding=1), (2, 8, 2, 2)),
        "line": (line(7, 16, 5, 2, 2, dilation=2), (2, 7, 33)),
        "grouped line": (line(8, 24, 3, padding=1, groups=2), (1, 8, 19)),
        "volume": (volume(4, 16, 3, (2, 1, 2), 1), (1, 4, 5, 4, 6)),
        "dilated volume": (
            volume(4, 17, 3, padding=(1, 2, 1), dilation=(1, 2, 1)),
            (2, 4, 4, 5, 3),
        ),
        "linear": (nn.Linear(19, 40), (3, 19)),
        "linear rows": (nn.Linear(10, 24), (2, 13, 10)),
    }


class Layers(nn.Module):
    """Layers next to each other, each with an input of its own."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = list(layers)
        self.layers = nn.ModuleList(layers.values())

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """All results."""
        return [layer(x) for layer, x in zip(self.layers, inputs, strict=True)]


def pruned_layers(scheme: str) -> tuple[Layers, list[torch.Tensor]]:
    """Those that the scheme prunes, and their inputs."""
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    made = kinds()
    model = nn.ModuleDict({name: layer for name, (layer, _) in made.items()})
    density = None if scheme[0].isdigit() else 0.2
    names = [row.name for row in prune(model, scheme, density, skip_first=False).pruned]
    inputs = [sample(*made[name][1]) for name in names]
    return Layers({name: made[name][0] for name in names}).eval(), inputs


def check(model: Any, inputs: list[torch.Tensor], target: edgec.Target) -> Report:
    """Compile for the target and compare with torch in float64."""
    options = edgec.Options(sparsity="always", use_cache=False)
    compiled = edgec.compile(
        model, tuple(inputs), target=target, threads=2, options=options
    )
    found = compiled(*inputs)
    with torch.no_grad():
        expected = model.double()(*(x.double() for x in inputs))
    for name, mine, right in zip(model.names, found, expected, strict=True):
        error = float((mine.double() - right).abs().max())
        assert error <= TOLERANCE * max(1.0, float(right.abs().max())), name
    return compiled.report()


SCHEMES = (
    *("pattern", "connectivity", "unstructured", "1:4", "block-punched:8", "kgs:8x4"),
    *("column:4", "bcr:4x10", "bsp:4x10", "filter", "channel"),
)
CASES = list(zip(SCHEMES, itertools.cycle(WIDE[::-1]), strict=False))


@pytest.mark.parametrize(
    ("scheme", "target"), CASES, ids=[f"{scheme}-{t.name}" for scheme, t in CASES]
)
def test_every_kind_of_layer(scheme: str, target: edgec.Target) -> None:
    model, inputs = pruned_layers(scheme)
    report = check(model, inputs, target)
    assert len(report.layers) == len(model.names)
    for row in report.layers:
        # No layer stays dense for what it is, only for the zeros it has.
        too_many = row.why.endswith(("of it", "of the weights are not zero"))
        assert row.scheme != "dense" or too_many, row


TRANSPOSED: dict[str, tuple[nn.Module, Shape]] = {
    "shuffled": (nn.ConvTranspose2d(6, 16, 2, 2), (2, 6, 5, 7)),
    "inserted": (nn.ConvTranspose2d(6, 16, 3, 2, 1, 1), (1, 6, 5, 4)),
    "overlapping": (nn.ConvTranspose2d(5, 24, 4, 2, 1), (2, 5, 3, 6)),
    "grouped": (nn.ConvTranspose2d(8, 16, 3, 2, 1, groups=2), (1, 8, 4, 5)),
    "line": (nn.ConvTranspose1d(6, 16, 4, 2, 1), (2, 6, 9)),
    "volume": (nn.ConvTranspose3d(4, 8, (1, 2, 2), (1, 2, 2)), (1, 4, 3, 4, 2)),
    "dilated": (nn.ConvTranspose2d(4, 16, 3, padding=2, dilation=2), (1, 4, 6, 5)),
}


@pytest.mark.parametrize("block", [1, 8])
def test_transposed(block: int) -> None:
    """Their zeros survive when they become convolutions, and are found there."""
    generator = torch.Generator().manual_seed(block)
    for layer, _ in TRANSPOSED.values():
        weight = layer.get_parameter("weight")
        channels, filters, *kernel = weight.shape
        keep = torch.rand(channels, filters // block, *kernel, generator=generator)
        weight.data.normal_(generator=generator)
        weight.data *= (keep < 0.2).repeat_interleave(block, 1)
    model = Layers({name: layer for name, (layer, _) in TRANSPOSED.items()}).eval()
    inputs = [sample(*shape) for _, shape in TRANSPOSED.values()]
    report = check(model, inputs, WIDE[-1])
    model.float()
    for row in report.layers:
        assert row.scheme == "columns of 8" or (block == 1 and row.scheme != "dense")
        assert row.density is not None
        assert row.density < (0.3 if block == 8 else 0.7)
