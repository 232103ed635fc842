"""What a network may give in bfloat16: torch eager in float64, with an error bound.

Each value is a range that holds what any order of float32 sums gives. Layers that
compute in bfloat16 round both ends of their input, since rounding is monotone: the
range stays as narrow as float32 sums are, but for numbers in the middle between two.
Where a value may be kept in bfloat16 for one reader while another is in float32, the
range holds both, and what follows has a worst-case bound.

Source: running error analysis, as in Higham, "Accuracy and Stability of Numerical
Algorithms" (2002), chapter 3.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.pair_convs import SUM

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Weighted = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | Transposed
AveragePool = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d


class Residual(nn.Module):
    """`x + f(x)`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return x + self.inner(x)


class Beside(nn.Module):
    """`x` and `f(x)` side by side."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """More channels than `x`."""
        return torch.cat([x, self.inner(x)], 1)


class Mean(nn.Module):
    """Of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """A matrix."""
        return x.flatten(2).mean(2)


@dataclass(frozen=True)
class Range:
    """The least and the largest value of each element, in float64."""

    low: Tensor
    high: Tensor
    may_round: bool = False
    """Whether it is kept in bfloat16 if a layer in bfloat16 reads it."""

    @property
    def center(self) -> Tensor:
        """The middle of each element."""
        return (self.low + self.high) / 2

    @property
    def off(self) -> Tensor:
        """How far each element may be from the middle."""
        return (self.high - self.low) / 2

    @property
    def size(self) -> Tensor:
        """The largest absolute values."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def ends(self, function: Callable[[Tensor], Tensor]) -> Range:
        """What a function gives that rises everywhere."""
        return Range(function(self.low), function(self.high), self.may_round)

    def wider(self, off: Tensor) -> Range:
        """With another error."""
        return Range(self.low - off, self.high + off, self.may_round)

    def rounded(self) -> Range:
        """As a layer in bfloat16 reads it."""
        return self.ends(rounded)

    def perhaps_rounded(self) -> Range:
        """As a reader in float32 gets it whose other readers are in bfloat16."""
        if not self.may_round:
            return self
        other = self.rounded()
        low = torch.minimum(self.low, other.low)
        return Range(low, torch.maximum(self.high, other.high), may_round=True)

    def holds(self, found: Tensor) -> bool:
        """Whether all of `found` is in the range."""
        wide = found.double()
        return bool(((self.low <= wide) & (wide <= self.high)).all())


def rounded(values: Tensor) -> Tensor:
    """Float64 numbers with the precision of bfloat16."""
    return values.bfloat16().double()


def network_range(model: nn.Module, x: Tensor, in_bf16: Collection[str]) -> Range:
    """What a model may give whose layers of these module paths are in bfloat16."""
    return _range(model, Range(x.double(), x.double()), "", in_bf16)


def _range(module: nn.Module, x: Range, path: str, in_bf16: Collection[str]) -> Range:
    """What one module of known kind may give."""
    prefix = f"{path}." if path else ""
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            x = _range(child, x, prefix + name, in_bf16)
        return x
    if isinstance(module, Weighted):
        return _layer(module, x, is_bf16=path in in_bf16)
    if isinstance(module, Residual | Beside):
        x = x.perhaps_rounded()  # for the layer inside
        y = _range(module.inner, x, prefix + "inner", in_bf16)
        return _sum(x, y) if isinstance(module, Residual) else _both(x, y)
    if isinstance(module, AveragePool):
        x = x.perhaps_rounded()  # for a layer behind it
    if isinstance(module, Mean | AveragePool):
        terms = x.low[0, 0].numel()  # of a window: no more
        return x.ends(module).wider(SUM * terms * module(x.size))
    return x.ends(module)  # activations and maxima: they rise, and are exact


def _sum(x: Range, y: Range) -> Range:
    total = Range(x.low + y.low, x.high + y.high, x.may_round or y.may_round)
    return total.wider(SUM * (x.size + y.size))


def _both(x: Range, y: Range) -> Range:
    low, high = torch.cat([x.low, y.low], 1), torch.cat([x.high, y.high], 1)
    return Range(low, high, x.may_round or y.may_round)


def _layer(layer: Weighted, x: Range, *, is_bf16: bool) -> Range:
    """A sum of products and a bias; each of its terms may add an error of `SUM`."""
    weight = layer.weight.detach().double()
    filters = weight.transpose(0, 1) if isinstance(layer, Transposed) else weight
    bias = torch.zeros(len(filters)) if layer.bias is None else layer.bias.detach()
    x, weight = (x.rounded(), rounded(weight)) if is_bf16 else (x, weight)
    center = _product(layer, weight, bias, x.center)
    spread = _product(layer, weight.abs(), torch.zeros_like(bias), x.off)
    size = _product(layer, weight.abs(), bias.abs(), x.size)
    off = spread + SUM * (filters[0].numel() + 1) * size
    return Range(center - off, center + off, may_round=is_bf16)


def _product(layer: Weighted, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """The layer with other numbers."""
    other = copy.deepcopy(layer)
    other.weight, other.bias = nn.Parameter(weight), nn.Parameter(bias.double())
    return other(x).detach()
