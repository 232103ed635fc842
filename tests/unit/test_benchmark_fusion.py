"""Counting ops and launches before and after fusion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import fusion
from benchmarks.__main__ import main
from benchmarks.fusion import Row, count_network
from benchmarks.models import MODELS, ModelSpec
from edgec.target import Target


class Heads(nn.Module):
    """A linear layer, a split into heads, and their product."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`-(-x)` is what rewrite-algebra removes."""
        left, right = torch.relu(self.first(x)).reshape(5, 2, 4).transpose(0, 1)
        return torch.sin((left @ right.T).neg().neg())


def test_each_step_of_a_small_network() -> None:
    target = Target.parse("x86-64-v3")
    row = count_network("heads", Heads(), torch.zeros(5, 6), target)
    assert row.network == "heads"
    assert row.imported > row.unfused > row.fused >= row.rewritten > row.full
    # A linear layer with its activation, and the product with the sine.
    assert row.full == 2


def test_the_suite_writes_a_row_for_each_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "NETWORKS", ("heads",))
    monkeypatch.setitem(MODELS, "heads", ModelSpec(Heads, (5, 6)))
    file = tmp_path / "fusion.json"
    arguments = ["--suite", "fusion", "--target", "x86-64-v3", "--json", str(file)]
    result = CliRunner(env={"OMP_NUM_THREADS": "1"}).invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(file.read_text())["fusion"]
    assert Row(**row).full == 2
