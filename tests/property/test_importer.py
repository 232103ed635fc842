"""Random small networks: imported and interpreted, they give eager's numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgec.importer import import_model
from edgec.interpreter import interpret

Draw = st.DrawFn
Step = tuple[nn.Module, int]
"""A layer and the number of channels after it."""


class Residual(nn.Module):
    """`x + f(x)`, in place or not."""

    def __init__(self, inner: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.inner = inner
        self.in_place = in_place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        y = self.inner(x)
        if self.in_place:
            y += x
            return y
        return y + x


class Dense(nn.Module):
    """`x` and `f(x)` side by side."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """More channels than `x`."""
        return torch.cat([x, self.inner(x)], 1)


class Halves(nn.Module):
    """Split, gate one half by the other, and put both back in turn."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        a, b = x.chunk(2, dim=1)
        n, c, h, w = x.shape
        return torch.stack([a * b.sigmoid(), b], 2).reshape(n, c, h, w)


def conv(draw: Draw, channels: int) -> Step:
    filters = draw(st.sampled_from([2, 4, 6]))
    groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
    layer = nn.Conv2d(
        channels,
        filters,
        draw(st.sampled_from([1, 3, (1, 3)])),
        stride=draw(st.sampled_from([1, 1, 2])),
        padding=draw(st.integers(1, 2)),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    return layer, filters


def norm(draw: Draw, channels: int) -> Step:
    affine = draw(st.booleans())
    kinds: list[nn.Module] = [
        nn.BatchNorm2d(channels, affine=affine),
        nn.GroupNorm(1, channels, affine=affine),
    ]
    return draw(st.sampled_from(kinds)), channels


def activation(draw: Draw, channels: int) -> Step:
    kinds: list[nn.Module] = [
        nn.ReLU6(),
        nn.Hardswish(),
        nn.SiLU(),
        nn.PReLU(channels),
        nn.Softmax(dim=1),
    ]
    return draw(st.sampled_from(kinds)), channels


def same_size(draw: Draw, channels: int) -> Step:
    inner: list[nn.Module] = [nn.Conv2d(channels, channels, 3, padding=1)]
    if draw(st.booleans()):
        inner.append(nn.ReLU(inplace=True))
    block = nn.Sequential(*inner)
    if draw(st.booleans()):
        return Dense(block), 2 * channels
    return Residual(block, draw(st.booleans())), channels


def resize(draw: Draw, channels: int) -> Step:
    if channels % 4 == 0 and draw(st.booleans()):
        return nn.PixelShuffle(2), channels // 4
    kinds: list[nn.Module] = [
        nn.Upsample(scale_factor=2),
        nn.Upsample(size=(5, 3), mode="bilinear"),
        nn.MaxPool2d(3, 2, 1, ceil_mode=draw(st.booleans())),
        nn.AvgPool2d(2, 1, count_include_pad=draw(st.booleans()), padding=1),
        nn.AdaptiveAvgPool2d(3),
        nn.ReplicationPad2d((1, 0, 2, 1)),
    ]
    return draw(st.sampled_from(kinds)), channels


def halves(draw: Draw, channels: int) -> Step:
    return (Halves() if channels % 2 == 0 else nn.Tanh()), channels


STEPS: list[Callable[[Draw, int], Step]] = [
    conv,
    conv,
    norm,
    activation,
    same_size,
    resize,
    halves,
]


@st.composite
def networks(draw: Draw) -> tuple[nn.Module, torch.Tensor]:
    """A network of a few layers, and an input for it."""
    torch.manual_seed(draw(st.integers(0, 99)))
    channels = draw(st.sampled_from([2, 3, 4]))
    x = torch.randn(draw(st.integers(1, 2)), channels, 6, 7)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 6))):
        layer, channels = draw(st.sampled_from(STEPS))(draw, channels)
        layers.append(layer)
    if draw(st.booleans()):
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)]
    return nn.Sequential(*layers).eval(), x


@given(networks())
def test_imported_networks_agree_with_eager(
    case: tuple[nn.Module, torch.Tensor],
) -> None:
    model, x = case
    imported = import_model(model, x)
    imported.module.verify()
    (got,) = interpret(imported.module, [x.numpy()], imported.ctx)
    want = model(x).detach().numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
