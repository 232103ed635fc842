"""Inception v3 (Szegedy et al. 2015) without the auxiliary classifier."""

from __future__ import annotations

from torch import nn

from benchmarks.models.layers import Concat, conv_norm_act, set_norm_eps

EPS = 1e-3
"""Batch-norm epsilon of this family."""


def _average() -> nn.Module:
    return nn.AvgPool2d(3, stride=1, padding=1)


def _block_35(inputs: int, pooled: int) -> Concat:
    """Return the block at 35×35: 1×1; 5×5; two 3×3; pool."""
    return Concat(
        conv_norm_act(inputs, 64, 1),
        nn.Sequential(conv_norm_act(inputs, 48, 1), conv_norm_act(48, 64, 5)),
        nn.Sequential(
            conv_norm_act(inputs, 64, 1),
            conv_norm_act(64, 96, 3),
            conv_norm_act(96, 96, 3),
        ),
        nn.Sequential(_average(), conv_norm_act(inputs, pooled, 1)),
    )


def _reduce_35(inputs: int) -> Concat:
    """Return the block from 35×35 to 17×17."""
    return Concat(
        conv_norm_act(inputs, 384, 3, stride=2, padding=0),
        nn.Sequential(
            conv_norm_act(inputs, 64, 1),
            conv_norm_act(64, 96, 3),
            conv_norm_act(96, 96, 3, stride=2, padding=0),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block_17(inputs: int, width: int) -> Concat:
    """Return the block at 17×17, whose 7×7 are split into 1×7 and 7×1."""
    return Concat(
        conv_norm_act(inputs, 192, 1),
        nn.Sequential(
            conv_norm_act(inputs, width, 1),
            conv_norm_act(width, width, (1, 7)),
            conv_norm_act(width, 192, (7, 1)),
        ),
        nn.Sequential(
            conv_norm_act(inputs, width, 1),
            conv_norm_act(width, width, (7, 1)),
            conv_norm_act(width, width, (1, 7)),
            conv_norm_act(width, width, (7, 1)),
            conv_norm_act(width, 192, (1, 7)),
        ),
        nn.Sequential(_average(), conv_norm_act(inputs, 192, 1)),
    )


def _reduce_17(inputs: int) -> Concat:
    """Return the block from 17×17 to 8×8."""
    return Concat(
        nn.Sequential(
            conv_norm_act(inputs, 192, 1),
            conv_norm_act(192, 320, 3, stride=2, padding=0),
        ),
        nn.Sequential(
            conv_norm_act(inputs, 192, 1),
            conv_norm_act(192, 192, (1, 7)),
            conv_norm_act(192, 192, (7, 1)),
            conv_norm_act(192, 192, 3, stride=2, padding=0),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _split_3x3(channels: int) -> Concat:
    return Concat(
        conv_norm_act(channels, 384, (1, 3)), conv_norm_act(channels, 384, (3, 1))
    )


def _block_8(inputs: int) -> Concat:
    """Return the block at 8×8, with 1×3 and 3×1 side by side."""
    return Concat(
        conv_norm_act(inputs, 320, 1),
        nn.Sequential(conv_norm_act(inputs, 384, 1), _split_3x3(384)),
        nn.Sequential(
            conv_norm_act(inputs, 448, 1), conv_norm_act(448, 384, 3), _split_3x3(384)
        ),
        nn.Sequential(_average(), conv_norm_act(inputs, 192, 1)),
    )


def inception_v3() -> nn.Sequential:
    """Return Inception v3: `(N, 3, 299, 299)` to `(N, 1000)`; at least 75×75."""
    model = nn.Sequential(
        conv_norm_act(3, 32, 3, stride=2, padding=0),
        conv_norm_act(32, 32, 3, padding=0),
        conv_norm_act(32, 64, 3),
        nn.MaxPool2d(3, stride=2),
        conv_norm_act(64, 80, 1),
        conv_norm_act(80, 192, 3, padding=0),
        nn.MaxPool2d(3, stride=2),
        _block_35(192, 32),
        _block_35(256, 64),
        _block_35(288, 64),
        _reduce_35(288),
        _block_17(768, 128),
        _block_17(768, 160),
        _block_17(768, 160),
        _block_17(768, 192),
        _reduce_17(768),
        _block_8(1280),
        _block_8(2048),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(2048, 1000),
    )
    set_norm_eps(model, EPS)
    return model
