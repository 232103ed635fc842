"""Small networks for the end-to-end tests: odd sizes, many kinds of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.importing import randomized, sample


class Residual(nn.Module):
    """Two convolutions around which the input goes, with a change of width."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(
            nn.Conv2d(6, 11, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(11),
            nn.ReLU6(),
            nn.Conv2d(11, 11, 3, padding=1),
            nn.BatchNorm2d(11),
        )
        self.right = nn.Conv2d(6, 11, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, activated."""
        return functional.silu(self.left(x) + self.right(x))


class Clip(nn.Module):
    """Convolutions in space, then in time, around which the input goes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 7, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False),
            nn.BatchNorm3d(7),
            nn.ReLU(),
            nn.Conv3d(7, 9, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(9),
            nn.ReLU(),
        )
        self.left = nn.Sequential(
            nn.Conv3d(9, 12, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.BatchNorm3d(12),
            nn.ReLU(),
            nn.Conv3d(12, 10, (3, 1, 1), (2, 1, 1), (1, 0, 0), bias=False),
            nn.BatchNorm3d(10),
        )
        self.right = nn.Sequential(
            nn.Conv3d(9, 10, 1, 2, bias=False), nn.BatchNorm3d(10)
        )
        self.same = nn.Conv3d(10, 10, 3, padding=1)
        self.last = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As in R(2+1)D, with one block."""
        x = self.stem(x)
        x = functional.relu(self.left(x) + self.right(x))
        x = functional.relu(self.same(x) + x)
        return self.last(x.mean((2, 3, 4)))


class SqueezeExcite(nn.Module):
    """A depthwise convolution whose channels are weighted by their means."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Conv2d(5, 12, 1)
        self.deep = nn.Conv2d(12, 12, 5, stride=2, padding=2, groups=12)
        self.norm = nn.BatchNorm2d(12)
        self.down, self.up = nn.Conv2d(12, 3, 1), nn.Conv2d(3, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mobile networks' block."""
        y = functional.hardswish(self.norm(self.deep(self.spread(x))))
        scale = self.up(functional.relu(self.down(y.mean((2, 3), keepdim=True))))
        return y * functional.hardsigmoid(scale)


class Hourglass(nn.Module):
    """Down, up again by two ways, and joined with what was before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 7, 3, padding=1)
        self.low = nn.Conv2d(7, 9, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(9, 7, 2, stride=2)
        self.last = nn.Conv2d(23, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As in a U-Net."""
        before = functional.leaky_relu(self.first(x), 0.1)
        low = functional.elu(self.low(functional.max_pool2d(before, 2)))
        near = functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return self.last(torch.cat((before, self.up(low), near), 1))


class Mixer(nn.Module):
    """Products, norms and reductions over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(10)
        self.qkv = nn.Linear(10, 30)
        self.out = nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One head of attention."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 10**0.5, -1)
        return functional.gelu(self.out(weights @ v)) + x


class Several(nn.Module):
    """Nested inputs, a keyword, a constant; nested outputs, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.scale = nn.Linear(4, 3)

    def forward(
        self, image: torch.Tensor, more: dict[str, Any], *, gain: torch.Tensor
    ) -> dict[str, Any]:
        """What Python's containers can hold."""
        a, b = more["pair"]
        features = self.conv(image) * self.scale(a)[:, :, None, None] + b
        total = features.sum((1, 2, 3))
        return {"features": [features * gain, (total, None)], "n": 3, "again": total}


def plain(channels: int = 3) -> nn.Module:
    """Convolutions, pools and a classifier."""
    return nn.Sequential(
        nn.Conv2d(channels, 10, 3, padding=1),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(10, 13, (5, 3), padding=(2, 0)),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(78, 6),
    )


def grouped() -> nn.Module:
    """Grouped convolutions of several kinds."""
    return nn.Sequential(
        nn.Conv2d(6, 9, 3, groups=3, padding=1),
        nn.Hardtanh(),
        nn.Conv2d(9, 18, 3, groups=9, padding=1, stride=2),
        nn.GroupNorm(3, 18),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(1),
    )


def deep(channels: int = 16) -> nn.Module:
    """Layers that pruning finds worth its while."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels + 3, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels + 3, 5, 3),
    )


def volume() -> nn.Module:
    """Convolutions and pools with depth, as in C3D."""
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(8, 13, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(2, padding=(0, 1, 1)),
        nn.Conv3d(13, 6, (3, 1, 5), padding="same"),
        nn.AvgPool3d(2, stride=1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def grouped_volume() -> nn.Module:
    """Grouped, depthwise and transposed convolutions with depth."""
    return nn.Sequential(
        nn.Conv3d(4, 6, (2, 3, 1), groups=2, padding=(1, 0, 2), dilation=(2, 1, 1)),
        nn.Conv3d(6, 12, 3, groups=6, padding=1, stride=(1, 2, 3)),
        nn.Hardtanh(),
        nn.Conv3d(12, 12, 3, groups=12, padding=1),
        nn.ConvTranspose3d(12, 5, 2, stride=2),
        nn.GroupNorm(1, 5),
        nn.ConvTranspose3d(5, 4, 3, stride=(1, 2, 1), padding=1),
        nn.AdaptiveMaxPool3d((3, 2, 4)),
    )


def line() -> nn.Module:
    """Convolutions over one dimension."""
    return nn.Sequential(
        nn.Conv1d(4, 7, 5, stride=2), nn.Tanh(), nn.Conv1d(7, 3, 3, padding=1)
    )


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (plain, (3, 13, 11)),
    "residual": (Residual, (6, 9, 7)),
    "squeeze-excite": (SqueezeExcite, (5, 7, 10)),
    "hourglass": (Hourglass, (3, 6, 10)),
    "grouped": (grouped, (6, 8, 5)),
    "deep": (deep, (3, 12, 17)),
    "line": (line, (4, 23)),
    "clip": (Clip, (3, 5, 13, 15)),
    "volume": (volume, (3, 5, 9, 11)),
    "grouped volume": (grouped_volume, (4, 3, 7, 9)),
    "one voxel": (lambda: nn.Conv3d(5, 6, 3, padding=1), (5, 1, 1, 1)),
    "mixer": (Mixer, (7, 10)),
    "one pixel": (lambda: nn.Conv2d(5, 6, 3, padding=1), (5, 1, 1)),
}
"""Networks, and the shape of what they take without the batch."""

TOLERANCE: Mapping[str, float] = {"mixer": 2e-5}
"""Largest difference relative to the largest value, where it is not `USUAL`."""

USUAL = 1e-5


def network(name: str, batch: int = 1) -> tuple[nn.Module, torch.Tensor]:
    """A network with fixed random weights, and an input for it."""
    make, shape = NETWORKS[name]
    return seeded(make), sample(batch, *shape)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with fixed random weights and statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return randomized(make()).eval()
