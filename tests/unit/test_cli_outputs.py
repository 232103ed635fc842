"""Outputs of the `edgec` command that are refused before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from edgec.tools import cli
from tests.networks import network


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model() -> Path:
    path, (network_, x) = Path("m.pt2"), network("plain")
    torch.export.save(torch.export.export(network_, (x,)), path)
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What stderr says, where the exit code must be that of wrong usage."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [("compile", "-o"), ("bench", "--json"), ("tune", "--log")],
)
def test_outputs_are_tried_before_the_work(
    model: Path, capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    content = model.read_bytes()
    Path("link").symlink_to(model)
    Path("hard").hardlink_to(model)
    Path("lost").symlink_to("none/m.edgec")
    for same in ("m.pt2", "./m.pt2", "link", "hard"):
        error = refused(capsys, command, model, option, same)
        assert f"'{Path(same)}' is the input 'm.pt2' itself; give another" in error
    assert "'.' is a folder" in refused(capsys, command, model, option, ".")
    for place in ("/proc/m.edgec", "lost"):  # even root may not make files there
        error = refused(capsys, command, model, option, place)
        assert f"Invalid value for {option}: '{place}' cannot be written: No" in error
    assert model.read_bytes() == content


def test_the_input_is_not_written_over_by_text(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compile", model, "--emit", "mlir", "-o", model]
    assert "itself; give another file" in refused(capsys, *command)


def test_outputs_without_the_right_to_write(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("m.mlir").write_text("")
    # Root may do anything.
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    command = ["compile", model, "--emit", "mlir", "-o", "m.mlir"]
    assert "'m.mlir' cannot be written: Permission" in refused(capsys, *command)


def test_trying_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert cli.main(["compile", "none.pt2", "-o", str(folder / "m.edgec")]) == 1
    assert not list(folder.iterdir())
