"""The `edgec` command: what it reads and writes, what it says, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgec
from edgec.tools import bench, cli
from tests.importing import sample
from tests.networks import Several, network, seeded


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of one input, and one of several."""
    folder = tmp_path_factory.mktemp("models")
    model, x = network("plain")
    torch.export.save(torch.export.export(model, (x,)), folder / "plain.pt2")
    np.save(folder / "x.npy", x.numpy())
    np.save(folder / "expected.npy", model(x).detach().numpy())
    pair = [sample(2, 4), sample(2, 1, 1, 1, seed=1)]
    args, kwargs = (sample(2, 2, 5, 6), {"pair": pair}), {"gain": sample(1, seed=2)}
    program = torch.export.export(seeded(Several), args, kwargs)
    torch.export.save(program, folder / "several.pt2")
    for name in ("plain", "several"):
        driver_main(["compile", str(folder / f"{name}.pt2"), "-o", f"{folder}/{name}"])
    return folder


def driver_main(arguments: Sequence[object]) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The reason on stderr, where the exit code must be 1 and stdout empty."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    return output.err


def usage(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What stderr says about wrong usage, where the exit code must be 2."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


# The tool itself


def test_help_comes_at_once() -> None:
    command = [sys.executable, "-m", "edgec.tools.cli", "--help"]
    times: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "bench" in result.stdout
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom edgec.tools.cli import main\nmain(['compile', '--help'])\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "numpy", "xdsl", "llvmlite", "rich"}


