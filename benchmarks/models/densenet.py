"""DenseNet-121 (Huang et al. 2016), growth rate 32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.models.layers import conv_norm_act, relu

GROWTH = 32
"""Channels that each dense layer adds."""

BLOCKS = (6, 12, 24, 16)
"""Dense layers in each block."""


class DenseLayer(nn.Module):
    """Append `GROWTH` channels computed from all channels so far."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            relu(),
            conv_norm_act(inputs, 4 * GROWTH, 1),
            nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C + GROWTH, H, W)`."""
        return torch.cat([x, self.branch(x)], dim=1)


def _transition(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        relu(),
        nn.Conv2d(inputs, inputs // 2, 1, bias=False),
        nn.AvgPool2d(2),
    )


def densenet121() -> nn.Sequential:
    """Return DenseNet-121: `(N, 3, H, W)` to `(N, 1000)`."""
    modules: list[nn.Module] = [
        conv_norm_act(3, 64, 7, stride=2),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    channels = 64
    for number, count in enumerate(BLOCKS):
        for _ in range(count):
            modules.append(DenseLayer(channels))
            channels += GROWTH
        if number < len(BLOCKS) - 1:
            modules.append(_transition(channels))
            channels //= 2
    return nn.Sequential(
        *modules,
        nn.BatchNorm2d(channels),
        relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 1000),
    )
