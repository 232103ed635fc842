"""Predicted times of whole models."""

from __future__ import annotations

import ctypes
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import nn

import edgec
from edgec.codegen import clock
from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object, load_object
from edgec.compress import prune, quantize
from edgec.errors import InvalidInput
from edgec.forecast import Forecast
from edgec.kernels.cost_columns import STREAM_RATE, codes_cycles
from edgec.options import Options
from edgec.passes.analysis.cycles import FREE, module_cycles, op_cycles
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target
from edgec.testing import Case, nn_modules
from tests.effort import examples

HERTZ = 1e9
X = torch.zeros(1, 16, 28, 28)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.Conv2d(64, 128, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 512),
    ).eval()


def forecast(model: nn.Module, *, threads: int = 1, hertz: float = HERTZ) -> Forecast:
    return edgec.predict(model, X, target="x86-64-v4", threads=threads, hertz=hertz)


def test_a_dense_model_gains_nothing() -> None:
    found = forecast(network())
    assert [layer.layer for layer in found.layers] == ["0", "2", "3", "6"]
    kernels = [layer.kernel for layer in found.layers]
    assert kernels == ["dense", "depthwise", "dense", "dense"]
    assert [layer.shape for layer in found.layers][-1] == (512, 128)
    assert all(layer.dense_ms == layer.ms > 0 for layer in found.layers)
    assert found.dense_ms == found.ms
    assert found.ms == pytest.approx(
        found.other_ms + sum(layer.ms for layer in found.layers)
    )


def test_what_is_pruned_gains() -> None:
    model = network()
    prune(model, "column:8", layers={"3": 0.125})
    found = forecast(model)
    before, after = {}, {}
    for layer in found.layers:
        before[layer.layer], after[layer.layer] = layer.dense_ms, layer.ms
    assert before["3"] > 2 * after["3"]
    # Channels that the pruned layer does not read are removed before it.
    assert all(before[name] >= after[name] for name in ("0", "2"))
    assert before["6"] == after["6"]
    assert found.layers[0].shape == (64, 16, 3, 3)
    assert before["3"] == forecast(network()).layers[2].ms
    assert found.dense_ms > found.ms
    assert found.layers[2].kernel == "columns"


def test_a_linear_layer_that_becomes_a_convolution_keeps_its_row() -> None:
    model = nn.Sequential(nn.Linear(500, 1024), nn.ReLU()).eval()
    prune(model, "column:8", 0.5)
    x = torch.zeros(192, 500)
    found = edgec.predict(model, x, target="x86-64-v4", threads=1, hertz=HERTZ)
    (layer,) = found.layers
    assert (layer.layer, layer.kernel) == ("0", "columns")
    # What turns the rows is paid by the other operators.
    assert found.other_ms > found.other_dense_ms


def test_a_layer_without_weights_has_its_row() -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("3.weight").zero_()
    found = forecast(model)
    assert [layer.layer for layer in found.layers] == ["0", "2", "3", "6"]
    assert found.ms < found.dense_ms


def test_the_clock_and_the_threads_divide() -> None:
    one = forecast(network())
    assert forecast(network(), hertz=2 * HERTZ).ms == pytest.approx(one.ms / 2)
    two = forecast(network(), threads=2).ms
    # Starting the kernels takes as long with two threads.
    assert one.ms / 2 < two < one.ms


@pytest.mark.parametrize("hertz", [0.0, -1.0, math.inf, math.nan])
def test_clocks_that_stand(hertz: float) -> None:
    with pytest.raises(InvalidInput, match=f"`hertz` .* got {hertz}"):
        forecast(network(), hertz=hertz)


@pytest.mark.parametrize("hertz", [3.0, 3000.0, 999_999.0])
def test_clocks_in_another_unit(hertz: float) -> None:
    with pytest.raises(InvalidInput, match=rf"1e\+06, got {hertz}: it is in Hz, 3 GHz"):
        forecast(network(), hertz=hertz)
    assert forecast(network(), hertz=1e6).hertz == 1e6


