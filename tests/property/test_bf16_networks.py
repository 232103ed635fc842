"""Random small networks in bfloat16: within the bound of a reference in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from xdsl.dialects.builtin import StringAttr

import edgec
from edgec.codegen.host import host_features
from edgec.dialects import sq
from edgec.importer import import_model
from edgec.options import Options, Precision
from edgec.passes.analysis.precision import layer_error, total_error
from edgec.passes.constants import read_constant
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target
from tests.effort import examples
from tests.lanes import runnable_targets
from tests.ranges import Beside, Mean, Residual, Transposed, Weighted, network_range

Draw = st.DrawFn
Step = tuple[nn.Module, int]
"""A part of a network and the number of channels after it."""

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
SIZES = (st.integers(7, 41), st.integers(7, 13), st.integers(5, 7))
"""Of one side of an input, by the number of its sides."""


@dataclass(frozen=True)
class Case:
    """A network, an input, and with how many threads it runs."""

    model: nn.Module
    x: Tensor
    threads: int


def conv(draw: Draw, rank: int, channels: int) -> Step:
    """Any window, stride, dilation; padded, so that something is left."""
    groups = draw(st.sampled_from([1, 1, 1, math.gcd(channels, 2), channels]))
    filters = draw(st.sampled_from([2, 3, 8, 10, 17, 32]))
    if groups > 1:
        filters = channels
    window, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (3, 2)]))
    layer = CONVS[rank - 1](
        channels,
        filters,
        window,
        stride=draw(st.sampled_from([1, 1, 2])),
        padding=draw(st.integers(dilation * (window // 2), 2)),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    return layer, filters


def around(draw: Draw, rank: int, channels: int) -> Step:
    """A layer whose input is used again."""
    layer = CONVS[rank - 1](channels, channels, 3, padding=1)
    inner = nn.Sequential(layer, nn.ReLU()) if draw(st.booleans()) else layer
    if channels <= 20 and draw(st.booleans()):
        return Beside(inner), 2 * channels
    return Residual(inner), channels


def transposed(draw: Draw, rank: int, channels: int) -> Step:
    """One that decompose-conv-transpose makes a convolution of."""
    filters, window = draw(st.sampled_from([3, 6])), draw(st.integers(1, 3))
    bias, stride = draw(st.booleans()), draw(st.integers(1, 2))
    kind = TRANSPOSED[rank - 1]
    return kind(channels, filters, window, stride, bias=bias), filters


def pool(draw: Draw, rank: int, channels: int) -> Step:
    """A maximum or an average."""
    kinds = draw(st.sampled_from([MAXIMA, AVERAGES]))
    window, stride = draw(st.integers(2, 3)), draw(st.integers(1, 2))
    return kinds[rank - 1](window, stride, 1), channels


def activation(draw: Draw, rank: int, channels: int) -> Step:
    """One that rises everywhere."""
    kinds: list[nn.Module] = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.75)]
    return draw(st.sampled_from(kinds)), channels


STEPS = (conv, conv, around, transposed, pool, activation)


@st.composite
def networks(draw: Draw) -> Case:
    """Up to four parts behind a convolution, perhaps a classifier."""
    torch.manual_seed(draw(st.integers(0, 999)))
    rank = draw(st.integers(1, 3))
    channels = draw(st.sampled_from([1, 3, 6, 16]))
    size = [draw(SIZES[rank - 1]) for _ in range(rank)]
    x = torch.randn(draw(st.integers(1, 3)), channels, *size)
    layers: list[nn.Module] = []
    makers = [conv, *draw(st.lists(st.sampled_from(STEPS), max_size=4))]
    for make in makers:
        layer, channels = make(draw, rank, channels)
        layers.append(layer)
    sizes = nn.Sequential(*layers)(x).shape
    end = draw(st.sampled_from(["none", "classes", "rows"]))
    if end == "classes":
        layers += [Mean(), nn.Linear(channels, 9), nn.ReLU(), nn.Linear(9, 5)]
    elif end == "rows":
        layers += [nn.Linear(sizes[-1], 18, bias=False), nn.ReLU6(), nn.Linear(18, 7)]
    model = nn.Sequential(*layers).eval()
    for layer in model.modules():
        if isinstance(layer, Weighted) and not isinstance(layer, Transposed):
            prune(
                layer, draw(st.sampled_from(["dense", "blocks", "single", "kernels"]))
            )
    return Case(model, x, draw(st.integers(1, 3)))


def prune(layer: Weighted, scheme: str) -> None:
    """Leave out blocks of filters and channels, single weights, or whole kernels."""
    if scheme == "dense":
        return
    filters, channels, *window = layer.weight.shape
    if scheme == "blocks":
        keep = torch.rand(-(-filters // 8), -(-channels // 2), *window) < 0.3
        keep = keep.repeat_interleave(8, 0).repeat_interleave(2, 1)
    elif scheme == "single":
        keep = torch.rand(layer.weight.shape) < 0.2
    else:
        keep = torch.rand(filters, channels, *(1 for _ in window)) < 0.5
    # A filter without weights is a constant, which shrink-channels does not round.
    keep[:, 0] = True
    layer.weight.data *= keep[:filters, :channels]


@targets
@examples(6)
@given(case=networks(), budget=st.sampled_from([None, None, 0.004, 1.0]))
def test_within_the_bound(target: Target, case: Case, budget: float | None) -> None:
    """Layers that stay in float32 have the bound of float32."""
    options = Options(precision="bfloat16", use_cache=False)
    if budget is not None:
        options = Options(precision="auto", error_budget=budget, use_cache=False)
    compiled = edgec.compile(
        case.model, case.x, target=target, threads=case.threads, options=options
    )
    layers = compiled.report().layers
    in_bf16 = [layer.layer for layer in layers if layer.scheme == "bf16"]
    assert network_range(case.model, case.x, in_bf16).holds(compiled(case.x))


@st.composite
def large_networks(draw: Draw) -> Case:
    """Layers that gain: convolutions of many channels, matrices on few rows."""
    torch.manual_seed(draw(st.integers(0, 999)))
    sizes = draw(st.lists(st.sampled_from([48, 64, 96]), min_size=2, max_size=6))
    if draw(st.booleans()):
        layers = [nn.Linear(8 * a, 8 * b) for a, b in pairwise(sizes)]
        return Case(nn.Sequential(*layers), torch.randn(2, 8 * sizes[0]), 1)
    layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes)]
    return Case(nn.Sequential(*layers), torch.randn(1, sizes[0], 18, 15), 1)


@given(case=large_networks(), budget=st.sampled_from([0.0, 0.003, 0.004, 0.005]))
def test_the_budget_is_kept(case: Case, budget: float) -> None:
    """What stays in float32 for it would have been too much; the others are taken."""
    target = Target.parse("x86-64-v4+vnni+bf16")
    options = Options(precision="auto", error_budget=budget)
    imported = import_model(case.model, case.x)
    passes = tensor_passes(options, target)
    end = [pass_.name for pass_ in passes].index("lower-precision") + 1
    run_passes(passes[:end], imported.ctx, imported.module)
    taken: list[float] = []
    beyond: list[float] = []
    for op in imported.module.walk():
        if not isinstance(op, sq.ConvOp | sq.LinearOp):
            continue
        why = op.attributes["sq.why_precision"]
        assert isinstance(why, StringAttr)
        weight = read_constant(op.weight, imported.ctx.weights)
        assert weight is not None
        error = layer_error(np.asarray(weight, np.float32))
        assert sq.has_bf16(op.input) == why.data.startswith("bfloat16")
        if sq.has_bf16(op.input):
            taken.append(error)
        elif "beyond" in why.data:
            beyond.append(error)
    assert len(taken) + len(beyond) == len(case.model.state_dict()) // 2
    assert total_error(taken) <= budget
    for error in beyond:
        assert total_error([*taken, error]) > budget


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bound_tells_one_precision_from_another(precision: Precision) -> None:
    """Without a residual it is narrower than what rounding does, after layers too."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(6, 6, 3, padding=1) for _ in range(3)]
    model, x = nn.Sequential(*layers).eval(), torch.randn(1, 6, 9, 9)
    y = edgec.compile(model, x, options=Options(precision=precision, use_cache=False))(
        x
    )
    every = ("0", "1", "2")
    for in_bf16 in ((), every[:1], every[:2], every):
        is_it = bool(in_bf16) == (precision == "bfloat16") and len(in_bf16) in (0, 3)
        assert network_range(model, x, in_bf16).holds(y) == is_it
