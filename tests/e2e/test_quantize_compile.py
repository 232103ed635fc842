"""Models that edgec quantized, compiled by edgec, against torch eager."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import edgec
from edgec.compress import QuantizeReport, prune, quantize
from edgec.options import Options


class Net(nn.Module):
    """Convolutions with batch norms, a residual sum, pooling, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12))
        self.body = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12))
        self.end = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x))
        y = torch.relu(self.body(y) + y)
        return self.end(nn.functional.max_pool2d(y, 2).mean((2, 3)))


@pytest.mark.parametrize("weights", ["int8", "int4:4", "ternary", "mixed:25", "sp2-4"])
@pytest.mark.parametrize("activations", ["int8", "none"])
def test_agrees_with_eager(weights: str, activations: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(3, 3, 9, 11)
    prune(model, "column:4", 0.5)
    program = quantize(model, [torch.randn(3, 3, 9, 11)], weights, activations)
    path = tmp_path / "quantized.pt2"
    torch.export.save(program, path)
    compiled = edgec.compile(path, threads=2, options=Options(integers="never"))
    with torch.inference_mode():
        expected = program.module()(x)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=1e-5)


def test_zeros_are_still_found() -> None:
    """What was pruned in blocks runs sparse after quantization, if in float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    x = torch.randn(1, 3, 30, 30)
    prune(model, "column:8", 0.125)
    program = quantize(model, [x])
    options = Options(integers="never")
    compiled = edgec.compile(program, target="x86-64-v3", threads=1, options=options)
    _, layer = compiled.report().layers
    assert layer.scheme == "columns of 8"
    assert layer.kernel.startswith("columns")


@pytest.mark.parametrize(
    "choice",
    [
        {"weights": {"stem*": "none", "end": "ternary", "*": "int8"}},
        {"weights": "auto", "max_bytes": "1.5kB"},
    ],
    ids=["given", "auto"],
)
def test_mixed_formats_agree_with_eager(choice: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(3, 3, 9, 11)
    reports: list[QuantizeReport] = []
    program = quantize(model, [x], **choice, report=reports.append)
    assert len({row.weights for row in reports[0].layers}) > 1
    with torch.inference_mode():
        expected = program.module()(x)
    modes: tuple[Literal["auto", "never"], ...] = ("auto", "never")
    for integers in modes:
        options = Options(integers=integers)
        compiled = edgec.compile(program, threads=2, options=options)
        # A sum that is rounded elsewhere may be one step off.
        close = 1e-5 if integers == "never" else 0.02
        torch.testing.assert_close(compiled(x), expected, rtol=1e-5, atol=close)
