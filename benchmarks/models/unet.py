"""A U-Net (Ronneberger et al. 2015) of three levels, padded, with batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.models.layers import conv_norm_act

BASE_CHANNELS = 64
"""Channels at full resolution; each level doubles them."""


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm_act(inputs, outputs, 3), conv_norm_act(outputs, outputs, 3)
    )


class Level(nn.Module):
    """Encode, run `inner` at half the resolution, join with the skip, decode."""

    def __init__(self, inputs: int, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.encode = _double(inputs, channels)
        self.down = nn.MaxPool2d(2)
        self.inner = inner
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.decode = _double(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H, W)`; H and W must be even."""
        skip = self.encode(x)
        raised = self.up(self.inner(self.down(skip)))
        return self.decode(torch.cat([skip, raised], dim=1))


def unet() -> nn.Sequential:
    """Return the network with two classes: `(N, 3, H, W)` to `(N, 2, H, W)`.

    H and W must be multiples of 8.
    """
    base = BASE_CHANNELS
    inner: nn.Module = _double(4 * base, 8 * base)
    inner = Level(2 * base, 4 * base, inner)
    inner = Level(base, 2 * base, inner)
    return nn.Sequential(Level(3, base, inner), nn.Conv2d(base, 2, 1))