def test_threads_are_checked() -> None:
    with pytest.raises(InvalidInput, match="threads"):
        forecast(network(), threads=0)


def test_a_recurrent_layer_has_a_time() -> None:
    gru = nn.GRU(16, 32).eval()
    x = torch.zeros(5, 1, 16)
    found = edgec.predict(gru, x, target="x86-64-v3", threads=1, hertz=HERTZ)
    assert {layer.kernel for layer in found.layers} == {"gru", "dense"}
    longer = torch.zeros(50, 1, 16)
    more = edgec.predict(gru, longer, target="x86-64-v3", threads=1, hertz=HERTZ)
    assert more.ms > 5 * found.ms - 1e3 * 1e-5


def test_it_reads_well_and_stores_plain_values() -> None:
    found = forecast(network(), threads=2)
    stored = json.loads(json.dumps(found.to_json()))
    assert stored["ms"] == found.ms
    assert stored["layers"][1]["kernel"] == "depthwise"
    lines = str(found).splitlines()
    assert lines[0].split() == [
        "layer",
        "weight",
        "kernel",
        "dense",
        "ms",
        "ms",
        "gain",
    ]
    assert lines[-2].startswith("total")
    assert lines[-1] == "predicted for target x86-64-v4, 2 threads at 1.00 GHz"
    assert len(lines) == 1 + 4 + 3


def test_the_clock_counts_one_instruction_after_the_other() -> None:
    target = Target.native(host_features())
    code = compile_object(clock.clock_text(), target)
    loaded = load_object(code, target, ("edgec_clock",))
    numbers = ctypes.c_int64
    run = ctypes.CFUNCTYPE(numbers, numbers, numbers, numbers)(
        loaded.address("edgec_clock")
    )
    value = 7
    for _ in range(3 * clock.PAIRS):
        value = (value + 7) ^ 11
    assert run(3, 7, 11) == value
    assert clock.measured_hertz() == clock.measured_hertz() > 0


@examples(30)
@given(nn_modules(max_steps=6, max_batch=2))
def test_every_op_that_runs_takes_time(case: Case) -> None:
    target = Target.parse("x86-64-v3")
    run_passes(tensor_passes(Options(), target), case.ctx, case.module)
    cycles = {op: op_cycles(op, target) for op in case.module.walk()}
    for op, found in cycles.items():
        assert math.isfinite(found)
        assert (found > 0) != isinstance(op, FREE)
    assert module_cycles(case.module, target) == pytest.approx(sum(cycles.values()))


class Rows(nn.Module):
    """A recurrent and a linear layer on one row."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(256, 512), nn.Linear(512, 4096)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x)[0][-1])


def test_codes_take_less_time_than_float32() -> None:
    """Where weights are read for one row: fewer bytes, and the same products."""
    torch.manual_seed(0)
    model, x = Rows().eval(), torch.randn(3, 1, 256)
    where: dict[str, Any] = {"target": "x86-64-v4", "threads": 1, "hertz": HERTZ}
    dense = edgec.predict(model, x, **where)
    for weights in ("int8", "int4"):
        program = quantize(model, [x], weights, "none", reconstruct=False)
        found = edgec.predict(program, **where)
        for one, other in zip(found.layers, dense.layers, strict=True):
            assert one.layer == other.layer
            assert other.ms / 5 < one.ms < other.ms


def test_codes_are_bound_by_bytes_or_by_decoding() -> None:
    # From memory each of 64 MB takes a byte's time; in cache decoding takes longer.
    assert codes_cycles(1, 2**26, 2**26, lanes=16) == 2**26 / STREAM_RATE
    assert codes_cycles(1, 2**26, 2**24, lanes=16) == pytest.approx(2**22 / 0.9)
    # Four rows share the decoding.
    assert codes_cycles(4, 2**10, 0, lanes=16) == pytest.approx(64 * 2.5 / 0.9)
    assert codes_cycles(5, 2**10, 0, lanes=16) == pytest.approx(64 * 3.5 / 0.9)
