"""Zeros in blocks, made here and not by `edgec.compress`.

The compiler must find what anybody's pruner left. These masks are drawn at random: only
time and agreement are measured on them, never accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Flat = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
Layer = Flat | nn.RNNBase


def punch(
    weight: Tensor, block: int, density: float, seed: int, channels: int = 1
) -> None:
    """Zero all but `density` of the granules: `block` filters x `channels` x one tap.

    `channels` is 1 for kernels in float32; those on bytes read 4 at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks, groups = -(-weight.shape[0] // block), -(-weight.shape[1] // channels)
    scores = torch.rand((blocks, groups, *weight.shape[2:]), generator=generator)
    kept = max(1, round(density * scores.numel()))
    limit = scores.flatten().kthvalue(scores.numel() - kept + 1).values
    keep = (scores >= limit).repeat_interleave(block, 0)[: weight.shape[0]]
    keep = keep.repeat_interleave(channels, 1)[:, : weight.shape[1]]
    with torch.no_grad():
        weight.mul_(keep)


def punch_model(
    model: nn.Module,
    block: int,
    density: float,
    is_pruned: Callable[[Layer], bool],
    seed: int = 0,
    channels: int = 1,
) -> None:
    """Punch the layers that `is_pruned` says, but no convolution that comes first."""
    layers = [m for m in model.modules() if isinstance(m, Layer)]
    if not isinstance(layers[0], nn.RNNBase):
        del layers[0]
    weights = [
        parameter
        for layer in layers
        if is_pruned(layer)
        for parameter in layer.parameters()
        if parameter.dim() > 1
    ]
    for number, weight in enumerate(weights):
        punch(weight, block, density, seed + number, channels)


def is_plain(layer: Layer) -> bool:
    """Convolutions of one group."""
    return not isinstance(layer, nn.Linear | nn.RNNBase) and layer.groups == 1


def is_pointwise(layer: Layer) -> bool:
    """Plain convolutions whose window is one position."""
    if isinstance(layer, nn.Linear | nn.RNNBase):
        return False
    return layer.groups == 1 and layer.weight[0, 0].numel() == 1


def is_anything(layer: Layer) -> bool:
    """Every layer."""
    del layer
    return True
