"""`quantize` with a format for each layer, given or chosen within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

import edgec
from edgec.compress import QuantizeReport, quantize
from edgec.compress.quantization.budget import parse_bytes
from edgec.compress.quantization.formats import GRIDS
from edgec.errors import InvalidInput
from tests.quantizing import batches, calls, residual, run

BITS = {name: grid.bits for name, grid in GRIDS.items()}


def reported(model: nn.Module, inputs: list[Tensor], *rest: Any, **more: Any) -> Any:
    """The program and its report."""
    reports: list[QuantizeReport] = []
    program = quantize(model, inputs, *rest, **more, report=reports.append)
    return program, reports[0]


class Speech(nn.Module):
    """A recurrent layer, and linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(12, 16)
        self.head = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][-1])


def speech() -> Speech:
    torch.manual_seed(0)
    return Speech().eval()


FRAMES = (5, 2, 12)


def stored(program: ExportedProgram, name: str, bits: int) -> int:
    """Bytes of a layer's weight in a program, with its codes packed."""
    state = program.state_dict
    codes, scales = state[f"{name}.weight_codes"], state[f"{name}.weight_scales"]
    assert int(codes.unique().numel()) <= 2**bits
    return math.ceil(codes.numel() * bits / 8) + 4 * scales.numel()


# By globs


def test_each_layer_has_the_format_of_the_first_glob_that_matches() -> None:
    formats = {"sec*": "ternary", "*d": "int8", "*t": "sp2-4"}
    program, report = reported(residual(), batches(), formats)
    found = {row.name: row.weights for row in report.layers}
    assert found == {"first": "sp2-4", "second": "ternary", "head": "int8"}
    for row in report.layers:
        assert row.stored_bytes == stored(program, row.name, BITS[row.weights])


def test_what_is_none_or_has_no_glob_is_as_if_it_were_skipped() -> None:
    inputs = batches()
    wanted = quantize(residual(), inputs, "int4", skip="first")
    for formats in ({"second": "int4", "head": "int4"}, {"first": "none", "*": "int4"}):
        program, report = reported(residual(), inputs, formats)
        assert torch.equal(run(program, inputs[0]), run(wanted, inputs[0]))
        assert len(calls(program, "quantize_per_tensor")) == len(
            calls(wanted, "quantize_per_tensor")
        )
        row = report.layers[0]
        assert (row.weights, row.activations) == ("none", "none")
        assert row.note == "none: float32"


def test_recurrent_matrices_by_module_or_by_name() -> None:
    formats = {"gru.weight_hh_l0": "ternary", "gru": "int8", "head.2": "int4"}
    program, report = reported(speech(), batches(2, FRAMES), formats)
    found = {row.name: (row.weights, row.note) for row in report.layers}
    rounded = "recurrent: rounded, one scale per row"
    assert found == {
        "head.0": ("none", "none: float32"),
        "head.2": ("int4", ""),
        "gru.weight_ih_l0": ("int8", rounded),
        "gru.weight_hh_l0": ("ternary", rounded),
    }
    program, report = reported(speech(), batches(2, FRAMES), {"head*": "int8"})
    assert report.layers[2].note == "none: float32"
    assert len(calls(program, "dequantize_per_channel")) == 2
    state = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    # Codes take a byte here; two scales and zero points are not packed.
    zero_points = 4 * (20 + 3)
    assert report.stored_bytes == state - zero_points


def test_rounded_matrices_are_in_force_for_the_layers_behind() -> None:
    """Their biases make up for what the recurrent layer has lost."""
    model, inputs = speech(), batches(3, FRAMES)
    program = quantize(model, inputs, "ternary", "none")
    with torch.no_grad():
        off = torch.cat([run(program, x) - model(x) for x in inputs]).mean(dim=0)
    assert off.abs().max() < 1e-5


# Within a budget


@pytest.fixture(scope="module")
def within() -> dict[int, Any]:
    """A program and a report for each budget."""
    return {
        size: reported(residual(), batches(), "auto", max_bytes=size)
        for size in (480, 680, 1000)
    }


def test_the_bytes_are_met_as_the_report_counts_them(within: dict[int, Any]) -> None:
    for size, (program, report) in within.items():
        assert report.stored_bytes <= size
        own = sum(stored(program, r.name, BITS[r.weights]) for r in report.layers)
        kept = (".weight_codes", ".weight_scales", ".weight_zero_points")
        others = [t for n, t in program.state_dict.items() if not n.endswith(kept)]
        rest = sum(t.numel() * t.element_size() for t in others)
        assert report.stored_bytes == own + rest


