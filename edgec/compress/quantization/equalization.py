"""Scales moved between layers, so that the rows of each have ranges alike.

relu(s x) = s relu(x) for s > 0: a channel may leave one layer divided by s, if the next
multiplies it by s. Source: Nagel et al., Data-Free Quantization (2019), section 4.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgec.compress.quantization.network import Layer, Network

HOMOGENEOUS = frozenset[Any](
    {torch.ops.aten.relu.default, torch.ops.aten.max_pool2d.default}
)
"""What commutes with a positive factor for each channel."""

ROUNDS = 20
"""Over all pairs, at most; each pair changes what its neighbours see."""

TOLERANCE = 1e-3
"""Of a factor to 1, below which nothing is left to do."""


def equalize(network: Network) -> list[tuple[Layer, Layer]]:
    """Equalize all pairs of layers with nothing but a ReLU between; returns them."""
    pairs = _pairs(network)
    for _ in range(ROUNDS):
        changes = [_equalize_pair(first, second) for first, second in pairs]
        if max(changes, default=0.0) < TOLERANCE:
            break
    return pairs


def _pairs(network: Network) -> list[tuple[Layer, Layer]]:
    pairs: list[tuple[Layer, Layer]] = []
    for first in network.layers.values():
        node = first.node
        while len(node.users) == 1 and next(iter(node.users)).target in HOMOGENEOUS:
            node = next(iter(node.users))
        users = list(node.users)
        second = network.layers.get(users[0]) if len(users) == 1 else None
        if second is not None and second.source is node and _fits(first, second):
            pairs.append((first, second))
    return pairs


def _fits(first: Layer, second: Layer) -> bool:
    """Whether channels of the one are channels of the other, one by one."""
    if bool(first.dimensions) != bool(second.dimensions):
        return False
    return len(first.weight) == len(_columns(second.weight, second)) and (
        second.groups == 1 or _is_depthwise(second)
    )


def _is_depthwise(layer: Layer) -> bool:
    return layer.groups == len(layer.weight) and layer.weight.shape[1] == 1


def _columns(weight: Tensor, layer: Layer) -> Tensor:
    """A view of a weight with the input channel first."""
    return weight if _is_depthwise(layer) else weight.transpose(0, 1)


def _equalize_pair(first: Layer, second: Layer) -> float:
    """Give both layers the ranges √(r₁ r₂), eq. 11; returns the largest change."""
    rows = first.weight.flatten(1).abs().amax(dim=1).double()
    columns = _columns(second.weight, second).flatten(1).abs().amax(dim=1).double()
    factor = (rows / columns).sqrt().float()
    # A channel that is zero on either side has no range to move.
    usable = (rows > 0) & (columns > 0) & torch.isfinite(factor) & (factor > 0)
    factor = torch.where(usable, factor, 1.0)
    first.weight = first.weight / _over(factor, first.weight)
    if first.bias is not None:
        first.bias = first.bias / factor
    moved = _columns(second.weight, second)
    moved = moved * _over(factor, moved)
    second.weight = _columns(moved, second).contiguous()
    return float((factor - 1).abs().max())


def _over(factor: Tensor, weight: Tensor) -> Tensor:
    return factor.reshape(-1, *[1] * (weight.dim() - 1))