def test_summaries_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    summaries = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert [line for line in summaries if line.endswith("...")] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgec, version {edgec.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (["fly"], "No such command 'fly'"),
        (["compile"], "Missing argument 'MODEL'"),
        (["compile", "m.pt2"], "-o FILE says where"),
        (["compile", "m.pt2", "-o", "none/m.edgec"], "'none' is not a folder"),
        (["compile", "m.pt2", "--emit", "obj"], "not text: -o FILE"),
        (["compile", "m.pt2", "--emit", "fortran"], "'fortran' is not one of"),
        (["compile", "m.pt2", "--emit", "asm", "--report"], "not with --emit"),
        (["compile", "m.pt2", "-o", "m", "--target", "z80"], "unknown target 'z80'"),
        (["compile", "m.pt2", "-o", "m", "--threads", "0"], "0 is not in the range"),
        (["compile", "m.pt2", "-o", "m", "--sparsity", "no"], "'no' is not one of"),
        (["run", "m.edgec"], "Missing option '--output'"),
        (["bench", "m.pt2", "--against", "torch,tvm"], "no engine tvm; choose from"),
        (["bench", "m.edgec", "--against", "torch"], "--against needs the .pt2"),
        (["bench", "m.edgec", "--target", "native"], "--target: only for .pt2 files"),
        (
            ["bench", "m.edgec", "--target", "generic", "--sparsity", "auto"],
            "--target, --sparsity: only for .pt2 files",
        ),
        (
            ["bench", "m.edgec", "--precision", "auto", "--error-budget", "0.1"],
            "--precision, --error-budget: only for .pt2 files",
        ),
        (
            ["compile", "m.pt2", "-o", "m", "--precision", "half"],
            "'half' is not one of",
        ),
        (
            ["compile", "m.pt2", "-o", "m", "--error-budget", "-1"],
            "-1.0 is not in the range",
        ),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in usage(capsys, *arguments)


def test_a_bug_is_told_in_one_line(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("division by zero\nand more")

    monkeypatch.setattr("edgec.driver.build", broken)
    command = ["compile", models / "plain.pt2", "-o", "m.edgec"]
    reason = "internal error: ZeroDivisionError: division by zero (see --debug)\n"
    assert fails(capsys, *command) == f"edgec: {reason}"
    for place in (0, 4):
        debug = [str(word) for word in command]
        debug.insert(place, "--debug")
        assert cli.main(debug) == 1
        assert "Traceback" in capsys.readouterr().err


def test_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: Any, **_kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgec.compiled.load", interrupt)
    assert cli.main(["run", "m.edgec", "--output", "y.npy"]) == 130


def test_the_reader_of_a_pipe_may_leave(models: Path) -> None:
    command = f"{sys.executable} -m edgec.tools.cli compile plain.pt2 --emit lane"
    result = subprocess.run(
        ["bash", "-c", f"{command} | head -c 9; exit ${{PIPESTATUS[0]}}"],
        cwd=models,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1)  # 0 if all of it fitted into the pipe
    assert result.stderr == ""


# edgec compile


def test_compile_writes_a_model(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", models / "plain.pt2", "-o", "m.edgec", "--threads", "2"]
    driver_main([*command, "--statistics", "--report"])
    output = capsys.readouterr().out
    assert "wrote m.edgec: 0.0" in output
    assert "10x3x3x3" in output  # the report
    assert "fold-batch-norm" in output
    assert "folded = 1" in output
    assert edgec.load("m.edgec").threads == 2


@pytest.mark.parametrize(
    ("form", "beginning", "inside"),
    [
        ("mlir", "builtin.module", "sq.conv"),
        ("lane", "builtin.module", "lane.launch"),
        ("llvm", "", "define void @edgec_entry"),
        ("asm", "", "edgec_entry:"),
    ],
)
def test_emit_text(
    models: Path,
    capsys: pytest.CaptureFixture[str],
    form: str,
    beginning: str,
    inside: str,
) -> None:
    command = ["compile", models / "plain.pt2", "--emit", form]
    driver_main(command)
    text = capsys.readouterr().out
    assert text.startswith(beginning)
    assert inside in text
    driver_main([*command, "-o", "out"])
    assert Path("out").read_text() == text


def test_precision(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options reach the passes; no budget leaves all layers in float32."""
    command = ["compile", models / "plain.pt2", "--emit", "mlir"]
    found: list[bool] = []
    for precision, budget in (("float32", 1), ("bfloat16", 0), ("auto", 0)):
        driver_main([*command, "--precision", precision, "--error-budget", str(budget)])
        found.append("xbf16" in capsys.readouterr().out)
    assert found == [False, True, False]


def test_emit_an_object_for_another_machine(models: Path) -> None:
    command = ["compile", models / "plain.pt2", "--target", "aarch64", "-o", "m.o"]
    driver_main([*command, "--emit", "obj"])
    content = Path("m.o").read_bytes()
    assert content[:4] == b"\x7fELF"
    assert int.from_bytes(content[18:20], "little") == 183  # AArch64, in the ELF header


def test_print_ir_after_all(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compile", models / "plain.pt2", "-o", "m.edgec"]
    driver_main([*command, "--print-ir-after-all"])
    error = capsys.readouterr().err
    titles = [line for line in error.splitlines() if line.startswith("// ***")]
    assert titles[0] == "// *** IR after canonicalize-nn ***"
    assert titles[-1] == "// *** IR after plan-memory ***"
    assert error.count("builtin.module") == len(titles)


def test_models_that_cannot_be_read(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(capsys, "compile", "none.pt2", "-o", "m.edgec")
    assert error.startswith("edgec: error: 'none.pt2' does not exist; give the path of")
    error = fails(capsys, "compile", ".", "-o", "m.edgec")
    assert error.startswith("edgec: error: '.' is not a file; give the path of")
    Path("damaged.pt2").write_bytes((models / "plain.pt2").read_bytes()[:999])
    error = fails(capsys, "compile", "damaged.pt2", "-o", "m.edgec")
    assert "'damaged.pt2' cannot be read as a torch.export file" in error
    error = fails(capsys, "compile", models / "plain", "-o", "m.edgec")
    assert "plain' is already compiled: run it with edgec run" in error
    torch.save(torch.nn.ReLU(), "pickled.pt2")
    error = fails(capsys, "compile", "pickled.pt2", "-o", "m.edgec")
    assert "'pickled.pt2' was written by torch.save" in error
    assert not Path("m.edgec").exists()


# edgec run


def test_run(models: Path) -> None:
    command = ["run", models / "plain", "--input", models / "x.npy"]
    for extra in ([], ["--threads", "2"]):
        driver_main([*command, *extra, "--output", "y.npy"])
        expected = np.load(models / "expected.npy")
        np.testing.assert_allclose(np.load("y.npy"), expected, rtol=0, atol=1e-5)


def several_inputs() -> dict[str, Any]:
    return {
        "image": sample(2, 2, 5, 6).numpy(),
        "more_pair_0": sample(2, 4).numpy(),
        "more_pair_1": sample(2, 1, 1, 1, seed=1).numpy(),
        "gain": sample(1, seed=2).numpy(),
    }


def test_run_with_several_inputs_and_outputs(models: Path) -> None:
    inputs = several_inputs()
    assert [s.name for s in edgec.load(models / "several").inputs] == list(inputs)
    np.savez("all.npz", **inputs)
    for name, array in inputs.items():
        np.save(f"{name}.npy", array)
    program = ["run", models / "several"]
    driver_main([*program, "--input", "all.npz", "--output", "y.npz"])
    named = [f"--input={name}={name}.npy" for name in reversed(inputs)]
    driver_main([*program, *named, *(f"--output={n}.npy" for n in "abc")])
    mixed = ["--input=image.npy", "--input=gain=gain.npy"]
    mixed += ["--input=more_pair_0.npy", "--input=more_pair_1.npy"]
    driver_main([*program, *mixed, "--output", "z.npz"])
    with np.load("y.npz") as first, np.load("z.npz") as second:
        assert list(first) == ["output0", "output1", "output2"]
        for name, file in zip(first, "abc", strict=True):
            np.testing.assert_array_equal(first[name], np.load(f"{file}.npy"))
            np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the model takes 1 input (input), got 0; give each with --input"),
        (["--input=x.npy", "--input=x.npy"], "got 2"),
        (["--input=none.npy"], "'none.npy': No such file or directory"),
        (
            ["--input=y=x.npy"],
            "--input y=x.npy: the model has no input 'y'; it takes 1 input (input)",
        ),
        (["--input=input=x.npy", "--input=all.npz"], "input 'z' is not an input"),
        (["--input=input=x.npy", "--input=input=x.npy"], "'input' is given twice"),
        (["--input=objects.npy"], "'objects.npy' cannot be read as arrays"),
        (["--input=text.npy"], "'text.npy' cannot be read as arrays"),
        (["--input=text.npz"], "'text.npz' cannot be read as arrays"),
        (["--input=renamed.npz"], "'renamed.npz' holds one array without a name"),
        (["--input=renamed.npy"], "'renamed.npy' holds several arrays"),
        (
            ["--input=doubles.npy"],
            "must be float32 of shape (1, 3, 13, 11); got float64",
        ),
        (["--input=x.npy", "--output=z.npy"], "the model has 1 output (output0)"),
    ],
)
def test_inputs_that_do_not_fit(
    models: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    x = np.load(models / "x.npy")
    np.save("x.npy", x)
    np.save("doubles.npy", x.astype(np.float64))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez("all.npz", z=x)
    Path("text.npy").write_text("no array")
    Path("text.npz").write_text("no arrays")
    Path("all.npz").rename("renamed.npy")
    Path("renamed.npz").write_bytes(Path("x.npy").read_bytes())
    np.savez("all.npz", z=x)
    error = fails(capsys, "run", models / "plain", "--output", "y.npy", *arguments)
    assert message in error
    assert len(error.splitlines()) == 1
    assert not Path("y.npy").exists()


def test_models_that_cannot_be_loaded(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", models / "plain.pt2", "--output", "y.npy"]
    message = fails(capsys, *command)
    assert "is no compiled model but a zip archive" in message
    assert message.endswith("; compile it first\n")
    for command in (["run", models / "x.npy", "--output", "y.npy"], ["bench"]):
        message = fails(capsys, command[0], models / "x.npy", *command[2:])
        assert "x.npy' is no compiled model but an array of numpy" in message
    command = ["run", "none.edgec", "--output", "y.npy"]
    error = fails(capsys, *command)
    assert error == (
        "edgec: error: 'none.edgec' cannot be read: No such file or directory\n"
    )


def test_a_file_whose_name_looks_like_an_assignment(models: Path) -> None:
    np.save("y=x.npy", np.load(models / "x.npy"))
    command = ["run", models / "plain", "--output", "y.npy"]
    driver_main([*command, "--input", "y=x.npy"])
    driver_main([*command, "--input", "input=y=x.npy"])


def test_outputs_that_cannot_be_written(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", models / "plain", "--input", models / "x.npy"]
    error = fails(capsys, *command, "--output", "none/y.npy")
    assert error == "edgec: error: 'none/y.npy': No such file or directory\n"
    assert "--output FILE.npz" in fails(capsys, *command, "--output", "y.txt")


# edgec bench


def test_bench(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", models / "several.pt2", "--against", "torch", "--threads", "1"]
    driver_main([*command, "--rounds", "2", "--json", "out.json"])
    output = capsys.readouterr().out
    assert "median ms" in output
    assert "1 threads, 2 rounds" in output
    found = json.loads(Path("out.json").read_text())
    assert [each["engine"] for each in found["timings"]] == ["edgec", "torch"]
    assert found["timings"][0]["difference"] == 0
    assert 0 < found["timings"][1]["difference"] < 1e-5
    assert all(len(each["seconds"]) == 2 for each in found["timings"])
    assert found["versions"]["torch"] == torch.__version__


def test_bench_of_a_compiled_model(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver_main(["bench", models / "plain", "--rounds", "1"])
    assert "edgec" in capsys.readouterr().out


@pytest.mark.slow
def test_bench_against_other_engines(models: Path) -> None:
    engines = ["onnxruntime", "openvino"]
    for package in ("onnxscript", *engines):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    # In a process of its own: these engines keep threads, and warn.
    command = [sys.executable, "-m", "edgec.tools.cli", "bench", "plain.pt2"]
    options = ["--against", ",".join(engines), "--rounds", "1", "--json", "out.json"]
    result = subprocess.run(
        [*command, *options], cwd=models, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    timings = json.loads((models / "out.json").read_text())["timings"]
    assert [timing["engine"] for timing in timings] == ["edgec", *engines]
    assert all(timing["difference"] < 1e-5 for timing in timings)


def test_an_engine_that_is_not_installed(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda _name: None)
    error = fails(capsys, "bench", models / "plain.pt2", "--against", "openvino")
    assert error == (
        "edgec: error: openvino needs onnx, onnxscript, openvino: "
        "pip install onnx onnxscript openvino\n"
    )


def test_an_engine_that_fails(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any) -> bench.Call:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(bench, "ENGINES", {"torch": broken})
    error = fails(capsys, "bench", models / "plain.pt2", "--against", "torch")
    assert "torch cannot run" in error
    assert "no such operator" in error
