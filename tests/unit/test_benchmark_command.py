"""The benchmark command: its engines, suites, options and one real, small run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import benchmarks.__main__
from benchmarks.__main__ import main
from benchmarks.compile_cost import peak_bytes
from benchmarks.engines import ENGINES, Setup, check_names, make_engines
from benchmarks.engines.base import missing
from benchmarks.engines.edgec import EdgeC
from benchmarks.engines.onnx_file import onnx_file
from benchmarks.engines.torch import TorchCompile
from benchmarks.machine import instruction_tier
from benchmarks.models import MODELS, ModelSpec
from benchmarks.request import Request
from benchmarks.runner import Workload, run_workload
from benchmarks.suites import ABLATION, SPINE, ablation_engines
from edgec.codegen.host import host_features
from edgec.errors import InvalidInput
from edgec.target import Target

X = torch.tensor([1.0, -2.0])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Engines


def test_edgec_is_two_rows_where_the_model_is_pruned() -> None:
    setup = Setup(Path("bench-output"))
    dense = make_engines(["edgec", "torch"], setup, is_pruned=False)
    pruned = make_engines(["edgec", "torch"], setup, is_pruned=True)
    assert [e.name for e in dense] == ["edgec-dense", "torch"]
    assert [e.name for e in pruned] == ["edgec-dense", "edgec-sparse", "torch"]


@pytest.mark.parametrize("names", [["torch", "tvm"], ["torch", "torch"]])
def test_engine_names_are_checked(names: list[str]) -> None:
    with pytest.raises(InvalidInput, match=names[1]):
        check_names(names)


def test_engines_carry_the_names_they_are_asked_for_with() -> None:
    setup = Setup(Path("bench-output"), "x86-64-v3")
    made = {name: make(setup) for name, make in ENGINES.items()}
    assert {name: engine.name for name, engine in made.items()} == {n: n for n in made}
    own = [engine for engine in made.values() if isinstance(engine, EdgeC)]
    assert [engine.options.sparsity for engine in own] == ["ignore", "auto", "ignore"]
    assert [engine.options.precision for engine in own][1:] == ["float32", "bfloat16"]
    assert {engine.target for engine in own} == {"x86-64-v3"}
    assert all(engine.is_own == isinstance(engine, EdgeC) for engine in made.values())
    assert not made["openvino-default"].is_float32
    assert made["openvino"].is_float32


def test_ablation_switches_one_option_on_after_the_other() -> None:
    engines = ablation_engines(Setup(Path("bench-output")))
    on = [[getattr(e.options, name) for name in ABLATION] for e in engines]
    alone = [[place != off for place in range(3)] for off in range(2)]
    steps = [[place < count for place in range(3)] for count in range(4)]
    assert on == [*steps[:3], *alone, steps[3]]
    assert len({e.name for e in engines}) == len(engines)


def test_missing_packages_are_named() -> None:
    assert missing("json") is None
    assert "no_such_thing" in (missing("json", "no_such_thing") or "")


def test_torch_compile_without_a_compiler_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "'no-such-compiler'" in (TorchCompile().available() or "")


def test_onnx_files_are_found_by_content(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = nn.Linear(2, 2).eval()
    first = onnx_file(model, (X,), tmp_path)
    written = first.stat().st_mtime_ns
    assert onnx_file(model, (X,), tmp_path) == first
    assert first.stat().st_mtime_ns == written
    with torch.no_grad():
        model.weight.add_(1)
    assert onnx_file(model, (X,), tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", sorted(ENGINES.keys() - {"torch-compile"}))
def test_every_engine_gives_the_numbers_of_torch(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name](Setup(tmp_path))
    reason = engine.available()
    if reason is not None:
        pytest.skip(reason)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    x = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
    workload = Workload("small", model, (x,), [engine])
    result = run_workload(workload, threads=1, rounds=1)
    assert not result.failures()
    latency = result.engines[0].latency
    assert latency is not None
    assert latency.calls >= 1
    assert result.engines[0].version


# Machine


@pytest.mark.parametrize(
    ("features", "tier"),
    [
        ({"avx2", "avx512f", "amx-tile"}, "amx"),
        ({"avx2", "avx512f"}, "avx512"),
        ({"avx", "avx2"}, "avx2"),
        ({"neon"}, "neon"),
        ({"sse2"}, "baseline"),
    ],
)
def test_tier_is_the_widest(features: set[str], tier: str) -> None:
    assert instruction_tier(features) == tier


def test_peak_memory_is_read_in_bytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 9 kB\nVmHWM:\t  12 kB\n")
    assert peak_bytes(status) == 12 * 1024
    status.write_text("Name:\tpython\n")
    with pytest.raises(OSError, match="VmHWM"):
        peak_bytes(status)


# The command


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"OMP_NUM_THREADS": "1"}).invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --suite or --models"),
        (("--suite", "spine", "--models", "vgg16"), "give either"),
        (("--suite", "spine", "--engines", "torch"), "go with --models"),
        (("--suite", "spine", "--prune", "pattern"), "go with --models"),
        (("--models", "vgg16", "--density", "0.5"), "needs --prune"),
        (("--models", "vgg61", "--threads", "1"), "no model named 'vgg61'"),
        (("--models", "vgg16", "--engines", "tvm"), "no engine named 'tvm'"),
        (("--models", "vgg16", "--target", "z80"), "unknown target 'z80'"),
    ],
)
def test_wrong_usage_is_explained(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())


def commands_in_the_documentation() -> list[str]:
    root = Path(__file__).parent.parent.parent
    page = (root / "docs" / "benchmarks.md").read_text()
    texts = (page, str(benchmarks.__main__.__doc__))
    found = re.findall(r"(?m)^ {4}python -m benchmarks (.*)$", "\n".join(texts))
    return [command for command in dict.fromkeys(found) if command != "--help"]


@pytest.mark.parametrize("command", commands_in_the_documentation())
def test_documented_commands_are_right(command: str) -> None:
    request = Request(**main.make_context("benchmarks", command.split()).params)
    assert set(request.models) <= set(MODELS)
    check_names(request.engines)
    Target.parse(request.target, host_features)


def test_the_spine_is_made_of_known_names() -> None:
    assert {case.model for case in SPINE} <= set(MODELS)
    for case in SPINE:
        check_names(case.engines)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (("none",), None),
        (("pattern",), 0.125),
        (("2:4",), 0.5),
        (("column:8", "--density", "0.25"), 0.25),
    ],
)
def test_the_density_to_prune_to(
    options: tuple[str, ...], kept: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Request] = []
    monkeypatch.setattr("benchmarks.execute.execute", found.append)
    invoke("--models", "vgg16", "--prune", *options)
    assert [request.kept for request in found] == [kept]
    assert found[0].prune == options[0]


def test_edgec_next_to_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ModelSpec(MODELS["squeezenet1_1"].structure, (1, 3, 48, 48))
    monkeypatch.setitem(MODELS, "small", small)
    file = tmp_path / "numbers.json"
    result = invoke(
        *("--models", "small", "--engines", "edgec,torch", "--prune", "pattern"),
        *("--threads", "1", "--rounds", "2"),
        *("--folder", str(tmp_path / "out"), "--json", str(file)),
    )
    assert result.exit_code == 0, result.output
    stored = json.loads(file.read_text())
    (table,) = stored["workloads"]
    rows = {each["engine"]: each for each in table["engines"]}
    assert list(rows) == ["edgec-dense", "edgec-sparse", "torch"]
    assert all(each["error"] <= 1e-4 for each in rows.values())
    assert all(each["latency"]["median_s"] > 0 for each in rows.values())
    assert table["density"] == 0.125
    assert stored["threads"] == 1
    assert stored["versions"]["torch"] == torch.__version__
    assert stored["machine"]["cores"] >= 1
    assert "best peer ÷ edgec" in result.output
