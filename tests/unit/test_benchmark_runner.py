"""The benchmark runner: turns, statistics, reasons; engines and time are fakes."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from benchmarks import tables
from benchmarks.engines.base import Array, Run
from benchmarks.results import EngineResult, Latency, WorkloadResult
from benchmarks.runner import (
    TURN_S,
    WARM_UP_S,
    Workload,
    measure,
    relative_error,
    run_workload,
    turn_order,
)

X = torch.tensor([1.0, -2.0])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class FakeTime:
    """A clock that only runs advance; remembers who ran."""

    now: float = 0.0
    ran: list[str] = field(default_factory=list[str])

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds: float, output: Sequence[Array] = ()) -> Run:
        def call() -> Sequence[Array]:
            self.now += seconds
            self.ran.append(name)
            return output

        return call


@dataclass
class FakeEngine:
    """Takes `seconds` per call and returns twice the input, plus `wrong_by`."""

    time: FakeTime
    name: str
    seconds: float = 0.01
    is_own: bool = False
    is_float32: bool = True
    wrong_by: float = 0.0
    reason: str | None = None
    raises: str | None = None

    def available(self) -> str | None:
        return self.reason

    def version(self) -> str:
        assert self.reason is None
        return "1.2"

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        assert threads == 1
        self.time.now += 5
        if self.raises is not None:
            raise RuntimeError(self.raises)
        output = 2 * inputs[0].numpy() + self.wrong_by
        return self.time.run(self.name, self.seconds, [output])


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def run_fakes(time: FakeTime, *engines: FakeEngine, rounds: int = 2) -> WorkloadResult:
    workload = Workload("double", Double(), (X,), engines)
    return run_workload(workload, threads=1, rounds=rounds, clock=time)


def row_of(result: WorkloadResult, name: str) -> EngineResult:
    return next(row for row in result.engines if row.engine == name)


# Turns


def test_rounds_rotate_and_turn_around() -> None:
    orders = ["".join(turn_order("abc", number)) for number in range(6)]
    assert orders == ["abc", "acb", "cab", "cba", "bca", "bac"]


@given(st.integers(0, 50), st.integers(0, 6))
def test_every_round_has_everyone_once(number: int, size: int) -> None:
    names = [str(each) for each in range(size)]
    assert sorted(turn_order(names, number)) == names


def test_in_a_turn_one_warm_up_then_calls_for_the_time_of_a_turn() -> None:
    time = FakeTime()
    measured = measure({"slow": time.run("slow", 0.02)}, 3, time)
    assert [len(turn) for turn in measured["slow"]] == [2, 2, 2]  # 2 x 20 ms
    # One call and three to find out how many make a turn; in each round as many to warm
    # up as last long enough, and the two that count.
    warm_up = math.ceil(WARM_UP_S / 0.02)
    assert len(time.ran) == 4 + 3 * (warm_up + 2)


def test_a_fast_engine_warms_up_for_longer_and_is_called_more_often() -> None:
    time = FakeTime()
    measured = measure({"fast": time.run("fast", 0.001)}, 1, time)
    assert len(measured["fast"][0]) >= TURN_S / 0.001
    untimed = len(time.ran) - 4 - len(measured["fast"][0])
    assert untimed >= WARM_UP_S / 0.001


def test_engines_take_turns() -> None:
    time = FakeTime()
    runs = {name: time.run(name, 0.05) for name in ("a", "b", "c")}
    measure(runs, 2, time)
    assert "".join(time.ran[12:]) == "aabbcc" + "aaccbb"


def test_no_rounds_means_no_calls() -> None:
    time = FakeTime()
    assert measure({"a": time.run("a", 1.0)}, 0, time) == {"a": []}
    assert not time.ran


# Statistics


def test_statistics_of_a_known_sample() -> None:
    latency = Latency.of([[1.0, 2.0], [3.0, 4.0], [5.0]])
    assert (latency.median_s, latency.min_s, latency.calls) == (3.0, 1.0, 5)
    assert (latency.low_s, latency.high_s) == (2.0, 4.0)
    assert latency.p95_s == pytest.approx(4.8)
    assert latency.rounds_s == (1.5, 3.5, 5.0)


def row(
    name: str, *rounds_s: float, is_float32: bool = True, failed: str | None = None
) -> EngineResult:
    return EngineResult(
        engine=name,
        is_own=name.startswith("edgec"),
        is_float32=is_float32,
        version="1",
        failed=failed,
        latency=Latency.of([[each] for each in rounds_s]) if rounds_s else None,
    )


def result_of(*rows: EngineResult) -> WorkloadResult:
    return WorkloadResult("w", None, ((1,),), rows)


def test_ratios_are_of_the_medians_with_the_quartiles_of_the_rounds() -> None:
    peer = row("peer", 4.0, 2.0, 9.0)
    ratio = result_of(row("edgec", 2.0, 1.0, 3.0), peer).ratio(peer)
    assert ratio is not None
    assert ratio.ratio == 2.0
    assert (ratio.low, ratio.high) == (2.0, 2.5)  # of 2, 2, 3


def test_the_best_peer_is_the_fastest_in_float32_that_ran() -> None:
    result = result_of(
        row("edgec", 1.0),
        row("slow", 3.0),
        row("quick", 2.0),
        row("bfloat16", 0.5, is_float32=False),
        row("broken", failed="it broke"),
    )
    peer = result.best_peer()
    assert peer is not None
    assert peer.engine == "quick"
    assert result.to_json()["best_peer_ratio"]["ratio"] == 2.0


def test_others_are_compared_with_the_last_row_of_edgec() -> None:
    result = result_of(row("edgec-dense", 4.0), row("edgec-sparse", 1.0))
    ratio = result.ratio(result.engines[0])
    assert ratio is not None
    assert ratio.ratio == 4.0


def test_without_edgec_there_are_no_ratios() -> None:
    result = result_of(row("peer", 1.0))
    assert result.ratio(result.engines[0]) is None
    assert result.to_json()["best_peer_ratio"] is None


@pytest.mark.parametrize(
    ("found", "error"),
    [([1.0, 4.0], 0.0), ([1.0, 3.0], 0.25), ([math.nan, 4.0], math.nan)],
)
def test_relative_error(found: list[float], error: float) -> None:
    expected = [np.array([1.0, 4.0], np.float32)]
    got = relative_error([np.array(found, np.float32)], expected)
    assert got == pytest.approx(error, nan_ok=True)


def test_other_shapes_or_numbers_of_outputs_are_infinitely_wrong() -> None:
    two = np.zeros(2, np.float32)
    assert relative_error([two[:1]], [two]) == math.inf
    assert relative_error([], [two]) == math.inf


def test_nan_in_any_output_is_nan() -> None:
    one, nan = np.ones(1, np.float32), np.full(1, np.nan, np.float32)
    assert math.isnan(relative_error([nan, one], [one, one]))
    assert math.isnan(relative_error([one, nan], [one, one]))


# Whole workloads


def test_a_workload_of_fakes() -> None:
    time = FakeTime()
    result = run_fakes(
        time,
        FakeEngine(time, "edgec", 0.01, is_own=True),
        FakeEngine(time, "peer", 0.03),
    )
    peer = row_of(result, "peer")
    assert peer.latency is not None
    assert peer.latency.median_s == pytest.approx(0.03)
    assert peer.prepare_s == pytest.approx(5.0)
    assert peer.error == 0.0
    ratio = result.ratio(peer)
    assert ratio is not None
    assert ratio.ratio == pytest.approx(3.0)
    assert not result.failures()


def test_what_does_not_run_says_why_and_is_not_timed() -> None:
    time = FakeTime()
    result = run_fakes(
        time,
        FakeEngine(time, "absent", reason="not installed"),
        FakeEngine(time, "broken", raises="no such op\nand much more"),
        FakeEngine(time, "wrong", wrong_by=0.1),
        FakeEngine(time, "nan", wrong_by=math.nan),
        FakeEngine(time, "good"),
    )
    assert [row.engine for row in result.engines if row.latency] == ["good"]
    assert row_of(result, "absent").skipped == "not installed"
    assert row_of(result, "absent").version is None
    assert result.failures() == [
        "double, broken: RuntimeError: no such op",
        "double, wrong: relative error 0.025 is more than 0.001",
        "double, nan: relative error nan is more than 0.001",
    ]
    assert set(time.ran[-6:]) == {"good"}


def test_an_engine_that_may_use_bfloat16_may_be_less_exact() -> None:
    time = FakeTime()
    loose = FakeEngine(time, "loose", wrong_by=0.1, is_float32=False)
    assert not run_fakes(time, loose).failures()


def test_no_rounds_compare_only() -> None:
    time = FakeTime()
    result = run_fakes(time, FakeEngine(time, "a"), rounds=0)
    assert row_of(result, "a").error == 0.0
    assert row_of(result, "a").latency is None
    assert time.ran == ["a"]


def test_results_survive_json() -> None:
    time = FakeTime()
    engines = [
        FakeEngine(time, "edgec", is_own=True),
        FakeEngine(time, "peer", 0.02),
        FakeEngine(time, "absent", reason="not installed"),
        FakeEngine(time, "nan", wrong_by=math.nan),
    ]
    stored = run_fakes(time, *engines).to_json()
    assert json.loads(json.dumps(stored, allow_nan=False)) == _lists(stored)
    rows = {each["engine"]: each for each in stored["engines"]}
    assert rows["peer"]["ratio"]["ratio"] == pytest.approx(2.0)
    assert rows["absent"]["ratio"] is None
    assert rows["nan"]["error"] is None
    assert "relative error nan" in rows["nan"]["failed"]
    assert stored["best_peer"] == "peer"


def _lists(value: Any) -> Any:
    """The value with lists for tuples, as JSON has it."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return (
        [_lists(each) for each in value] if isinstance(value, tuple | list) else value
    )


def test_the_table_shows_every_row_and_reason() -> None:
    time = FakeTime()
    result = run_fakes(
        time,
        FakeEngine(time, "edgec", is_own=True),
        FakeEngine(time, "peer", 0.02),
        FakeEngine(time, "wrong", wrong_by=0.1),
        FakeEngine(time, "absent", reason="not installed: [it]"),
    )
    console = Console(width=120, file=io.StringIO(), record=True)
    tables.print_latencies(console, result)
    tables.print_gains(console, result)
    text = console.export_text()
    assert "best peer ÷ edgec: 2.00 (2.00-2.00) (peer)" in text
    assert "absent is skipped: not installed: [it]" in text
    assert "double, wrong FAILED: relative error 0.025" in text
    assert "2.5e-02" in text
    assert "peer: 0.500 times as fast as without" in text
