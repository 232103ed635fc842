"""VGG-16 (Simonyan and Zisserman 2014, configuration D, without batch norm)."""

from __future__ import annotations

from torch import nn

from benchmarks.models.layers import relu

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3×3 convolutions of each stage; a max pool ends a stage."""


def vgg16_features() -> nn.Sequential:
    """Return the thirteen convolutions: `(N, 3, H, W)` to `(N, 512, H/32, W/32)`."""
    modules: list[nn.Module] = []
    inputs = 3
    for channels, count in STAGES:
        for _ in range(count):
            modules += [nn.Conv2d(inputs, channels, 3, padding=1), relu()]
            inputs = channels
        modules.append(nn.MaxPool2d(2))
    return nn.Sequential(*modules)


def vgg16() -> nn.Sequential:
    """Return the whole network: `(N, 3, 224, 224)` to `(N, 1000)`."""
    return nn.Sequential(
        *vgg16_features(),
        nn.Flatten(),
        nn.Linear(512 * 7 * 7, 4096),
        relu(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        relu(),
        nn.Dropout(),
        nn.Linear(4096, 1000),
    )
