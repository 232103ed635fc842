"""Networks in bfloat16 on tiles: near to what the kernels of pairs compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgec
from edgec.codegen.host import host_features
from edgec.dialects import sq
from edgec.driver import emit
from edgec.importer import import_model
from edgec.options import Options
from edgec.passes.analysis.layer_key import layer_key
from edgec.passes.analysis.precision import UNIT
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target
from edgec.tuning_log import Entry, append, fingerprint

NATIVE = Target.native(host_features())
AMX = "x86-64-v4+vnni+amx+bf16"
HALF = Options(precision="bfloat16", use_cache=False)
THREADS = 2


def case() -> tuple[nn.Module, Tensor]:
    """A stride, odd channels, dilation, two images."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 34, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(34, 70, 3, padding=1, bias=False), nn.ReLU()),
        *(nn.Conv2d(70, 70, 1), nn.ReLU6()),
        nn.Conv2d(70, 9, 3, dilation=2, padding=2),
    )
    return model.eval(), torch.randn(2, 3, 21, 30)


@pytest.mark.parametrize("filters", [16, 32, 64])
def test_near_to_pairs(filters: int, tmp_path: Path) -> None:
    """A tuning log has layers run on tiles where the target has none."""
    model, x = case()
    imported = import_model(model, x)
    passes = tensor_passes(HALF, NATIVE)
    choice = [pass_.name for pass_ in passes].index("choose-kernel")
    run_passes(passes[:choice], imported.ctx, imported.module)
    for op in imported.module.walk():
        if isinstance(op, sq.ConvOp):
            key = layer_key(op, imported.ctx.weights)
            block = 16 if "weight=9x" in key else filters
            settings = {"filters": block, "tiles": 1, "vectors": 2, "chunk": 2}
            name = fingerprint(NATIVE)
            entry = Entry(name, THREADS, key, "tiles", settings, 1.0, 1.0, 1)
            append(tmp_path / "log", entry)
    log = Options(precision="bfloat16", use_cache=False, tuning_log=tmp_path / "log")
    pairs, tiles = (
        edgec.compile(model, x, target=NATIVE, threads=THREADS, options=options)
        for options in (HALF, log)
    )
    kernels = [row.kernel.split()[0] for row in tiles.report().layers]
    assert kernels == ["tiles"] * 4
    wanted, found = pairs(x.numpy()), tiles(x.numpy())
    # Sums that are rounded elsewhere move single activations by one bit of eight.
    assert np.linalg.norm(found - wanted) < UNIT * np.linalg.norm(wanted)


def test_targets_with_tiles_choose_them() -> None:
    model, x = nn.Conv2d(64, 64, 3).eval(), torch.randn(1, 64, 28, 28)
    for precision in ("bfloat16", "auto"):
        options = Options(precision=precision, error_budget=1.0, use_cache=False)
        texts = {
            target: emit(model, x, form="mlir", target=target, options=options).decode()
            for target in (AMX, "x86-64-v4+vnni+bf16")
        }
        assert '#sq.kernel<"tiles"' in texts[AMX]
        assert "tiles kernel: predicted pairs / tiles = " in texts[AMX]
        assert '#sq.kernel<"pairs"' in texts["x86-64-v4+vnni+bf16"]
        assert "kept_groups" not in texts["x86-64-v4+vnni+bf16"]


def test_the_code_has_tiles() -> None:
    model, x = nn.Conv2d(64, 64, 3).eval(), torch.randn(1, 64, 28, 28)
    text = emit(model, x, form="asm", target=AMX, options=HALF).decode()
    for name in ("ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease"):
        assert f"\t{name}" in text
