"""The sweep: its cases, what is measured again, its file and its tables."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import execute, layers, sweep, sweep_tables
from benchmarks.__main__ import main
from benchmarks.engines import Setup
from benchmarks.layers import LayerCase, draw_case
from benchmarks.request import parse_range
from benchmarks.sweep import Sample, SweepResult, run_case, spearman
from edgec.errors import InvalidInput
from tests.effort import examples

SMALL = LayerCase(0, "conv2d", 16, 8, (6, 6), 1, 3, 1, 1, 1, "mask:8", 0.25)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Cases


@examples(60)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_cases_are_as_large_as_allowed(number: int, seed: int) -> None:
    case = draw_case(number, seed)
    assert case == draw_case(number, seed)
    assert layers.MIN_WORK <= case.work <= layers.MAX_WORK
    assert 0.05 <= case.density <= 0.9
    assert case.title.startswith(f"{number}: {case.kind}")


@examples(25)
@given(st.integers(0, 2000))
def test_a_case_is_what_it_says(number: int) -> None:
    case = draw_case(number, 0)
    model, x = case.build()
    with torch.inference_mode():
        y = results(model, x)
        assert bool(torch.equal(y, results(case.build()[0], x)))
    weights = [weight for weight in model.parameters() if weight.dim() > 1]
    calls = y.numel() // case.filters
    assert sum(weight.numel() for weight in weights) * calls == case.work
    assert x.requires_grad is False
    for weight in weights:
        share = float(weight.count_nonzero()) / weight.numel()
        # Granules are large, and a single filter or channel always stays.
        one = max(1 / case.filters, 1 / case.channels, 64 * 16 / weight.numel())
        assert 0 < share <= min(1.0, case.density + one + 0.05)


def results(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a case computes; of a recurrent layer the states of all steps."""
    y = model(x)
    return y[0] if isinstance(y, tuple) else y


def test_the_same_number_is_another_layer_with_another_seed() -> None:
    assert draw_case(3, 0) != draw_case(3, 1)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [(None, range(20)), ("0-19", range(20)), ("4", range(4, 5)), ("3-7", range(3, 8))],
)
def test_parts_of_a_sweep(text: str | None, numbers: range) -> None:
    assert parse_range(text, 20) == numbers


@pytest.mark.parametrize("text", ["20", "5-4", "0-20", "-3", "a", "3-", ""])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"within 0-19.*got '{text}'"):
        parse_range(text, 20)


# Measuring


def times_of(ratios: list[float]) -> Callable[..., dict[str, list[float]]]:
    """Stands for `take_turns`: the chosen program takes these shares, in turn."""

    def turns(
        runs: dict[str, object], _: object, rounds: int
    ) -> dict[str, list[float]]:
        ratio = ratios.pop(0)
        return {n: [1.0 if n == "dense" else ratio] * rounds for n in runs}

    return turns


@pytest.mark.parametrize(
    ("ratios", "attempts", "failed"),
    [
        ([0.5], 1, False),
        ([1.2, 1.0], 2, False),
        ([1.2, 1.2, 1.04], 3, False),
        ([1.2, 1.2, 1.06], 3, True),
    ],
)
def test_what_is_slower_is_measured_again(
    ratios: list[float],
    attempts: int,
    *,
    failed: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rounds: list[int] = []
    fake = times_of(ratios)

    def turns(runs: Any, x: Any, count: int) -> Any:  # Any: those of `take_turns`
        rounds.append(count)
        return fake(runs, x, count)

    monkeypatch.setattr(sweep, "take_turns", turns)
    # All of the layer is worth running sparse: chosen and dense are two programs.
    result = run_case(SMALL, Setup(tmp_path), threads=1)
    assert result.samples["chosen"].kernel.startswith("columns")
    assert rounds == [9, 9, 45][:attempts]
    assert result.attempts == attempts
    assert bool(result.failures()) == failed
    assert not ratios


def test_numbers_that_differ_are_a_failure() -> None:
    assert not result_of(1.0).failures()
    (line,) = replace(result_of(1.0), error=math.nan).failures()
    assert "relative error nan" in line


def test_equal_programs_are_measured_once(tmp_path: Path) -> None:
    dense = replace(SMALL, density=1.0)
    result = run_case(dense, Setup(tmp_path), threads=1)
    assert set(result.samples) == {"dense", "chosen"}
    assert result.samples["dense"].seconds == result.samples["chosen"].seconds
    assert (result.ratio, result.sparse_ratio) == (1.0, 1.0)
    assert result.error < 1e-5


# Numbers


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 99]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # Worked by hand: ranks 1 2.5 2.5 4 against 1 2 3 4.
    assert spearman([1, 5, 5, 7], [1, 2, 3, 4]) == pytest.approx(4.5 / 4.7434165)
    assert math.isnan(spearman([1], [2]))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2))
