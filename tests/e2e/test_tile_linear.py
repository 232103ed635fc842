"""Linear layers on tiles, as convolutions over their rows: what other kernels compute.

A tuning log has them run so where the target has no tiles, in plain code.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import edgec
from edgec.codegen.host import host_features
from edgec.compress import quantize
from edgec.dialects import sq
from edgec.driver import emit, import_for_tuning
from edgec.options import Options, Precision
from edgec.passes.analysis.layer_key import layer_key
from edgec.passes.analysis.precision import UNIT
from edgec.target import Target
from edgec.tuning_log import Entry, append, fingerprint

NATIVE = Target.native(host_features())
THREADS = 2
AMX = "x86-64-v4+vnni+amx+bf16"


class Block(nn.Module):
    """Three layers, the second one with a sum in its epilogue; sizes that are odd."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.first, self.second, self.third = (nn.Linear(a, b) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu(self.first(x)))
        return self.third(torch.relu(y + x))


def program(precision: Precision, rows: int = 37) -> tuple[ExportedProgram, Tensor]:
    """In bytes, unless it is to be in bfloat16."""
    torch.manual_seed(0)
    model, x = Block(34, 70, 34, 33).eval(), torch.randn(rows, 34)
    if precision == "float32":
        return quantize(model, [x]), x
    return torch.export.export(model, (x,)), x


@pytest.mark.parametrize("filters", [16, 64])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_as_without_tiles(
    precision: Precision, filters: int, tmp_path: Path
) -> None:
    model, x = program(precision)
    usual = Options(precision=precision, use_cache=False)
    imported, _ = import_for_tuning(model, None, NATIVE, usual)
    for op in imported.module.walk():
        if isinstance(op, sq.LinearOp):
            key = layer_key(op, imported.ctx.weights)
            block = filters if "weight=70x" in key else 16
            settings = {"filters": block, "tiles": 1, "vectors": 2, "chunk": 1}
            name = fingerprint(NATIVE)
            entry = Entry(name, THREADS, key, "tiles", settings, 1.0, 1.0, 1)
            append(tmp_path / "log", entry)
    log = Options(precision=precision, use_cache=False, tuning_log=tmp_path / "log")
    other, tiles = (
        edgec.compile(model, target=NATIVE, threads=THREADS, options=options)
        for options in (usual, log)
    )
    kernels = [row.kernel.split()[0] for row in tiles.report().layers]
    assert kernels == ["tiles"] * 3
    assert "tiles" not in [row.kernel.split()[0] for row in other.report().layers]
    wanted, found = other(x.numpy()), tiles(x.numpy())
    if precision == "float32":
        np.testing.assert_array_equal(found, wanted)
    # Sums that are rounded elsewhere move single activations by one bit of eight.
    assert np.linalg.norm(found - wanted) < UNIT * np.linalg.norm(wanted)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_targets_with_tiles_choose_them_for_many_rows(precision: Precision) -> None:
    torch.manual_seed(0)
    options = Options(precision=precision, use_cache=False)
    for rows, size, is_tiled in ((1, 2048, False), (64, 512, True)):
        model, x = nn.Linear(size, size).eval(), torch.randn(rows, size)
        given = quantize(model, [x]) if precision == "float32" else model
        example = None if precision == "float32" else x
        text = emit(given, example, form="mlir", target=AMX, options=options).decode()
        assert ('#sq.kernel<"tiles"' in text) == is_tiled
        usual = "codes" if precision == "float32" else "dense"
        assert f"predicted {usual} / tiles = " in text
        text = emit(
            given, example, form="mlir", target="x86-64-v4+vnni+bf16", options=options
        ).decode()
        assert '#sq.kernel<"tiles"' not in text
