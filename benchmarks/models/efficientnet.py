"""EfficientNet-B0 (Tan and Le 2019)."""

from __future__ import annotations

from torch import nn

from benchmarks.models.layers import SqueezeExcite, conv_norm_act
from benchmarks.models.mobilenet import InvertedResidual

STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
"""Expansion factor, kernel, channels, repeats, first stride (table 1 of the paper)."""


def _silu() -> nn.Module:
    return nn.SiLU(inplace=True)


def efficientnet_b0() -> nn.Sequential:
    """Return EfficientNet-B0: `(N, 3, H, W)` to `(N, 1000)`."""
    modules: list[nn.Module] = [conv_norm_act(3, 32, 3, stride=2, activation=_silu)]
    inputs = 32
    for expansion, kernel, channels, repeats, first_stride in STAGES:
        for index in range(repeats):
            expanded = expansion * inputs
            block = InvertedResidual(
                inputs,
                expanded,
                channels,
                kernel=kernel,
                stride=first_stride if index == 0 else 1,
                activation=_silu,
                gate=SqueezeExcite(expanded, inputs // 4, _silu, nn.Sigmoid),
            )
            modules.append(block)
            inputs = channels
    return nn.Sequential(
        *modules,
        conv_norm_act(inputs, 1280, 1, activation=_silu),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1280, 1000),
    )
