"""Models with quantized weights and float32 activations, compiled, against torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import edgec
from edgec.errors import InvalidInput

FORMATS = ("int8", "int4", "int4:32", "ternary", "pot4", "sp2-4", "mixed:30")
TOLERANCE = 1e-5


def check(model: nn.Module, x: Tensor, weights: str) -> str:
    """The report of the compiled model, which gives torch's numbers."""
    program = edgec.compress.quantize(
        model, [x], weights=weights, activations="none", reconstruct=False
    )
    compiled = edgec.compile(program, threads=2)
    expected = program.module()(x)
    torch.testing.assert_close(compiled(x), expected, rtol=TOLERANCE, atol=TOLERANCE)
    return str(compiled.report())


@pytest.mark.parametrize("weights", FORMATS)
def test_linear(weights: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(96, 70), nn.ReLU(), nn.Linear(70, 7)).eval()
    report = check(model, torch.randn(3, 96), weights)
    bits = {"int8": 8, "mixed:30": 8, "ternary": 2}.get(weights, 4)
    assert f"weights of {bits} bits" in report
    assert ("in groups of 32" in report) == (weights == "int4:32")


class Recurrent(nn.Module):
    """A layer in both directions, and a classifier."""

    def __init__(self, kind: Callable[..., nn.RNNBase]) -> None:
        super().__init__()
        self.layers = kind(20, 37, bidirectional=True)
        self.last = nn.Linear(74, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x)[0])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("is_pruned", [False, True])
def test_recurrent(kind: type[nn.RNNBase], weights: str, is_pruned: bool) -> None:
    torch.manual_seed(0)
    model = Recurrent(kind).eval()
    if is_pruned:
        with torch.no_grad():
            for weight in (p for p in model.layers.parameters() if p.dim() > 1):
                kept = torch.rand(-(-len(weight) // 16), weight.shape[1]) < 0.2
                weight.mul_(kept.repeat_interleave(16, 0)[: len(weight)])
    # Each two of weights, rows and pruning meet; kernels have a test of all three.
    rows, bits = (1, 8) if weights == "int8" else (5, 4)
    if is_pruned:
        rows = 6 - rows
    report = check(model, torch.randn(3, rows, 20), weights)
    lines = [line for line in report.splitlines() if "weight_hh" in line]
    assert lines
    assert all(f"weights of {bits} bits" in line for line in lines)


def test_skipped() -> None:
    model = Recurrent(nn.GRU).eval()
    found: list[edgec.compress.QuantizeReport] = []
    x = torch.randn(2, 1, 20)
    edgec.compress.quantize(model, [x], skip="layers", report=found.append)
    assert [row.name for row in found[0].layers if row.weights != "none"] == ["last"]
    with pytest.raises(InvalidInput, match="layers are last, layers"):
        edgec.compress.quantize(model, [x], skip="gru")


def test_only_recurrent() -> None:
    """A model without another layer."""
    model = nn.GRU(8, 16).eval()
    x = torch.randn(2, 1, 8)
    program = edgec.compress.quantize(model, [x], activations="none")
    expected = program.module()(x)[0]
    found = edgec.compile(program)(x)[0]
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
