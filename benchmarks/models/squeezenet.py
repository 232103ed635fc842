"""SqueezeNet 1.1 (Iandola et al. 2016, the cheaper revision of its authors)."""

from __future__ import annotations

from torch import nn

from benchmarks.models.layers import Concat, relu


def _fire(inputs: int, squeezed: int, expanded: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, squeezed, 1),
        relu(),
        Concat(
            nn.Sequential(nn.Conv2d(squeezed, expanded, 1), relu()),
            nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), relu()),
        ),
    )


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def squeezenet1_1() -> nn.Sequential:
    """Return SqueezeNet 1.1: `(N, 3, H, W)` to `(N, 1000)`."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        relu(),
        _pool(),
        _fire(64, 16, 64),
        _fire(128, 16, 64),
        _pool(),
        _fire(128, 32, 128),
        _fire(256, 32, 128),
        _pool(),
        _fire(256, 48, 192),
        _fire(384, 48, 192),
        _fire(384, 64, 256),
        _fire(512, 64, 256),
        nn.Dropout(),
        nn.Conv2d(512, 1000, 1),
        relu(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
