"""Max pools inside of convolutions: the bits of two kernels, and torch's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor, nn

import edgec
from edgec.passes import fuse_pooling
from edgec.target import Target
from tests.effort import examples
from tests.lanes import runnable_targets
from tests.quantized import QuantizedLayer, fake_quantize

targets = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)

STEP = 0.2
"""Between two bytes of an activation."""


@dataclass(frozen=True)
class Pooled:
    """A convolution, what is fused into it, and a pooling."""

    batch: int
    channels: int
    filters: int
    size: tuple[int, int]
    kernel: int
    window: tuple[int, int]
    weights: str
    end: str
    seed: int

    def build(self) -> tuple[nn.Module, Tensor]:
        generator = torch.manual_seed(self.seed)
        groups = 2 if self.weights == "groups" else 1
        conv = nn.Conv2d(
            self.channels * groups,
            self.filters * groups,
            self.kernel,
            padding=self.kernel // 2,
            groups=groups,
        )
        with torch.no_grad():
            conv.weight.normal_(generator=generator)
            self._prune(conv.weight, generator)
        x = torch.randn(self.batch, self.channels * groups, *self.size)
        model = Integers if self.weights == "int8" else Floats
        return model(conv, self.end, nn.MaxPool2d(self.window)).eval(), x

    def _prune(self, weight: Tensor, generator: torch.Generator) -> None:
        if self.weights not in ("blocks", "permuted"):
            return
        blocks = -(-len(weight) // 4)
        keep = torch.rand(blocks, *weight.shape[1:], generator=generator) < 0.3
        keep = keep.repeat_interleave(4, 0)[: len(weight)]
        if self.weights == "permuted":
            keep = keep[torch.randperm(len(keep), generator=generator)]
        weight.mul_(keep)


class Floats(nn.Module):
    """In float32; a layer behind the pooling wants gaps between rows."""

    def __init__(self, conv: nn.Conv2d, end: str, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.conv, self.end, self.pool = conv, end, pool
        self.last = nn.Conv2d(conv.out_channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.end == "add":
            y = y + y.new_ones(y.shape) * 0.5
        y = self.pool(y.relu())
        return y if self.end == "result" else self.last(y)


class Integers(nn.Module):
    """The same in bytes."""

    def __init__(self, conv: nn.Conv2d, end: str, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.conv, self.end, self.pool = QuantizedLayer(conv), end, pool
        self.last = QuantizedLayer(nn.Conv2d(conv.out_channels, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(fake_quantize(x, 0.03, 5))
        y = self.pool(fake_quantize(y.relu() if self.end == "add" else y, STEP, -9))
        return y if self.end == "result" else self.last(y)


cases = st.builds(
    Pooled,
    batch=st.integers(1, 2),
    channels=st.integers(1, 9),
    filters=st.integers(1, 21),
    size=st.tuples(st.integers(1, 40), st.integers(1, 75)),
    kernel=st.sampled_from([1, 3, 5]),
    window=st.sampled_from([(2, 2), (2, 2), (1, 2), (2, 1), (3, 2)]),
    weights=st.sampled_from(["dense", "groups", "blocks", "permuted", "int8"]),
    end=st.sampled_from(["", "add", "result"]),
    seed=st.integers(0, 2**16),
)


def compiled(
    case: Pooled, target: Target, threads: int, saved: float
) -> tuple[edgec.CompiledModel, nn.Module, Tensor]:
    """The case, pooled where it stands if `saved` cycles per element are enough."""
    model, x = case.build()
    options = edgec.Options(sparsity="always", use_cache=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse_pooling, "SAVED_CYCLES", saved)
        found = edgec.compile(model, x, target=target, threads=threads, options=options)
    return found, model, x


@targets
@examples(8)
@given(case=cases, threads=st.sampled_from([1, 2, 3]))
@example(Pooled(1, 16, 8, (70, 62), 3, (2, 2), "blocks", "", 0), 2)
@example(Pooled(2, 16, 8, (70, 62), 3, (2, 2), "int8", "", 0), 2)
def test_a_pooled_convolution(target: Target, case: Pooled, threads: int) -> None:
    """One kernel gives the bits of two, and nearly those of torch."""
    assume(case.size[0] >= case.window[0])
    assume(case.size[1] >= case.window[1])
    one, model, x = compiled(case, target, threads, saved=1e9)
    two, _, _ = compiled(case, target, threads, saved=-1e9)
    layer = one.report().layers[0]
    family = layer.kernel.split()[0]
    is_pooled = one.report().statistics["fuse-pooling"]["pools"] == 1
    assert is_pooled == (family in fuse_pooling.FAMILIES)
    assert is_pooled == (layer.epilogue[-1:] == ("max_pool",))
    assert two.report().statistics["fuse-pooling"]["pools"] == 0
    result = one(x)
    assert torch.equal(result, two(x))
    with torch.no_grad():
        expected = model(x)
    if case.weights == "int8":
        # Sums that lie between two bytes may round to either.
        assert case.end != "result" or (result - expected).abs().max() <= STEP * 1.01
        return
    assert torch.allclose(result, expected, rtol=1e-4, atol=1e-4)


class Overlapping(nn.Module):
    """Poolings that stay by themselves: overlap, padding, average, a second reader."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv, self.kind = nn.Conv2d(3, 8, 3, padding=1), kind

    def forward(self, x: Tensor) -> Tensor:
        y, pools = self.conv(x), nn.functional
        if self.kind == "overlap":
            return pools.max_pool2d(y, 3, 2, 1)
        if self.kind == "average":
            return pools.avg_pool2d(y, 2)
        if self.kind == "three columns":
            return pools.max_pool2d(y, 3)
        if self.kind == "over the end":
            return pools.max_pool2d(y, 2, ceil_mode=True)
        return pools.max_pool2d(y, 2).sum() + y


@pytest.mark.parametrize(
    "kind", ["overlap", "average", "three columns", "over the end", "second reader"]
)
def test_other_poolings_stay(kind: str) -> None:
    torch.manual_seed(0)
    model, x = Overlapping(kind).eval(), torch.randn(2, 3, 17, 19)
    found = edgec.compile(model, x, options=edgec.Options(use_cache=False))
    assert found.report().statistics["fuse-pooling"]["pools"] == 0
    with torch.no_grad():
        assert torch.allclose(found(x), model(x), rtol=1e-4, atol=1e-4)
