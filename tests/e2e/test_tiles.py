"""Integer networks on tiles: bit for bit what the kernels of quads compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

import edgec
from edgec.codegen.host import host_features
from edgec.compress import prune, quantize
from edgec.dialects import nn as nn_dialect
from edgec.dialects import sq
from edgec.driver import emit, import_for_tuning
from edgec.errors import InvalidInput
from edgec.options import Options
from edgec.passes.analysis.layer_key import layer_key
from edgec.target import Target
from edgec.tuning_log import Entry, append, fingerprint
from tests.lanes import runnable_targets

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), Target.native(host_features())],
    ids=lambda target: target.name,
)
AMX = Target.parse("x86-64-v4+vnni+amx")
THREADS = 2


class Network(nn.Module):
    """A stem with a stride, sums, odd channels, columns that lie side by side."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.stem = conv(3, 34, 3, padding=1, stride=2)
        self.wide = conv(34, 70, 1)
        self.plain = conv(70, 70, 3, padding=1, bias=False)
        self.short = conv(34, 70, 1)
        self.last = conv(70, 9, 3, dilation=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = functional.relu6(self.wide(x))
        return self.last(torch.relu(self.plain(y) + self.short(x)))


SHAPES = {1: (3, 3, 21), 2: (2, 3, 13, 17), 3: (1, 3, 5, 7, 6)}


def quantized(rank: int, scheme: str = "") -> tuple[ExportedProgram, Tensor]:
    """A quantized network, and an input."""
    torch.manual_seed(0)
    model, x = Network(rank).eval(), torch.randn(SHAPES[rank])
    if scheme:
        prune(model, scheme, 0.3)
    return quantize(model, [torch.randn(x.shape) for _ in range(2)]), x


def tiles_log(
    path: Path,
    program: ExportedProgram,
    target: Target,
    filters: int,
    tiles: int = 1,
    vectors: int = 2,
) -> Options:
    """Options with a log that has all integer convolutions run on tiles."""
    imported, _ = import_for_tuning(program, None, target, Options())
    for op in imported.module.walk():
        if not isinstance(op, sq.ConvOp) or not sq.has_integers(op.input):
            continue
        few = filters if nn_dialect.shape_of(op.weight)[0] > 16 else 16
        settings = {"filters": few, "tiles": 1, "vectors": vectors, "chunk": 2}
        if few > 16:
            settings["tiles"] = tiles
        name = fingerprint(target)
        entry = Entry(
            name,
            THREADS,
            layer_key(op, imported.ctx.weights),
            "tiles",
            settings,
            1.0,
            1.0,
            1,
        )
        append(path, entry)
    return Options(use_cache=False, tuning_log=path)


@targets
@pytest.mark.parametrize(
    ("rank", "filters"), [(1, 32), (2, 16), (2, 32), (2, 64), (3, 64)]
)
def test_the_same_as_quads(
    rank: int, filters: int, target: Target, tmp_path: Path
) -> None:
    schemes = {16: "", 32: "block-punched:32x4", 64: "block-punched:16x4"}
    program, x = quantized(rank, schemes[filters])
    options = tiles_log(tmp_path / "log", program, target, filters, filters // 32 or 1)
    quads, tiles = (
        edgec.compile(program, target=target, threads=THREADS, options=each)
        for each in (Options(use_cache=False), options)
    )
    kernels = [row.kernel.split()[0] for row in tiles.report().layers]
    assert kernels == ["tiles"] * 5
    kernels = [row.kernel.split()[0] for row in quads.report().layers]
    if "amx-int8" not in target.features:
        assert kernels == ["quads"] * 5
    assert torch.equal(tiles(x), quads(x))
    assert np.unique(tiles(x).numpy()).size > 20


def test_targets_with_tiles_choose_them() -> None:
    """By prediction: a wide layer, not one of few channels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()
    small = quantize(model, [torch.randn(1, 3, 8, 8)])
    wide, _ = quantized(2)
    texts = {
        (name, target.name): emit(program, form="mlir", target=target).decode()
        for name, program in (("small", small), ("wide", wide))
        for target in (AMX, Target.parse("x86-64-v4+vnni"))
    }
    assert '#sq.kernel<"tiles"' in texts["wide", AMX.name]
    assert "tiles kernel: predicted quads / tiles = " in texts["wide", AMX.name]
    assert '#sq.kernel<"tiles"' not in texts["small", AMX.name]
    assert "quads kernel: predicted quads / tiles = 0." in texts["small", AMX.name]
    for name in ("small", "wide"):
        other = texts[name, "x86-64-v4+vnni"]
        assert '#sq.kernel<"tiles"' not in other
        assert "kept_groups" not in other


def test_the_code_has_tiles() -> None:
    program, _ = quantized(2)
    text = emit(program, form="asm", target=AMX).decode()
    for name in ("ldtilecfg", "tileloadd", "tdpbsud", "tilestored", "tilerelease"):
        assert f"\t{name}" in text
    other = emit(program, form="asm", target="x86-64-v4+vnni").decode()
    assert "tmm" not in other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": 48}, r"`filters` must be one of \[16, 32, 64\], got 48"),
        ({"tiles": 2}, "`tiles` must be at most 1, got 2"),
        ({"vectors": 4}, "must sum to at most 8, got 1 and 4"),
        ({"vectors": 0}, "`vectors` must be at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit(
    settings: dict[str, int], message: str, tmp_path: Path
) -> None:
    program, _ = quantized(1)
    target = Target.native(host_features())
    imported, _ = import_for_tuning(program, None, target, Options())
    (op, *_) = (op for op in imported.module.walk() if isinstance(op, sq.ConvOp))
    usual = {"filters": 16, "tiles": 1, "vectors": 2, "chunk": 2}
    entry = Entry(
        *(fingerprint(target), THREADS, layer_key(op, imported.ctx.weights), "tiles"),
        {**usual, **settings},
        *(1.0, 1.0, 1),
    )
    append(tmp_path / "log", entry)
    options = Options(use_cache=False, tuning_log=tmp_path / "log")
    with pytest.raises(InvalidInput, match=message):
        edgec.compile(program, target=target, threads=THREADS, options=options)
