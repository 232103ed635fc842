"""Sparse linear layers compiled for real, against torch in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import edgec
from edgec.target import Target
from tests.effort import examples
from tests.lanes import runnable_targets

targets = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)


@dataclass(frozen=True)
class Layer:
    """A linear layer pruned in blocks of filters, and its input."""

    lead: tuple[int, ...]
    channels: int
    filters: int
    block: int
    density: float
    is_permuted: bool
    has_bias: bool
    end: str
    seed: int

    def build(self) -> tuple[nn.Module, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        linear = nn.Linear(self.channels, self.filters, bias=self.has_bias)
        blocks = -(-self.filters // self.block)
        keep = torch.rand(blocks, self.channels, generator=generator) < self.density
        keep = keep.repeat_interleave(self.block, 0)[: self.filters]
        if self.is_permuted:
            keep = keep[torch.randperm(self.filters, generator=generator)]
        with torch.no_grad():
            linear.weight.normal_(generator=generator).mul_(keep)
        x = torch.randn(*self.lead, self.channels, generator=generator)
        return End(linear, self.end).eval(), x


class End(nn.Module):
    """A linear layer and what is fused into it."""

    def __init__(self, linear: nn.Linear, end: str) -> None:
        super().__init__()
        self.linear, self.end = linear, end
        self.scale = nn.Parameter(torch.linspace(0.5, 2, linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        if self.end == "relu":
            return y.relu()
        if self.end == "scale":
            return (y * self.scale).relu()
        if self.end == "add":
            return y + x[..., :1] * 2 + y.new_ones(y.shape)
        return y


layers = st.builds(
    Layer,
    lead=st.sampled_from([(1,), (2,), (3, 2), (1, 17), (33,), (64,), (2, 3, 9)]),
    channels=st.integers(1, 70),
    filters=st.integers(1, 70),
    block=st.sampled_from([1, 2, 4, 8, 16, 64]),
    density=st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    is_permuted=st.booleans(),
    has_bias=st.booleans(),
    end=st.sampled_from(["", "relu", "scale", "add"]),
    seed=st.integers(0, 2**16),
)


@targets
@examples(12)
@given(layer=layers, threads=st.sampled_from([1, 2]))
def test_sparse_linear_layers(target: Target, layer: Layer, threads: int) -> None:
    check(target, layer, threads)


@targets
@examples(6)
@given(layer=layers, rows=st.integers(60, 230), block=st.sampled_from([8, 16, 64]))
def test_few_columns_for_many_rows(
    target: Target, layer: Layer, rows: int, block: int
) -> None:
    """Where so little is kept that lanes stay on the filters, rows are outside."""
    layer = replace(layer, lead=(rows,), block=block, is_permuted=False, density=0.05)
    check(target, layer, threads=2)


def check(target: Target, layer: Layer, threads: int) -> None:
    """The compiled layer agrees with torch's in float64."""
    model, x = layer.build()
    options = edgec.Options(sparsity="always", use_cache=False)
    compiled = edgec.compile(model, x, target=target, threads=threads, options=options)
    with torch.no_grad():
        expected = model.double()(x.double())
    largest = float(expected.abs().max().clamp(min=1))
    error = float((compiled(x).double() - expected).abs().max())
    assert error <= 1e-5 * largest
