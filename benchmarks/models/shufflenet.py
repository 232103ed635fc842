"""ShuffleNet V2 at width 1 (Ma et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.models.layers import conv_norm_act

STAGES = ((116, 4), (232, 8), (464, 4))
"""Channels and number of units of each stage (table 5 of the paper)."""


def shuffle_channels(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels of `(N, C, H, W)`."""
    batch, channels, height, width = x.shape
    halves = x.reshape(batch, 2, channels // 2, height, width)
    return halves.transpose(1, 2).reshape(batch, channels, height, width)


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_act(inputs, outputs, 1),
        conv_norm_act(
            outputs, outputs, 3, stride=stride, groups=outputs, activation=None
        ),
        conv_norm_act(outputs, outputs, 1),
    )


class BasicUnit(nn.Module):
    """Half of the channels pass unchanged, the other half through a branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _branch(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        return shuffle_channels(torch.cat([kept, self.branch(changed)], dim=1))


class DownUnit(nn.Module):
    """Halve the resolution; both branches see all channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(
            conv_norm_act(inputs, inputs, 3, stride=2, groups=inputs, activation=None),
            conv_norm_act(inputs, outputs // 2, 1),
        )
        self.branch = _branch(inputs, outputs // 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H / 2, W / 2)`."""
        return shuffle_channels(torch.cat([self.shortcut(x), self.branch(x)], dim=1))


def shufflenet_v2_x1() -> nn.Sequential:
    """Return ShuffleNet V2: `(N, 3, H, W)` to `(N, 1000)`."""
    modules: list[nn.Module] = [
        conv_norm_act(3, 24, 3, stride=2),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = 24
    for channels, count in STAGES:
        modules.append(DownUnit(inputs, channels))
        modules += [BasicUnit(channels) for _ in range(count - 1)]
        inputs = channels
    return nn.Sequential(
        *modules,
        conv_norm_act(inputs, 1024, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1024, 1000),
    )
