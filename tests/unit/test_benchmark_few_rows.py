"""Layers of one row, the speed of memory, and the peak of products of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgec
from benchmarks import few_rows, quantized, reading, suites
from benchmarks.engines import Setup
from benchmarks.models import MODELS, ModelSpec
from benchmarks.peak import (
    PeakLoop,
    compile_loop,
    loop_inputs,
    peak_products_per_s,
)
from benchmarks.results import WorkloadResult
from benchmarks.suites import Plan, run_linear, run_quantized, run_recurrent
from edgec.target import Target
from tests.lanes import runnable_targets


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr("benchmarks.runner.WARM_UP_S", 0.0)
    monkeypatch.setattr("benchmarks.runner.TURN_S", 0.0)
    return Plan(Setup(tmp_path), threads=1, rounds=1)


class SmallGru(nn.Module):
    """The acoustic model with fewer numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.classifier = nn.GRU(16, 64, num_layers=2), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.gru(x)[0])


def test_stacks_of_linear_layers_are_right_and_measured(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "FEATURES", 128)
    monkeypatch.setattr(few_rows, "LAYERS", {16: 1, 8: 2, 4: 3, 2: 2})
    monkeypatch.setattr(reading, "READ_BYTES", 1 << 16)
    results = [*run_linear(plan), *run_linear(plan, (16,))]
    assert [result.workload for result in results] == [
        "2 linear 128x128, int8",
        "3 linear 128x128, int4",
        "2 linear 128x128, int2",
        "1 linear 128x128, bf16",
    ]
    sizes = (2 * 128**2, 3 * 64 * 128, 64 * 128, 2 * 128**2)
    for result, size in zip(results, sizes, strict=True):
        assert not result.failures()
        (row,) = result.engines
        assert row.latency is not None
        figures = result.to_json()["figures"]
        assert figures["bytes_per_s"] == pytest.approx(size / row.latency.median_s)
        share = figures["bytes_per_s"] / figures["most_bytes_per_s"]
        assert figures["share_of_bandwidth"] == pytest.approx(share)
        assert result.notes[-1].endswith(f"{share:.2f}")


def test_layers_of_a_stack_read_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_rows, "FEATURES", 128)
    for bits in (8, 4, 2):
        layer = few_rows.ByteLinear(bits, 0)
        compiled = edgec.compile(layer, torch.ones(1, 128), threads=1)
        assert [row.scheme for row in compiled.report().layers] == [f"int{bits}"]


def test_the_acoustic_model_in_integers(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, few_rows.MODEL, ModelSpec(SmallGru, (1, 1, 16)))
    monkeypatch.setattr(few_rows, "ENGINES", ("edgec",))
    for weights, result in zip(
        few_rows.FORMATS, run_recurrent(replace(plan, rounds=2)), strict=True
    ):
        assert not result.failures()
        rows = {row.engine: row for row in result.engines}
        own = rows[f"edgec-{weights}"]
        assert list(rows) == ["torch", "edgec-sparse", own.engine]
        assert [row.form for row in rows.values()] == ["float", "float", weights]
        assert result.own() is own
        assert result.ratio(rows["torch"]) is not None


def test_pruned_networks_are_compared_with_the_dense_peak(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "peak_products_per_s", lambda *_: 1e11)
    x = torch.zeros(1, 4, 6, 6)
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.Flatten(), nn.Linear(288, 2)
    )
    assert quantized.multiply_adds(model, (x,)) == 8 * 36 * 36 + 2 * 288
    spec = ModelSpec(
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU()), tuple(x.shape)
    )
    monkeypatch.setitem(MODELS, "one", spec)
    monkeypatch.setattr(quantized, "int8_peers", lambda _setup: [])
    monkeypatch.setattr(quantized, "layers_on_integers", lambda *_: ())
    cases = [quantized.Case("one", 0.5), quantized.Case("one")]
    pruned, dense = run_quantized(cases, plan)
    own = pruned.own()
    assert own is not None
    assert own.engine == "edgec-int8"
    assert own.latency is not None
    torch_row = next(row for row in pruned.engines if row.engine == "torch")
    assert pruned.ratio(torch_row) is not None
    figures = pruned.figures
    assert figures["dense_multiply_adds"] == 8 * 16 * 36
    assert figures["int8_peak_per_s"] == 1e11
    seconds = 8 * 16 * 36 / (1e11 * figures["past_dense_peak"])
    assert seconds == pytest.approx(own.latency.median_s)
    assert pruned.notes[-1].startswith("past the dense peak: ")
    assert not dense.figures


def test_what_was_not_timed_has_no_figures() -> None:
    result = WorkloadResult("w", None, ((1,),), ())
    with pytest.raises(ValueError, match="w was not timed"):
        quantized.beyond_peak(result, 1, 1)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_the_loop_of_the_peak_multiplies(target: Target) -> None:
    usual = PeakLoop.of(target, 1)
    assert usual.vectors * usual.weights + usual.weights < target.registers
    loop = PeakLoop(2, usual.vectors, usual.weights, rows=3, turns=2)
    lanes = target.lanes
    x, w = loop_inputs(loop, lanes)
    (found,) = compile_loop(loop, target)([x, w])
    xs = x.view(np.uint8).reshape(-1, lanes, 4).astype(np.int64)
    ws = w.view(np.int8).reshape(-1, lanes, 4).astype(np.int64)
    rows = [xs[n : n + loop.vectors].sum(0) for n in range(loop.rows)]
    expected = (sum(rows) * ws.sum(0)).sum(-1) * loop.turns
    np.testing.assert_array_equal(found.reshape(2, lanes), [expected] * 2)
    assert loop.products(lanes) == 2 * 2 * 3 * loop.vectors * loop.weights * lanes * 4


def test_a_peak_is_what_a_processor_can_do() -> None:
    for target in runnable_targets():
        # No core adds 4096 products of bytes in a cycle of 6 GHz, or less than one.
        assert 1e8 < peak_products_per_s(target, 1, calls=3) < 4096 * 6e9
