"""Networks with depth: what compiled code computes, compared with torch eager."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import edgec
from edgec.options import Options
from tests.importing import sample
from tests.lanes import runnable_targets
from tests.networks import seeded

NO_CACHE = Options(use_cache=False)

TOLERANCE = 2e-5
"""Largest difference relative to the largest value."""


def assert_like_eager(
    model: nn.Module,
    x: torch.Tensor,
    target: str | edgec.Target = "native",
    options: Options = NO_CACHE,
) -> edgec.CompiledModel:
    """Compile for one thread and compare."""
    compiled = edgec.compile(model, x, target=target, threads=1, options=options)
    with torch.no_grad():
        expected = model(x)
    limit = TOLERANCE * float(expected.abs().max())
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=limit)
    return compiled


def pruned(block: int, density: float) -> nn.Module:
    """Convolutions that keep the same few columns in blocks of filters."""
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv3d(6, 16, 3, padding=1),
            nn.BatchNorm3d(16),
            nn.ReLU(),
            nn.Conv3d(16, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.ReLU(),
            nn.Conv3d(24, 8, (3, 1, 1), (2, 1, 1), (1, 0, 0)),
        )
    )
    generator = torch.Generator().manual_seed(4)
    for weight in model.parameters():
        if weight.dim() == 5:
            shape = (weight.shape[0] // block, 1, *weight.shape[1:])
            keep = torch.rand(shape, generator=generator) < density
            keep = keep.expand(-1, block, *weight.shape[1:]).reshape(weight.shape)
            weight.data *= keep
    return model


@pytest.mark.parametrize("block", [1, 4, 8])
@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_columns(target: edgec.Target, block: int) -> None:
    model = pruned(block, 0.2)
    options = Options(use_cache=False, sparsity="always")
    compiled = assert_like_eager(model, sample(2, 6, 5, 7, 9), target, options)
    kernels = [layer.kernel for layer in compiled.report().layers]
    assert len(kernels) == 3
    assert all(kernel.startswith("columns") for kernel in kernels)


class Folded(nn.Module):
    """Slices become channels between convolutions; slices and rows have gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv3d(2, 3, 3, padding=1)
        self.after = nn.Conv2d(15, 6, 3, padding=1)
        self.last = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x).flatten(1, 2)
        return self.last(self.after(x).unflatten(1, (3, 2)))


class Joined(nn.Module):
    """A concatenation, a gate and a resize between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3, padding=1)
        self.gate = nn.Conv3d(4, 4, 1)
        self.low = nn.Conv3d(4, 3, 3, padding=1)
        self.last = nn.Conv3d(7, 2, (3, 1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.first(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3, 4), keepdim=True)))
        low = self.low(functional.avg_pool3d(x, 2))
        return self.last(torch.cat((x, functional.interpolate(low, x.shape[2:])), 1))


@pytest.mark.parametrize("model", [Folded, Joined])
def test_between_convolutions(model: type[nn.Module]) -> None:
    assert_like_eager(seeded(model), sample(2, 2, 5, 6, 7))


def test_batch_norm_whose_input_is_used_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1))
            self.norm = nn.BatchNorm3d(5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) - functional.max_pool3d(y, 3, 1, 1)

    assert_like_eager(seeded(Twice), sample(1, 3, 4, 5, 6))