def test_more_bytes_are_less_error(within: dict[int, Any]) -> None:
    expected = [report.expected_error for _, report in within.values()]
    assert expected == sorted(expected, reverse=True)
    assert expected[0] > 10 * expected[-1]
    last = within[1000][1]
    assert {row.weights for row in last.layers} == {"int8"}
    assert {row.note for row in last.layers} == {"least error of the choices"}


def test_the_report_says_why_and_what_to_expect(within: dict[int, Any]) -> None:
    program, report = within[680]
    mixed = {row.name: row for row in report.layers}
    assert len({row.weights for row in report.layers}) > 1
    assert mixed["second"].note.endswith("more error")
    assert "288 B less than int8 for" in mixed["second"].note
    total = sum(row.sensitivity for row in report.layers)
    assert report.expected_error == pytest.approx(total)
    model = residual()
    with torch.no_grad():
        wanted = torch.cat([model(x) for x in batches()]).double()
        off = torch.cat([run(program, x) for x in batches()]).double() - wanted
    measured = float(off.square().sum() / wanted.square().sum())
    assert report.measured_error == pytest.approx(measured, rel=1e-3)
    assert 0.3 < measured / report.expected_error < 3
    text = str(report)
    assert f"expected {total:.1e}, measured {measured:.1e}" in text
    assert f"{mixed['second'].sensitivity:.1e}" in text


