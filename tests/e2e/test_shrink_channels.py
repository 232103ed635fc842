"""Filter-pruned networks: layers shrink with their neighbours, results stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

import edgec
from benchmarks.models.layers import ResidualBranch
from benchmarks.models.resnet import Residual
from edgec.compress import prune
from edgec.dialects import nn as nn_dialect
from edgec.importer import import_model
from edgec.passes.base import run_pass
from edgec.passes.canonicalize_nn import CanonicalizeNn
from edgec.passes.decompose_conv_transpose import DecomposeConvTranspose
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.shrink_channels import ShrinkChannels
from tests.importing import Call, run, sample
from tests.networks import network, seeded

BEFORE = (CanonicalizeNn(), FoldBatchNorm(), DecomposeConvTranspose(), CanonicalizeNn())


class Shrunk(NamedTuple):
    """Shapes of the weights after the pass, in order, and what it counted."""

    weights: list[tuple[int, ...]]
    counts: dict[str, int]


def shrink(model: nn.Module, *inputs: torch.Tensor) -> Shrunk:
    """Run the pass on a model; the interpreter's results are torch's."""
    imported = import_model(model.eval(), inputs)
    for one in BEFORE:
        run_pass(one, imported.ctx, imported.module)
    counts = dict(run_pass(ShrinkChannels(), imported.ctx, imported.module))
    imported.module.verify()
    with torch.no_grad():
        expected = model(*inputs)
    torch.testing.assert_close(run(imported, inputs), expected, rtol=1e-5, atol=1e-5)
    shapes = [
        nn_dialect.shape_of(op.weight)
        for op in imported.module.walk()
        if isinstance(op, nn_dialect.ConvOp | nn_dialect.LinearOp)
    ]
    return Shrunk(shapes, counts)


def drop(layer: nn.Conv2d | nn.Linear, *filters: int, bias: float = 0.0) -> None:
    """Prune whole filters; what they give is their bias."""
    with torch.no_grad():
        layer.weight[list(filters)] = 0
        if layer.bias is not None:
            layer.bias[list(filters)] = bias


def conv(*sizes: int, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the image."""
    inputs, filters, window = sizes
    return nn.Conv2d(inputs, filters, window, padding=window // 2, groups=groups)


class TwoBranches(nn.Module):
    """What `join` makes of two convolutions, and a last one."""

    def __init__(
        self, join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], joined: int
    ) -> None:
        super().__init__()
        self.first, self.a, self.b = conv(3, 5, 3), conv(5, 6, 3), conv(5, 6, 1)
        self.last, self.join = conv(joined, 4, 3), join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """First, both, joined, last."""
        x = functional.relu(self.first(x))
        return self.last(functional.relu(self.join(self.a(x), self.b(x))))


X = sample(1, 3, 6, 7)


def test_a_sum_loses_what_neither_side_makes() -> None:
    model = seeded(lambda: TwoBranches(torch.add, 6))
    assert isinstance(model, TwoBranches)
    drop(model.a, 0, 1, 2)
    drop(model.b, 1, 2, 3, bias=-1.0)
    shapes, counts = shrink(model, X)
    assert shapes == [(5, 3, 3, 3), (4, 5, 3, 3), (4, 5, 1, 1), (4, 4, 3, 3)]
    assert counts["filters_removed"] == 2 * 2


def test_a_sum_loses_what_nobody_reads() -> None:
    model = seeded(lambda: TwoBranches(torch.add, 6))
    assert isinstance(model, TwoBranches)
    with torch.no_grad():
        model.last.weight[:, 2:5] = 0
    assert shrink(model, X).weights[1:] == [(3, 5, 3, 3), (3, 5, 1, 1), (4, 3, 3, 3)]


def test_a_concatenation_loses_what_each_part_loses() -> None:
    model = seeded(lambda: TwoBranches(lambda a, b: torch.cat((a, b), 1), 12))
    assert isinstance(model, TwoBranches)
    drop(model.a, 0, 5)
    drop(model.b, 3)
    shapes, _ = shrink(model, X)
    assert shapes == [(5, 3, 3, 3), (4, 5, 3, 3), (5, 5, 1, 1), (4, 9, 3, 3)]


