"""Networks pruned in blocks, then permuted: channels take the order of the blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

import edgec
from benchmarks.masks import punch
from edgec.dialects import sq
from edgec.driver import emit
from tests.importing import Call
from tests.networks import seeded

X = torch.randn(1, 16, 9, 11, generator=torch.Generator().manual_seed(0))


def permuted(layer: nn.Conv2d | nn.Linear, seed: int) -> None:
    """Prune in blocks of 8 filters, and put the filters in a random order."""
    punch(layer.weight, 8, 0.2, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(layer.weight), generator=generator)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[order])


def conv(channels: int, filters: int, seed: int, *, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(channels, filters, 3, stride, padding=1)
    permuted(layer, seed)
    return layer


def linear(channels: int, filters: int, seed: int) -> nn.Linear:
    layer = nn.Linear(channels, filters)
    permuted(layer, seed)
    return layer


def compiled_orders(model: nn.Module, x: torch.Tensor) -> list[bool]:
    """Which encoded weights are reordered in the end; results are those of torch."""
    orders: list[bool] = []

    def observe(pass_: ModulePass, module: ModuleOp) -> None:
        if pass_.name == "propagate-permutation":
            for op in module.walk():
                if isinstance(op, sq.WeightOp):
                    assert isinstance(op.encoding, sq.ColumnsAttr)
                    assert op.encoding.block_size in (4, 8)
                    orders.append(op.encoding.is_reordered)

    options = edgec.Options(use_cache=False, sparsity="always")
    compiled = edgec.compile(model.eval(), x, options=options, observer=observe)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    return orders


def test_of_a_chain_all_but_the_last_are_in_order() -> None:
    model = seeded(
        lambda: nn.Sequential(
            conv(16, 32, 0),
            nn.ReLU(),
            conv(32, 64, 1, stride=2),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1, groups=64),
            conv(64, 32, 2),
            nn.Hardswish(),
            conv(32, 24, 3),
        )
    )
    assert compiled_orders(model, X) == [False, False, False, True]


def test_one_side_of_a_sum_is_in_order() -> None:
    left, right, last = conv(16, 32, 0), conv(16, 32, 1), conv(32, 16, 2)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(functional.relu(left(x) + right(x)))

    model = Call(forward)
    model.layers = nn.ModuleList([left, right, last])
    assert sorted(compiled_orders(model, X)) == [False, True, True]


def test_parts_of_a_concatenation_are_in_order() -> None:
    left, right, last = conv(16, 32, 0), conv(16, 24, 1), conv(88, 16, 2)

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = left(x)
        return last(torch.cat((y, functional.relu(right(x)), y), 1))

    model = Call(forward)
    model.layers = nn.ModuleList([left, right, last])
    assert compiled_orders(model, X) == [False, False, True]


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_linear_layers_are_in_order(rows: int) -> None:
    """On few rows too, where only filters in order can have blocks."""
    model = seeded(
        lambda: nn.Sequential(
            conv(16, 32, 0),
            nn.AdaptiveAvgPool2d((2, 3)),
            nn.Flatten(),
            linear(192, 64, 1),
            nn.ReLU(),
            linear(64, 48, 2),
            nn.Tanh(),
            nn.Linear(48, 10),
        )
    )
    x = X.expand(rows, -1, -1, -1)
    assert compiled_orders(model, x) == [False, False, False]


def test_linear_layers_on_few_rows_have_their_kernel() -> None:
    model = seeded(
        lambda: nn.Sequential(linear(512, 512, 1), nn.ReLU(), nn.Linear(512, 10))
    )
    x = torch.randn(1, 512)
    compiled = edgec.compile(
        model.eval(), x, options=edgec.Options(use_cache=False, sparsity="always")
    )
    assert "columns kernel" in str(compiled.report())
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_the_caller_gets_keeps_its_order() -> None:
    model = seeded(lambda: nn.Sequential(nn.ReLU(), conv(16, 32, 0)))
    assert compiled_orders(model, X) == [True]


def test_same_model_same_bytes() -> None:
    model = seeded(lambda: nn.Sequential(conv(16, 32, 0), conv(32, 16, 1))).eval()
    first, second = (emit(model, X, form="mlir") for _ in range(2))
    assert first == second
