"""Zeros in blocks, made here and not by `edgec.compress`.

The compiler must find what anybody's pruner left. These masks are drawn at random: only
time and agreement are measured on them, never accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def punch(weight: Tensor, block: int, density: float, seed: int) -> None:
    """Zero all but `density` of the granules, each `block` filters x one column."""
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-weight.shape[0] // block)
    scores = torch.rand((blocks, *weight.shape[1:]), generator=generator)
    kept = max(1, round(density * scores.numel()))
    limit = scores.flatten().kthvalue(scores.numel() - kept + 1).values
    keep = (scores >= limit).repeat_interleave(block, 0)[: weight.shape[0]]
    with torch.no_grad():
        weight.mul_(keep)


def punch_model(
    model: nn.Module,
    block: int,
    density: float,
    is_pruned: Callable[[Layer], bool],
    seed: int = 0,
) -> None:
    """Punch every layer but the first convolution that `is_pruned` says."""
    layers = [m for m in model.modules() if isinstance(m, Layer)]
    for number, layer in enumerate(layers[1:]):
        if is_pruned(layer):
            punch(layer.weight, block, density, seed + number)


def is_plain(layer: Layer) -> bool:
    """Convolutions of one group."""
    return not isinstance(layer, nn.Linear) and layer.groups == 1


def is_pointwise(layer: Layer) -> bool:
    """Plain convolutions whose window is one position."""
    return is_plain(layer) and layer.weight[0, 0].numel() == 1