def test_rank_correlation_knows_order_alone(pairs: list[tuple[int, int]]) -> None:
    one, other = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    if len(set(one)) < 2 or len(set(other)) < 2:
        return
    found = spearman(one, other)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert spearman([a**3 + a for a in one], other) == pytest.approx(found)
    assert spearman(other, one) == pytest.approx(found)


def result_of(ratio: float, sparse: float | None = None) -> SweepResult:
    sparse = ratio if sparse is None else sparse
    samples = {
        "dense": Sample("dense filters=1", "dense", 100.0, 1e-4),
        "chosen": Sample("columns filters=8", "columns of 8", 50.0, 1e-4 * ratio),
    }
    return SweepResult(SMALL, SMALL.title, samples, ratio, sparse, 1, 1e-6)


@pytest.mark.parametrize(
    ("ratio", "sparse", "missed"), [(1.0, 0.8, True), (1.0, 0.9, False), (0.6, 0.6, 0)]
)
def test_what_dense_has_missed(ratio: float, sparse: float, *, missed: bool) -> None:
    assert result_of(ratio, sparse).is_missed == missed


def test_results_survive_the_file() -> None:
    result = result_of(0.7)
    stored = json.loads(json.dumps(result.to_json()))
    assert SweepResult.from_json(stored) == result


def test_the_tables_say_what_was_found() -> None:
    again = replace(result_of(1.01), attempts=2)
    console = Console(width=200, file=io.StringIO())
    sweep_tables.print_sweep(console, [result_of(1.2), result_of(1.0, 0.5), again])
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "3 cases; 1 slower than 1.05 of dense; 1 left dense" in text
    assert "1 measured again, of which 1 were noise" in text
    assert f"{SMALL.title}: columns filters=8 takes 1.20 of dense" in text
    assert "100 %: 1.200" in text


# The command


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"OMP_NUM_THREADS": "1"}).invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "spine", "--only", "3"), "go with --suite sweep"),
        (("--models", "vgg16", "--cases", "3"), "go with --suite sweep"),
        (("--suite", "sweep", "--only", "200"), "within 0-199"),
    ],
)
def test_wrong_usage_is_explained(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_sweep_in_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ROUNDS", 1)
    monkeypatch.setattr(sweep, "LIMIT", 1e9)  # nothing is said of the time
    monkeypatch.setattr(layers, "MAX_WORK", 3e6)
    file = tmp_path / "numbers.json"

    def run(only: str, *more: str) -> Result:
        return invoke(
            *("--suite", "sweep", "--only", only, "--threads", "1", *more),
            *("--folder", str(tmp_path / "out"), "--json", str(file)),
        )

    for only, numbers in (("0-1", [0, 1]), ("2", [0, 1, 2])):
        result = run(only)
        assert result.exit_code == 0, result.output
        stored = json.loads(file.read_text())
        assert [each["case"]["number"] for each in stored["cases"]] == numbers
        assert all(each["error"] <= 1e-4 for each in stored["cases"])
        for each in stored["cases"]:
            assert all(s["cycles"] > 0 for s in each["samples"].values())
    other = run("3", "--seed", "1")
    assert other.exit_code == 1
    assert "holds another sweep" in " ".join(other.output.split())


@pytest.mark.parametrize(("last", "failed"), [(1.01, False), (1.2, True)])
def test_what_was_slower_is_measured_after_all_others(
    last: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failed: bool
) -> None:
    measured: list[int] = []

    def run(numbers: Sequence[int], *_: object) -> Iterator[SweepResult]:
        for number in numbers:
            is_again = number in measured
            measured.append(number)
            ratio = (last if is_again else 1.1) if number == 1 else 1.0
            case = replace(SMALL, number=number)
            yield replace(result_of(ratio), case=case, attempts=1 if is_again else 3)

    monkeypatch.setattr(execute, "run_sweep", run)
    file = tmp_path / "numbers.json"
    result = invoke(
        *("--suite", "sweep", "--cases", "3", "--threads", "1"),
        *("--folder", str(tmp_path / "out"), "--json", str(file)),
    )
    assert measured == [0, 1, 2, 1]
    assert result.exit_code == int(failed), result.output
    assert json.loads(file.read_text())["cases"][1]["attempts"] == 4
