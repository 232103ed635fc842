"""From a saved network to a compressed program that runs, all from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgec.tools import cli
from examples.digits.model import DigitNet


def test_compress_compile_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net, x = DigitNet().eval(), torch.randn(8, 1, 8, 8)
    torch.export.save(torch.export.export(net, (x,)), "net.pt2")
    np.savez("cal.npz", x=torch.randn(64, 1, 8, 8).numpy())
    np.save("x.npy", x.numpy())

    pruning = ("--scheme", "block-punched:auto", "--density", "0.25")
    quantization = ("--quantize", "int8", "--calibration", "cal.npz")
    run("compress", "net.pt2", "-o", "c.pt2", *pruning, *quantization)
    run("compile", "c.pt2", "-o", "c.edgec")
    run("run", "c.edgec", "--input", "x.npy", "--output", "y.npy")

    found, program = torch.as_tensor(np.load("y.npy")), torch.export.load("c.pt2")
    with torch.no_grad():
        wanted = program.module()(x)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.02
    codes = program.state_dict["stages.2.conv1.weight_codes"]
    assert 0.2 < float((codes != 0).float().mean()) <= 0.25


def run(*arguments: str) -> None:
    assert cli.main(list(arguments)) == 0
