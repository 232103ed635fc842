"""Quantized models written by hand with torch's `quantized_decomposed` ops."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn import functional

# Registers the ops.
import_module("torch.ao.quantization.fx._decomposed")

OPS: Any = torch.ops.quantized_decomposed
"""The namespace has no attributes that a type checker knows."""

RANGES = {
    torch.int8: ((-128, 127), (-127, 127), (-8, 7)),
    torch.uint8: ((0, 255), (0, 127)),
}


def fake_quantize(
    x: torch.Tensor,
    scale: float,
    zero_point: int,
    ends: tuple[int, int] = (-128, 127),
    dtype: torch.dtype = torch.int8,
) -> torch.Tensor:
    """Quantized and dequantized per tensor."""
    q = OPS.quantize_per_tensor(x, scale, zero_point, *ends, dtype)
    return OPS.dequantize_per_tensor(q, scale, zero_point, *ends, dtype)


class QuantizedLayer(nn.Module):
    """A layer with an int8 weight per channel."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.stride = layer.stride if isinstance(layer, nn.Conv2d) else ()
        self.padding = layer.padding if isinstance(layer, nn.Conv2d) else ()
        weight = layer.weight.detach()
        scale = weight.flatten(1).abs().amax(1) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", torch.zeros_like(scale, dtype=torch.int64))
        args = (self.scale, self.zero_point, 0, -127, 127, torch.int8)
        self.register_buffer("weight", OPS.quantize_per_channel(weight, *args))
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In float32, with the dequantized weight."""
        weight = OPS.dequantize_per_channel(
            self.weight, self.scale, self.zero_point, 0, -127, 127, torch.int8
        )
        if weight.dim() == 2:
            return functional.linear(x, weight, self.bias)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class QuantizedCnn(nn.Module):
    """Convolutions, one of them in float32, a sum and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = QuantizedLayer(nn.Conv2d(3, 13, 3, padding=1))
        self.middle = nn.Conv2d(13, 13, 3, padding=1)
        self.last = QuantizedLayer(nn.Conv2d(13, 13, 3, padding=1))
        self.head = QuantizedLayer(nn.Linear(13, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations are quantized per tensor, signed and unsigned."""
        x = fake_quantize(x, 0.03, 5)
        x = functional.relu(self.stem(x))
        x = fake_quantize(x, 0.011, 0, (0, 255), torch.uint8)
        x = functional.relu(self.middle(x)) + x
        x = fake_quantize(x, 0.02, 0, (0, 255), torch.uint8)
        y = fake_quantize(self.last(x), 0.017, -3)
        x = fake_quantize(functional.relu(x + y), 0.02, -128)
        x = functional.max_pool2d(x, 2).mean((2, 3))
        return self.head(fake_quantize(x, 0.004, -128))


class QuantizedMlp(nn.Module):
    """Three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = QuantizedLayer(nn.Linear(33, 50))
        self.second = nn.Linear(50, 41)
        self.third = QuantizedLayer(nn.Linear(41, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With activations between them."""
        x = functional.gelu(self.first(fake_quantize(x, 0.025, -7)))
        x = functional.silu(self.second(fake_quantize(x, 0.009, -100)))
        return fake_quantize(self.third(fake_quantize(x, 0.004, -60)), 0.003, 0)