def test_dead_channels_make_others_dead() -> None:
    model = seeded(lambda: nn.Sequential(conv(3, 6, 3), conv(6, 6, 3), conv(6, 2, 3)))
    assert isinstance(model, nn.Sequential)
    middle, last = model[1], model[2]
    assert isinstance(middle, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        middle.weight[:4, 3:] = 0  # these filters read the first three channels only
        last.weight[:, 4:] = 0  # and nobody reads the others
    assert shrink(model, X).weights == [(3, 3, 3, 3), (4, 3, 3, 3), (2, 4, 3, 3)]


def test_several_numbers_in_a_padded_convolution_become_one() -> None:
    model = seeded(lambda: nn.Sequential(conv(3, 8, 3), nn.SiLU(), conv(8, 2, 3)))
    assert isinstance(model, nn.Sequential)
    first = model[0]
    assert isinstance(first, nn.Conv2d)
    drop(first, 1, 3, 4, bias=0.75)
    assert shrink(model, X).weights == [(6, 3, 3, 3), (2, 6, 3, 3)]


def test_depthwise_and_flattened_channels() -> None:
    model = seeded(
        lambda: nn.Sequential(
            conv(3, 6, 1),
            nn.Hardswish(),
            conv(6, 6, 3, groups=6),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * 9, 5),
        )
    )
    assert isinstance(model, nn.Sequential)
    first = model[0]
    assert isinstance(first, nn.Conv2d)
    drop(first, 0, 2)
    # Zeros of a depthwise layer's input leave its bias, which the linear layer takes.
    assert shrink(model, X).weights == [(4, 3, 1, 1), (4, 1, 3, 3), (5, 4 * 9)]


def test_groups_lose_equally_many() -> None:
    model = seeded(lambda: nn.Sequential(conv(3, 8, 1), conv(8, 4, 3, groups=2)))
    assert isinstance(model, nn.Sequential)
    first = model[0]
    assert isinstance(first, nn.Conv2d)
    drop(first, 0, 1, 2, 5)
    shapes, counts = shrink(model, X)
    assert shapes == [(6, 3, 1, 1), (4, 3, 3, 3)]
    assert counts["channels_held"] == 2


class Shared(nn.Module):
    """One weight in two layers, of which each loses something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 6, 1), conv(3, 6, 1)
        self.both, self.last = conv(6, 6, 3), conv(6, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same layer twice."""
        return (
            self.last(self.both(functional.relu(self.a(x))))
            + self.both(self.b(x))[:, :2]
        )


def test_a_shared_weight_shrinks_for_each_layer() -> None:
    model = seeded(Shared)
    assert isinstance(model, Shared)
    drop(model.a, 0, 1)
    drop(model.b, 5)
    with torch.no_grad():
        model.last.weight[:, 3] = 0
    shapes, _ = shrink(model, X)
    assert sorted(shapes) == sorted(
        [(4, 3, 1, 1), (5, 4, 3, 3), (2, 5, 1, 1), (5, 3, 1, 1), (2, 5, 3, 3)]
    )


def test_all_readers_must_do_without() -> None:
    a, b, c = conv(3, 6, 3), conv(6, 2, 3), conv(6, 2, 1)
    with torch.no_grad():
        b.weight[:, :3] = 0
        c.weight[:, 2:5] = 0

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = a(x)
        return b(y) * c(y)

    model = Call(forward)
    model.layers = nn.ModuleList([a, b, c])
    assert shrink(model, X).weights == [(5, 3, 3, 3), (2, 5, 3, 3), (2, 5, 1, 1)]


def test_what_the_caller_gets_stays() -> None:
    first, second = conv(3, 6, 3), conv(6, 4, 3)
    drop(first, 0, 1)
    drop(second, 2)

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = functional.relu(first(x))
        return y, second(y)

    model = Call(forward)
    model.layers = nn.ModuleList([first, second])
    shapes, counts = shrink(model, X)
    assert shapes == [(6, 3, 3, 3), (4, 6, 3, 3)]
    assert counts["weights_removed"] == 0


NAMES = ("plain", "residual", "squeeze-excite", "hourglass", "grouped", "clip")


@pytest.mark.parametrize("scheme", ["filter", "channel"])
@pytest.mark.parametrize("name", NAMES)
def test_pruned_networks_compute_the_same(name: str, scheme: str) -> None:
    model, x = network(name, batch=2)
    if name == "grouped":  # of which `prune` finds nothing to prune
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                drop(layer, 1, 4, 8)
    else:
        prune(model, scheme, 0.5, skip_first=False)
        assert shrink(model, x).counts["weights_removed"] > 0
    compiled = edgec.compile(model, x, options=edgec.Options(use_cache=False))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_residual_network_shrinks_inside_its_blocks() -> None:
    def block() -> Residual:
        branch = ResidualBranch(
            nn.Conv2d(12, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
        )
        return Residual(branch, nn.Identity())

    model = seeded(lambda: nn.Sequential(conv(3, 12, 3), block(), block()))
    prune(model, "filter", 0.5)
    shapes, _ = shrink(model, X)
    # Half of the filters of a branch, and one that stands for all their shifts.
    assert shapes[1][:2] == (9, 12)
    assert shapes[2][:2] == (12, 9)
