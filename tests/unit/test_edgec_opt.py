"""`edgec-opt`: what it reads, reports and leaves behind."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as tensors
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import VerifyException

from edgec.context import Array, EdgecContext
from edgec.errors import InvalidInput, PassFailed
from edgec.passes.base import ReportingPass, examples_of
from edgec.tools.opt import EdgecOpt, main

MODULE = (
    "func.func @main() -> i32 {\n  %a = arith.constant 1 : i32\n  return %a : i32\n}"
)


def save(path: Path, **arrays: Array) -> Path:
    # Its path type, PathLike, is generic and given without a parameter.
    tensors.save_file(dict(arrays), path)  # pyright: ignore[reportUnknownMemberType]
    return path


@dataclass(frozen=True)
class Fails(ReportingPass):
    """Raises the error that its options name."""

    name = "fails"
    kind: str = "input"
    after: int = 0

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        errors = {
            "input": InvalidInput("no filters left"),
            "verify": VerifyException("not a permutation"),
            "bug": ZeroDivisionError("division by zero"),
        }
        raise errors[self.kind]


@dataclass(frozen=True)
class Breaks(ReportingPass):
    """Leaves a module that does not verify."""

    name = "breaks"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        block = op.body.block
        assert block.first_op is not None
        inner = block.first_op.regions[0].block
        assert inner.last_op is not None
        inner.last_op.detach()
        return {"broken": 1}


@pytest.fixture(autouse=True)
def extra_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    original = EdgecOpt.register_all_passes

    def register(tool: EdgecOpt) -> None:
        original(tool)
        tool.register_pass("fails", lambda: Fails)
        tool.register_pass("breaks", lambda: Breaks)

    monkeypatch.setattr(EdgecOpt, "register_all_passes", register)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "module.mlir"
    path.write_text(MODULE)
    return path


def test_weights_are_loaded(source: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "w.safetensors", w=np.arange(3, dtype=np.float32))
    tool = EdgecOpt([str(source), "--weights", str(path)])
    assert isinstance(tool.ctx, EdgecContext)
    assert tool.ctx.weights["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [None, b"not safetensors"])
def test_bad_weights(source: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"--weights .*w\.safetensors"):
        EdgecOpt([str(source), "--weights", str(path)])


def test_failure_leaves_a_reproducer(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save(tmp_path / "w.safetensors", w=np.zeros(2, dtype=np.int8))
    saved = tmp_path / "saved.mlir"
    arguments = [str(source), "-p", "dce,fails{kind=input after=3},cse"]
    arguments += ["--weights", str(weights), "--reproducer", str(saved)]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "pass 'fails' failed: no filters left" in message
    command = shlex.split(message.partition("reproduce with: ")[2])
    assert command[0] == "edgec-opt"
    assert "func.func @main" in saved.read_text()
    arrays = tensors.load(saved.with_suffix(".safetensors").read_bytes())
    assert arrays["w"].shape == (2,)
    assert main([*command[1:], "--reproducer", str(tmp_path / "again.mlir")]) == 1
    assert "pass 'fails' failed: no filters left" in capsys.readouterr().err


def test_the_reproducer_has_a_place_by_default(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(source.parent))
    assert main([str(source), "-p", "fails"]) == 1
    command = shlex.split(capsys.readouterr().err.partition("reproduce with: ")[2])
    assert Path(command[1]).read_text().startswith("builtin.module")


def test_a_bug_shows_its_traceback(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "saved.mlir")
    arguments = [str(source), "--reproducer", saved, "-p", "fails{kind=bug}"]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "pass 'fails' failed: division by zero" in message


def test_the_pass_that_broke_the_module_is_named(source: Path, tmp_path: Path) -> None:
    saved = str(tmp_path / "saved.mlir")
    tool = EdgecOpt([str(source), "-p", "breaks,cse", "--reproducer", saved])
    with pytest.raises(PassFailed, match="pass 'breaks' failed"):
        tool.run()


@pytest.mark.parametrize("kind", ["input", "verify"])
def test_diagnostics_can_be_expected(
    source: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    arguments = [str(source), "-p", f"fails{{kind={kind}}}", "--verify-diagnostics"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert {"input": "no filters left", "verify": "not a permutation"}[kind] in output


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("fail", "no pass named 'fail'; did you mean 'fails'?"),
        ("zzz", "no pass named 'zzz'"),
        ("fails{other=1}", "other"),
        ("fails{after=x}", "Incompatible types"),
        ("fails{", "pass-pipeline"),
    ],
)
def test_wrong_usage(
    source: Path, capsys: pytest.CaptureFixture[str], pipeline: str, message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        main([str(source), "-p", pipeline])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["missing.mlir"]) == 1
    assert "missing.mlir" in capsys.readouterr().err


# xDSL leaves its input open where it cannot open its output.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_files_that_cannot_be_used_are_told_without_a_traceback(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, model, folder = tmp_path / "x.mlir", tmp_path / "x.pt2", tmp_path / "folder"
    other.write_bytes(b"\xff\xfe")
    model.write_text("no model")
    folder.mkdir()
    commands = {
        "not UTF-8": [other],
        "Is a directory": [source, "-o", folder],
        "cannot be read": [model],
        "--weights": [source, "--weights", folder],
    }
    for message, command in commands.items():
        assert main([str(part) for part in command]) == 1
        found = capsys.readouterr().err
        assert found.startswith("edgec-opt: error: ")
        assert message in found
        assert "Traceback" not in found


def test_interruption(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EdgecOpt, "run", interrupt)
    assert main([str(source)]) == 130


def test_a_model_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="read whole"):
        EdgecOpt([str(path), "--split-input-file"]).run()


def test_examples_come_in_pairs() -> None:
    @dataclass(frozen=True)
    class Lonely(Fails):
        """One side only.

        **Before**

        ```mlir
        func.func @main()
        ```
        """

    with pytest.raises(ValueError, match=r"pairs of Before and After, got \['Before'"):
        examples_of(Lonely)


def test_examples_are_read() -> None:
    @dataclass(frozen=True)
    class Shown(Fails):
        """Both sides.

        **Before**

        ```mlir
        a
          b
        ```

        **After**

        ```mlir
        c
        ```
        """

    assert examples_of(Shown) == (("a\n  b", "c"),)
    assert examples_of(Fails) == ()


def test_a_model_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    path = tmp_path / "model.pt2"
    model = torch.nn.Linear(3, 2)
    torch.export.save(torch.export.export(model, (torch.ones(1, 3),)), path)
    assert main([str(path), "-p", "cse"]) == 0
    text = capsys.readouterr().out
    assert "nn.linear" in text
    assert "nn.constant" in text


def test_file_of_another_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "x.npy")]) == 1
    error = capsys.readouterr().err
    assert "x.npy' must end in one of .mlir, .pt2, or -f must say" in error
    assert "Traceback" not in error
