"""Networks in bfloat16: as the interpreter says, near to torch on rounded weights.

Roundings of activations differ where sums do, so errors are compared with those that
the estimate of `analysis.precision` predicts.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from xdsl.dialects.builtin import bf16

import edgec
from edgec.codegen.host import host_features
from edgec.compress import prune
from edgec.dialects import nn as nn_dialect
from edgec.dialects import sq
from edgec.driver import build
from edgec.errors import InvalidInput
from edgec.importer import import_model
from edgec.interpreter import interpret
from edgec.options import Options
from edgec.passes.analysis.precision import UNIT
from edgec.pipeline import run_passes, tensor_passes
from edgec.report import Report
from edgec.target import Target
from tests.lanes import runnable_targets

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), Target.native(host_features())],
    ids=lambda target: target.name,
)
HALF = Options(precision="bfloat16", use_cache=False)


class Residual(nn.Module):
    """A ResNet in small: a stem, maxima, sums, strides, an average, a classifier.

    `rank` is the number of dimensions of a window.
    """

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1](3, 2, 1)
        self.stem = conv(3, channels, 5, 2, 2)
        self.first = conv(channels, channels, 3, padding=1)
        self.second = conv(channels, channels, 3, padding=1, bias=False)
        self.short = conv(channels, channels + 2, 1, 2)
        self.third = conv(channels, channels + 2, 3, 2, 1)
        self.head = nn.Linear(channels + 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        x = torch.relu(self.second(torch.relu(self.first(x))) + x)
        x = functional.relu6(self.third(x) + self.short(x))
        return self.head(x.flatten(2).mean(2))


class Branches(nn.Module):
    """Parts side by side, depthwise and grouped layers, resizing, an odd end."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 5, (3, 1), 2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 6, 1, groups=2)
        self.wide = nn.Conv2d(11, 12, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(24, 7, 3)

    def forward(self, x: Tensor) -> Tensor:
        left = functional.hardswish(self.left(x))
        small = functional.avg_pool2d(left, 2)
        right = self.right(functional.pad(x, (0, 0, 1, 1)))
        mixed = torch.cat([self.grouped(self.depthwise(left)), right], 1)
        wide = torch.relu(self.wide(mixed))
        twice = functional.interpolate(functional.avg_pool2d(wide, 2), scale_factor=2)
        assert small.shape[1] == 8
        return self.last(torch.cat([wide, twice], 1)) * torch.sigmoid(x.mean())


class Mixer(nn.Module):
    """Linear layers on rows of two dimensions, a residual, odd sizes, and one row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 34), nn.Linear(34, 24)
        self.norm, self.wide = nn.LayerNorm(24), nn.Linear(24, 33)
        self.odd, self.head = nn.Linear(33, 24, bias=False), nn.Linear(24, 150)
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 24))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(functional.gelu(self.first(x))) * self.scale + x
        x = self.odd(torch.relu(self.wide(self.norm(x)))) + x
        return self.head(x.mean(1))


def with_rounded_weights(model: nn.Module) -> nn.Module:
    """The same model with the weights of convolutions and linear layers rounded."""
    for layer in model.modules():
        is_conv = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        if isinstance(layer, nn.Linear) or (is_conv and layer.groups == 1):
            layer.weight.data = layer.weight.data.bfloat16().float()
    return model


def relative(found: object, expected: Tensor) -> float:
    """The norm of the difference, by that of what is expected."""
    wanted = expected.detach().double()
    assert isinstance(found, Tensor)
    return float((found.double() - wanted).norm() / wanted.norm())


def case(name: str) -> tuple[nn.Module, Tensor]:
    """A network and an input."""
    torch.manual_seed(7)
    if name == "mixer":
        return Mixer().eval(), torch.randn(2, 13, 24)
    if name == "branches":
        return Branches().eval(), torch.randn(2, 3, 24, 20)
    rank, channels = int(name[0]), int(name[3:])
    size = ((40,), (21, 24), (5, 12, 11))[rank - 1]
    return Residual(rank, channels).eval(), torch.randn(2, 3, *size)


CASES = ("1d 8", "2d 8", "2d 9", "3d 6", "branches", "mixer")


@targets
@pytest.mark.parametrize("name", CASES)
def test_near_to_torch(target: Target, name: str) -> None:
    model, x = case(name)
    compiled = edgec.compile(model, x, target=target, threads=2, options=HALF)
    schemes = [layer.scheme for layer in compiled.report().layers]
    assert schemes.count("bf16") >= 4
    # Six roundings one after the other, four times what is estimated.
    bound = 4 * UNIT * math.sqrt(6)
    assert relative(compiled(x), with_rounded_weights(model)(x)) < bound
    # It does round: float32 is a thousand times nearer.
    assert relative(compiled(x), model(x)) > UNIT / 50


@pytest.mark.parametrize("name", CASES)
def test_near_to_the_interpreter(name: str) -> None:
    """The code and the IR of all passes on tensors give nearly the same numbers."""
    model, x = case(name)
    target = Target.native(host_features())
    imported = import_model(model, x)
    run_passes(tensor_passes(HALF, target), imported.ctx, imported.module)
    held = [
        value
        for op in imported.module.walk()
        for value in op.results
        if isinstance(op, sq.ConvOp | sq.LinearOp | nn_dialect.PoolOp)
        and nn_dialect.tensor_type(value).element_type == bf16
    ]
    # Layers of an odd number of filters have float32 results.
    assert len(held) >= {"2d 9": 0, "mixer": 1}.get(name, 2)
    (wanted,) = interpret(imported.module, [x.numpy()], imported.ctx)
    found = edgec.compile(model, x, target=target, options=HALF)(x.numpy())
    # Sums that are rounded elsewhere move single activations by one bit of eight.
    assert np.linalg.norm(found - wanted) < UNIT * np.linalg.norm(wanted)


def test_threads_do_not_matter() -> None:
    model, x = case("2d 8")
    first, other = (
        edgec.compile(model, x, threads=threads, options=HALF)(x) for threads in (1, 3)
    )
    assert torch.equal(first, other)


@pytest.mark.parametrize("density", [0.125, 0.25])
def test_blocks_of_zeros_are_left_out(density: float) -> None:
    """A pruned layer keeps the columns of pairs that its blocks keep."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3)).eval()
    kept = torch.rand(4, 16, 3, 3) < density
    mask = kept.repeat_interleave(8, 0).repeat_interleave(2, 1)
    model[2].weight.data *= mask  # pyright: ignore[reportIndexIssue, reportOperatorIssue, reportArgumentType] a Conv2d
    x = torch.randn(1, 3, 30, 30)
    compiled = edgec.compile(model, x, target="x86-64-v4+vnni+bf16", options=HALF)
    layer = compiled.report().layers[1]
    assert layer.kernel.startswith("pairs")
    assert layer.density is not None
    assert layer.density < 1.1 * float(mask.float().mean())
    assert relative(compiled(x), with_rounded_weights(model)(x)) < 4 * UNIT


def test_a_sparse_layer_that_is_faster_stays_as_it_is() -> None:
    """Patterns of single kernels leave few pairs without a weight."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    prune(model, "pattern", density=0.05)
    x = torch.randn(1, 3, 58, 58)
    compiled = edgec.compile(model, x, target="x86-64-v3", options=HALF)
    assert compiled.report().layers[1].kernel.startswith("pattern")
    assert "predicted" in compiled.report().layers[1].why


def test_auto_keeps_to_the_budget() -> None:
    """None of the budget, half of it, all of it."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)]
    model = nn.Sequential(*layers).eval()
    x = torch.randn(1, 64, 28, 28)
    taken: list[int] = []
    for budget in (0.0, 1.2 * UNIT * math.sqrt(4), 1.0):
        options = Options(precision="auto", error_budget=budget, use_cache=False)
        artefact = build(model, x, target="x86-64-v4+vnni+bf16", options=options)
        report = Report.from_json(artefact.report)
        taken.append(sum(layer.scheme == "bf16" for layer in report.layers))
        error = report.statistics["lower-precision"]["error_millionths"] / 1e6
        assert error <= budget
        beyond = [layer for layer in report.layers if "beyond" in layer.why]
        assert len(beyond) == 4 - taken[-1]
    assert taken[0] == 0
    assert 0 < taken[1] < 4
    assert taken[2] == 4


def test_auto_needs_the_instructions() -> None:
    model, x = nn.Conv2d(64, 64, 3).eval(), torch.randn(1, 64, 28, 28)
    options = Options(precision="auto", error_budget=1.0, use_cache=False)
    artefact = build(model, x, target="x86-64-v3", options=options)
    (layer,) = Report.from_json(artefact.report).layers
    assert layer.scheme == "dense"
    assert "before casts" in layer.why


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "half"}, "`precision` must be one of"),
        ({"error_budget": -0.1}, "`error_budget` must be a finite number"),
        ({"error_budget": math.nan}, "`error_budget` must be a finite number"),
        ({"error_budget": True}, "`error_budget` must be a finite number"),
        ({"error_budget": "much"}, "`error_budget` must be a finite number"),
    ],
)
def test_bad_options(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Options(**changes)  # pyright: ignore[reportArgumentType] that is the point
