"""The inputs of a layer as columns that its weights are multiplied with."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from edgec.compress.quantization.network import Layer


def columns(layer: Layer, x: Tensor) -> Tensor:
    """`[groups, K, P]` for an input: K weights of a row, P places of the output."""
    if not layer.dimensions:
        return x.reshape(1, -1, x.shape[-1]).transpose(1, 2)
    dimensions = layer.dimensions
    if x.dim() == dimensions + 1:
        x = x.unsqueeze(0)
    stride, padding, dilation = _geometry(layer)
    window = layer.weight.shape[2:]
    # torch's `pad` starts with the last dimension.
    x = pad(x, [size for pair in reversed(padding) for size in pair])
    for i in range(dimensions):
        reach = (window[i] - 1) * dilation[i] + 1
        x = x.unfold(2 + i, reach, stride[i])[..., :: dilation[i]]
    batch, channels = x.shape[:2]
    places = x.shape[2 : 2 + dimensions].numel()
    x = x.reshape(batch, layer.groups, channels // layer.groups, places, -1)
    return x.permute(1, 2, 4, 0, 3).reshape(layer.groups, -1, batch * places)


def moments(layer: Layer, inputs: list[Tensor]) -> Tensor:
    """`[groups, K, K]` float64: mean of x xᵀ over the columns x of all inputs."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for x in inputs:
        found = columns(layer, x)
        total = total + (found @ found.transpose(1, 2)).double()
        count += found.shape[2]
    return total / count


def _geometry(
    layer: Layer,
) -> tuple[list[int], list[tuple[int, int]], list[int]]:
    """Stride, padding before and after, and dilation in each dimension."""
    count = layer.dimensions
    stride, padding, dilation = [*layer.node.args[3:6], *[None] * 3][:3]
    strides = _each(stride, count, 1)
    dilations = _each(dilation, count, 1)
    if padding == "same":
        reach = [
            (size - 1) * step
            for size, step in zip(layer.weight.shape[2:], dilations, strict=True)
        ]
        return strides, [(r // 2, r - r // 2) for r in reach], dilations
    sizes = _each(None if padding == "valid" else padding, count, 0)
    return strides, [(size, size) for size in sizes], dilations


def _each(argument: object, count: int, default: int) -> list[int]:
    if argument is None:
        return [default] * count
    sizes = [argument] if isinstance(argument, int) else cast("list[int]", argument)
    return list(sizes) * count if len(sizes) == 1 else list(sizes)
