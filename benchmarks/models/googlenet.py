"""GoogLeNet (Szegedy et al. 2014) with batch norm, without auxiliary classifiers.

The branch that the paper draws with a 5×5 convolution has a 3×3 here, as in the trained
weights that are commonly distributed; the parameter count is theirs.
"""

from __future__ import annotations

from torch import nn

from benchmarks.models.layers import Concat, conv_norm_act, set_norm_eps

EPS = 1e-3
"""Batch-norm epsilon of this family."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, kernel, stride=stride)


def _inception(
    inputs: int,
    single: int,
    middle: tuple[int, int],
    wide: tuple[int, int],
    pooled: int,
) -> Concat:
    """Return the four branches: 1×1; 1×1, 3×3; 1×1, 3×3; pool, 1×1."""
    return Concat(
        _conv(inputs, single, 1),
        nn.Sequential(_conv(inputs, middle[0], 1), _conv(*middle, 3)),
        nn.Sequential(_conv(inputs, wide[0], 1), _conv(*wide, 3)),
        nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _conv(inputs, pooled, 1)),
    )


def googlenet() -> nn.Sequential:
    """Return GoogLeNet: `(N, 3, H, W)` to `(N, 1000)`."""
    model = nn.Sequential(
        _conv(3, 64, 7, 2),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        _conv(64, 64, 1),
        _conv(64, 192, 3),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        _inception(192, 64, (96, 128), (16, 32), 32),
        _inception(256, 128, (128, 192), (32, 96), 64),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        _inception(480, 192, (96, 208), (16, 48), 64),
        _inception(512, 160, (112, 224), (24, 64), 64),
        _inception(512, 128, (128, 256), (24, 64), 64),
        _inception(512, 112, (144, 288), (32, 64), 64),
        _inception(528, 256, (160, 320), (32, 128), 128),
        nn.MaxPool2d(2, stride=2, ceil_mode=True),
        _inception(832, 256, (160, 320), (32, 128), 128),
        _inception(832, 384, (192, 384), (48, 128), 128),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1024, 1000),
    )
    set_norm_eps(model, EPS)
    return model