@pytest.mark.parametrize("activations", ["int8", "none"])
def test_a_sensitivity_is_the_error_of_one_layer_alone(activations: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    inputs = batches(3, (8, 6))
    more: dict[str, Any] = {"choices": ["ternary"], "max_bytes": "1kB"}
    _, report = reported(model, inputs, "auto", activations, **more)
    for name in ("0", "2"):
        program = quantize(model, inputs, {name: "ternary"}, activations)
        with torch.no_grad():
            wanted = torch.cat([model(x) for x in inputs]).double()
            off = torch.cat([run(program, x) for x in inputs]).double() - wanted
        alone = float(off.square().sum() / wanted.square().sum())
        found = {row.name: row.sensitivity for row in report.layers}
        assert found[name] == pytest.approx(alone, rel=1e-5)


def test_the_smallest_budget_is_in_the_message_and_works() -> None:
    with pytest.raises(InvalidInput, match="max_bytes must be at least") as caught:
        quantize(residual(), batches(), "auto", max_bytes=100)
    least = int(str(caught.value).split("at least ")[1].split(", ")[0].replace(",", ""))
    _, report = reported(residual(), batches(), "auto", max_bytes=least)
    assert report.stored_bytes == least
    assert {row.weights for row in report.layers} == {"ternary"}
    with pytest.raises(InvalidInput, match="max_bytes must be at least"):
        quantize(residual(), batches(), "auto", max_bytes=least - 1)


def test_recurrent_matrices_are_chosen_too_and_skipped_layers_left() -> None:
    inputs = batches(2, FRAMES)
    _, least = reported(speech(), inputs, "int4", skip="head.0")
    budget = least.stored_bytes + 300
    program, report = reported(
        speech(), inputs, "auto", max_bytes=budget, skip="head.0"
    )
    assert report.stored_bytes <= budget
    found = {row.name: row for row in report.layers}
    assert found["head.0"].note == "skipped"
    assert math.isnan(found["head.0"].sensitivity)
    assert found["gru.weight_hh_l0"].sensitivity > 0
    names = {row.weights for row in report.layers}
    assert len(names - {"none"}) > 1
    assert report.measured_error < 10 * report.expected_error
    del program


def wide() -> nn.Module:
    """Convolutions that are predicted to be faster on bytes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels in (3, 32, 64):
        layers += [nn.Conv2d(channels, max(32, 2 * channels), 3), nn.ReLU()]
    return nn.Sequential(*layers).eval()


def test_a_latency_is_met_as_predict_predicts_it() -> None:
    inputs = batches(2, (1, 3, 20, 20))
    where: dict[str, Any] = {"target": "x86-64-v4+vnni", "threads": 1}
    slow = edgec.predict(wide(), inputs[0], **where).ms
    fast = edgec.predict(quantize(wide(), inputs), **where).ms
    assert fast < 0.7 * slow
    limit = (fast + slow) / 2
    program, report = reported(
        wide(), inputs, "auto", max_latency=limit, **where, choices=["int8", "none"]
    )
    assert report.forecast is not None
    assert report.forecast.ms <= limit
    assert edgec.predict(program, **where).ms == report.forecast.ms
    assert {row.weights for row in report.layers} == {"int8", "none"}
    assert f"predicted {report.forecast.ms:.3f} ms (x86-64-v4+vnni" in str(report)
    with pytest.raises(InvalidInput, match=r"max_latency must be at least 0\.\d+ ms"):
        quantize(wide(), inputs, "auto", max_latency=fast / 10, **where)
    both = reported(
        wide(),
        inputs,
        "auto",
        max_latency=limit,
        max_bytes=120_000,
        **where,
        choices=["int8", "none", "int4"],
    )[1]
    assert both.stored_bytes <= 120_000
    assert both.forecast.ms <= limit
    tight: dict[str, Any] = {"max_latency": fast / 10, "max_bytes": "1MB"}
    with pytest.raises(InvalidInput, match="within max_bytes by prediction"):
        quantize(wide(), inputs, "auto", **tight, **where, choices=["int8", "none"])


def test_a_generous_latency_leaves_everything_in_float32() -> None:
    inputs = batches(2)
    program, report = reported(
        residual(), inputs, "auto", max_latency=1e3, target="x86-64-v3", threads=1
    )
    assert report.measured_error < 1e-12
    assert not calls(program, "")


def test_any_report_has_the_latency_if_there_is_a_target() -> None:
    program, report = reported(residual(), batches(), target="x86-64-v3", threads=2)
    assert (
        report.forecast.ms == edgec.predict(program, target="x86-64-v3", threads=2).ms
    )


# Arguments


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("2MB", 2_000_000),
        ("1.5 kB", 1500),
        ("512KiB", 524_288),
        ("3m", 3_000_000),
        ("2GiB", 2**31),
        ("12", 12),
        (2.5e6, 2_500_000),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {"stem": "int8"}}, "weights: no layer matches 'stem'; layers are"),
        ({"weights": {"*": "int5"}}, "weights must be one of .*, got 'int5'"),
        ({"weights": {"*": "auto"}}, "weights must be one of .*, got 'auto'"),
        ({"weights": {1: "int8"}}, "weights takes globs as text, got 1"),
        ({"weights": {}}, "all layers are skipped or 'none'"),
        ({"weights": {"*": "none"}}, "all layers are skipped or 'none'"),
        ({"weights": "auto"}, "needs max_bytes, max_latency or both"),
        ({"max_bytes": 7}, "max_bytes goes with weights='auto', got 'int8'"),
        ({"max_latency": 7}, "max_latency goes with weights='auto'"),
        ({"choices": ["int8"]}, "choices goes with weights='auto'"),
        ({"threads": 2}, "threads go with target"),
        ({"weights": "auto", "max_latency": 1.0}, "max_latency needs target"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        quantize(residual(), batches(), **arguments)


@pytest.mark.parametrize(
    "size", [0, -1, "-1MB", "2 apples", "MB", True, None.__class__]
)
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(InvalidInput, match="max_bytes must be a positive number"):
        quantize(residual(), batches(), "auto", max_bytes=size)


@pytest.mark.parametrize("latency", [0, -1.5, math.inf, math.nan, "1ms", True])
def test_latencies_that_are_none(latency: Any) -> None:
    where: dict[str, Any] = {"target": "generic", "max_latency": latency}
    with pytest.raises(InvalidInput, match="max_latency must be a positive number"):
        quantize(residual(), batches(), "auto", **where)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["int8", "int5"], "choices: weights must be one of .* got 'int5'"),
        ("int8", "choices must be a list of formats, got 'int8'"),
        ([], "a format other than 'none'"),
        (["none"], "a format other than 'none'"),
        (["int8", "int8"], "choices must differ"),
        (7, "choices must be a list"),
    ],
)
def test_choices_that_are_none(choices: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        quantize(residual(), batches(), "auto", max_bytes="1MB", choices=choices)


def test_results_must_be_numbers() -> None:
    class Best(nn.Module):
        def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.linear, self.end = nn.Linear(4, 4), end

        def forward(self, x: Tensor) -> Tensor:
            return self.end(self.linear(x))

    x = [torch.ones(2, 4)]
    with pytest.raises(InvalidInput, match="must be a floating-point"):
        quantize(Best(lambda y: y.argmax(1)), x, "auto", max_bytes="1kB")
    with pytest.raises(InvalidInput, match="must be finite on the calibration"):
        quantize(Best(lambda y: y.abs().neg().log()), x, "auto", max_bytes="1kB")
