"""Schedules of linear layers on tiles: what is offered, and what it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgec import driver
from edgec.compress import quantize
from edgec.driver import import_for_tuning
from edgec.layer_program import candidates, compile_layer, isolate, layers_of
from edgec.options import Options, Precision
from edgec.tuning_log import Entry, fingerprint

AMX = "x86-64-v4+vnni+bf16+amx"


def model_of(precision: Precision) -> tuple[Any, torch.Tensor, torch.Tensor | None]:
    """A layer that is not float32, its input, and an example if it needs one.

    On bytes it may read tokens.
    """
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(70, 90)).eval()
    if precision == "bfloat16":
        x = torch.randn(37, 70)
        return model, x, x
    x = torch.randn(2, 37, 70)
    return quantize(model, [x]), x, None


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_what_is_offered_gives_the_same(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plain code, if the machine has no tiles."""
    monkeypatch.setattr(driver, "check_runnable", lambda _: None)
    model, x, example = model_of(precision)
    options = Options(precision=precision)
    imported, machine = import_for_tuning(model, example, AMX, options)
    (op,) = layers_of(imported.module, machine)
    layer, native = isolate(op, imported.ctx), driver.machine_of("native")
    several = candidates(layer, machine)
    usual = "dense" if precision == "bfloat16" else "codes"
    assert {each.family for each in several} == {usual, "tiles"}
    tiles = [each for each in several if each.family == "tiles"]
    assert len(tiles) > 4
    rows = [x.reshape(-1, 70).numpy()]
    (wanted,) = compile_layer(layer, native, None, 1)(rows)
    limit = 1e-5 if precision == "bfloat16" else 0.0
    for each in tiles[::9]:
        entry = Entry(
            *(fingerprint(native), 1, layer.key, each.family, each.settings),
            *(1.0, 1.0, 1),
        )
        (found,) = compile_layer(layer, native, entry, 1)(rows)
        assert abs(found.astype("f8") - wanted.astype("f8")).max() <= limit


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_nothing_is_offered_without_tiles(precision: Precision) -> None:
    model, _, example = model_of(precision)
    target = "x86-64-v3"
    imported, machine = import_for_tuning(
        model, example, target, Options(precision=precision)
    )
    assert layers_of(imported.module, machine) == []
