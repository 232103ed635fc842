"""A small residual network in the manner of ResNet (He et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10
WIDTH = 32
"""Channels of the first stage; the second has twice as many."""


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, `[N, C, H, W]` to `[N, F, H/s, W/s]`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Make a block; the shortcut is a 1x1 convolution where shapes differ."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class DigitNet(nn.Module):
    """`[N, 1, H, W]` images to `[N, 10]` logits."""

    def __init__(self) -> None:
        """Make the network with torch's default random weights."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            Block(WIDTH, WIDTH, 1),
            Block(WIDTH, 2 * WIDTH, 2),
            Block(2 * WIDTH, 2 * WIDTH, 1),
        )
        self.head = nn.Linear(2 * WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        y = self.stages(self.stem(x))
        return self.head(y.mean(dim=(2, 3)))
