"""What one granule scheme gains on single layers: edgec's dense code next to sparse.

A layer alone would also pay for bringing the caller's tensors to the layout of the
kernels and back. In a network it does not, so several equal layers follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.masks import Flat, punch

DEPTH = 8
"""Layers of a stack."""

DENSITIES = (0.5, 0.25, 0.125)


@dataclass(frozen=True)
class Stack:
    """Equal layers one after the other, each with a ReLU."""

    name: str
    layers: Callable[[int], Flat]
    """The layer at a place of the stack."""
    shape: tuple[int, ...]
    """Of the input."""

    def build(self, block: int, density: float) -> tuple[nn.Module, Tensor]:
        """The pruned stack, and an input."""
        torch.manual_seed(0)
        modules: list[nn.Module] = []
        for place in range(DEPTH):
            layer = self.layers(place)
            punch(layer.weight, block, density, seed=place)
            modules += [layer, nn.ReLU()]
        model = nn.Sequential(*modules).eval().requires_grad_(requires_grad=False)
        return model, torch.randn(self.shape)


def _conv(channels: int) -> Callable[[int], Flat]:
    return lambda _: nn.Conv2d(channels, channels, 3, padding=1)


def _volume(channels: int) -> Callable[[int], Flat]:
    return lambda _: nn.Conv3d(channels, channels, 3, padding=1)


def _bottleneck(place: int) -> Flat:
    sizes = (256, 1024) if place % 2 == 0 else (1024, 256)
    return nn.Conv2d(*sizes, 1)


STACKS = (
    Stack("conv 64, 224x224", _conv(64), (1, 64, 224, 224)),
    Stack("conv 256, 56x56", _conv(256), (1, 256, 56, 56)),
    Stack("conv 512, 14x14", _conv(512), (1, 512, 14, 14)),
    Stack("1x1 256 to 1024, 14x14", _bottleneck, (1, 256, 14, 14)),
    Stack("conv 128, 8x28x28", _volume(128), (1, 128, 8, 28, 28)),
    Stack("linear 4096, 64 rows", lambda _: nn.Linear(4096, 4096), (64, 4096)),
    Stack("linear 4096, 1 row", lambda _: nn.Linear(4096, 4096), (1, 4096)),
)


def cases() -> Iterator[tuple[Stack, float]]:
    """Every stack at every density."""
    for stack in STACKS:
        for density in DENSITIES:
            yield stack, density
