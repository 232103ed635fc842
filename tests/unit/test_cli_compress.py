"""`edgec compress`: what it writes and says, and what it refuses."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgec.compress import granules_for, quantize
from edgec.compress.layers import layer_weights
from edgec.compress.lifting import lift_layers
from edgec.compress.machine import scheme_for
from edgec.errors import InvalidInput
from edgec.tools import cli


class Net(nn.Module):
    """Layers of every kind that is pruned, and a convolution of no module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same", bias=False)
        self.middle = nn.Conv2d(8, 8, 3, stride=(2, 1), padding=1, dilation=1)
        self.line = nn.Conv1d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 5)
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.middle(torch.relu(self.stem(x))))
        y = nn.functional.conv2d(y, self.kernel).flatten(2)
        return self.head(self.line(self.line(y)).mean(2))


X = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def net() -> nn.Module:
    """Saved as `net.pt2`, with `cal.npz`."""
    torch.manual_seed(0)
    model = Net().eval()
    torch.export.save(torch.export.export(model, (X,)), "net.pt2")
    np.savez("cal.npz", x=torch.randn(3, *X.shape).numpy())
    return model


def compress(*arguments: object) -> int:
    command = ["compress", "net.pt2", "-o", "c.pt2", "--target", "x86-64-v3"]
    return cli.main([*command, *map(str, arguments)])


def load(path: str) -> torch.export.ExportedProgram:
    return torch.export.load(path)


# Layers as modules


def test_lifted_layers_are_modules_with_the_parameters_of_the_program(
    net: nn.Module,
) -> None:
    program = load("net.pt2")
    module = lift_layers(program)
    for name in ("stem", "middle", "line", "head"):
        layer = module.get_submodule(name)
        assert repr(layer) == repr(net.get_submodule(name))
        stored = program.state_dict[f"{name}.weight"]
        assert layer.get_parameter("weight").data_ptr() == stored.data_ptr()
    with torch.no_grad():
        torch.testing.assert_close(module(X), net(X))


class LateBias(nn.Linear):
    """Adds its bias after the activation."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.relu(nn.functional.linear(input, self.weight)) + self.bias


def test_a_layer_that_adds_its_bias_elsewhere_is_left() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 4), LateBias(4, 3)).eval(), torch.randn(2, 4)
    module = lift_layers(torch.export.export(net, (x,)))
    assert isinstance(module.get_submodule("0"), nn.Linear)
    assert not isinstance(module.get_submodule("1"), nn.Linear)
    with torch.no_grad():
        torch.testing.assert_close(module(x), net(x))


class Late(nn.Module):
    """Its first layer comes behind the others, if parameters are asked in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.stem(x))


def test_lifted_layers_come_in_the_order_of_the_program() -> None:
    module = lift_layers(torch.export.export(Late().eval(), (X,)))
    assert list(layer_weights(module)) == ["stem", "block.0"]


# What is written


def test_pruning_alone(net: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    choice = ("--scheme", "block-punched:auto", "--density", "0.25")
    assert compress(*choice, "--skip", "line", "--rates", "flops") == 0
    output = capsys.readouterr()
    assert "block-punched:4 " in output.out
    assert "predicted 0." in output.out
    assert "wrote c.pt2: 0." in output.out
    assert output.err == "... prune by block-punched:4\n"
    state = load("c.pt2").state_dict
    assert torch.equal(state["line.weight"], net.get_parameter("line.weight"))
    assert torch.equal(state["stem.weight"], net.get_parameter("stem.weight"))
    kept = state["middle.weight"] != 0
    assert 0.02 < float(kept.float().mean()) < 0.5
    assert (kept[:4] == kept[:1]).all()


def test_quantization_alone(net: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress("--quantize", "int8", "--calibration", "cal.npz") == 0
    assert "(4" not in capsys.readouterr().err
    program = load("c.pt2")
    assert program.state_dict["middle.weight_codes"].dtype == torch.int8
    with torch.no_grad():
        difference = (program.module()(X) - net(X)).abs().max()
    assert 0 < float(difference) < 0.05


def test_both_prune_what_int8_kernels_read_at_once(net: nn.Module) -> None:
    choice = ("--scheme", "block-punched:auto", "--density", "0.5", "--no-predict")
    assert compress(*choice, "--quantize", "int8", "--calibration", "cal.npz") == 0
    codes = load("c.pt2").state_dict["middle.weight_codes"]
    granules = (codes != 0).reshape(2, 4, 2, 4, 9).any(dim=3).any(dim=1)
    assert int(granules.sum()) == 18
    assert float((codes != 0).float().mean()) > 0.4
    del net


def test_formats_within_a_budget(
    net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = ("--quantize", "auto", "--calibration", "cal.npz")
    assert compress(*choice, "--max-bytes", "1.2kB", "--choices", "int8,int4") == 0
    output = capsys.readouterr().out
    assert "relative error of the results: expected" in output
    size = int(output.split(" bytes (")[0].rpartition(" ")[2].replace(",", ""))
    assert 1000 < size <= 1200
    limit = ("--max-latency", "10", "--no-predict")
    assert compress(*choice, *limit) == 0
    assert "ms (x86-64-v3, " in capsys.readouterr().out
    assert not any("codes" in name for name in load("c.pt2").state_dict)
    assert compress(*choice, "--max-bytes", "1kB", "--choices", "int8") == 1
    assert "max_bytes must be at least 1,448," in capsys.readouterr().err
    del net


def test_samples_are_cut_into_batches(
    net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("samples.npz", x=torch.randn(7, *X.shape[1:]).numpy())
    choice = ("--quantize", "int4", "--activations", "none", "--no-predict")
    assert compress(*choice, "--calibration", "samples.npz") == 0
    assert "... 7 calibration batches" in capsys.readouterr().err
    del net


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --scheme, --quantize or both"),
        (["--scheme", "pattern", "--density", "0"], "0<x<=1"),
        (["--scheme", "pattern", "--density", "1.5"], "0<x<=1"),
        (["--scheme", "pattern", "--density", "nan"], "nan is not in the range 0<x<=1"),
        (
            ["--scheme", "pattern", "-o", "x.txt"],
            "'x.txt' ends in '.txt'; the name must end in '.pt2'",
        ),
        (
            ["--scheme", "pattern", "-o", "x"],
            "'x' has no suffix; the name must end in '.pt2'",
        ),
        (["--quantize", "int8"], "--quantize needs --calibration FILE.npz"),
        (["--scheme", "pattern", "--calibration", "c.npz"], "goes with --quantize"),
        (["--scheme", "pattern", "--equalize"], "--equalize: only with --quantize"),
        (
            ["--quantize", "int8", "--calibration", "c.npz", "--max-bytes", "7"],
            "--max-bytes: only with --quantize auto",
        ),
        (
            ["--quantize", "int8", "--calibration", "c.npz", "--density", "0.5"],
            "--density: only with --scheme",
        ),
        (["--scheme", "pattern", "-o", "none/c.pt2"], "'none' is not a folder"),
        (["--scheme", "pattern", "-o", "net.pt2"], "is the input 'net.pt2' itself"),
        (["--scheme", "pattern", "--target", "z80"], "unknown target 'z80'"),
    ],
)
def test_wrong_usage(
    net: nn.Module,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert compress(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("c.pt2").exists()
    del net


def test_what_is_quantized_is_not_pruned(
    net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.export.save(quantize(net, [X]), "net.pt2")
    assert compress("--scheme", "pattern", "--no-predict") == 1
    error = capsys.readouterr().err
    assert "the model is quantized already" in error
    assert "prune the float32 model it was made from" in error
    assert not Path("c.pt2").exists()


def arrays(**content: Any) -> None:
    np.savez("bad.npz", **content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y": np.zeros((1, 1, 3, 8, 8), np.float32)}, "each input, 'x'; it has 'y'"),
        ({}, "each input, 'x'; it has none"),
        ({"x": np.zeros((2, 1, 3, 9, 8), np.float32)}, "of shape (1, 3, 8, 8)"),
        ({"x": np.zeros((0, 1, 3, 8, 8), np.float32)}, "got (0, 1, 3, 8, 8)"),
        ({"x": np.zeros((2, 1, 3, 8, 8))}, "must be float32 as the input, got float64"),
        ({"x": np.full((1, 1, 3, 8, 8), np.nan, np.float32)}, "must be finite"),
        ({"x": np.array([object()])}, "cannot be read as arrays of numpy"),
    ],
)
def test_calibration_that_does_not_fit(
    net: nn.Module,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    message: str,
) -> None:
    arrays(**content)
    choice = ("--quantize", "int8", "--calibration", "bad.npz", "--no-predict")
    assert compress(*choice) == 1
    assert message in capsys.readouterr().err
    assert not Path("c.pt2").exists()
    del net


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheme", "stars"], "scheme must be one of"),
        (["--scheme", "bcr:auto"], "auto goes with block-punched, column, kgs only"),
        (["--scheme", "kgs:8x4"], "nothing to prune by scheme 'kgs:8x4'"),
        (["--scheme", "pattern", "--skip", "nose"], "nose"),
        (["--quantize", "int3", "--calibration", "cal.npz"], "weights must be one of"),
        (["--quantize", "auto", "--calibration", "cal.npz"], "needs max_bytes"),
        (["--quantize", "int8", "--calibration", "no.npz"], "'no.npz': No such file"),
        (["--quantize", "int8", "--calibration", "net.pt2"], "'net.pt2'"),
    ],
)
def test_errors(
    net: nn.Module,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    Path("c.pt2").write_text("as it was")
    assert compress(*arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "internal error" not in error
    assert Path("c.pt2").read_text() == "as it was"
    assert not list(Path().glob(".*"))
    del net


def test_a_file_that_is_no_program(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.pt2").write_text("no program")
    assert compress("--scheme", "pattern") == 1
    assert "cannot be read as a torch.export file" in capsys.readouterr().err


def test_calibration_with_a_member_that_is_no_array(
    net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile("bad.npz", "w") as archive:
        archive.writestr("x.npy", "no array")
    assert compress("--quantize", "int8", "--calibration", "bad.npz") == 1
    error = capsys.readouterr().err
    assert "'bad.npz' must hold arrays only; of other kinds: x" in error
    del net


def test_shapes_that_are_not_fixed(
    net: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(net, (X.repeat(2, 1, 1, 1),), dynamic_shapes=shapes)
    torch.export.save(program, "net.pt2")
    assert compress("--scheme", "pattern", "--no-predict") == 1
    assert "input 'x' must have a fixed shape, got (s" in capsys.readouterr().err
    assert not Path("c.pt2").exists()


def test_what_cannot_be_predicted_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.qr(self.head(x))[0]

    x = torch.eye(4)
    torch.export.save(torch.export.export(Odd(), (x,)), "net.pt2")
    assert compress("--scheme", "column:2", "--density", "0.5") == 1
    assert "With --no-predict it is compressed" in capsys.readouterr().err


# Blocks for a machine


def test_granules_of_int8_have_four_channels() -> None:
    assert granules_for("x86-64-v4", dtype="int8") == ((8, 4),)
    assert granules_for("x86-64-v3", dtype="int8") == ((4, 4),)
    assert granules_for("generic", layers="recurrent", dtype="int8") == ((16, 4),)
    with pytest.raises(InvalidInput, match="dtype must be one of"):
        granules_for("generic", dtype="int7")  # pyright: ignore[reportCallIssue, reportArgumentType] wrong on purpose


def test_automatic_schemes() -> None:
    assert scheme_for("kgs:auto", "x86-64-v4", dtype="int8") == "kgs:8x4"
    assert scheme_for("block-punched:auto", "x86-64-v3") == "block-punched:4"
    assert scheme_for("2:4") == "2:4"
    with pytest.raises(InvalidInput, match="kernels on int8 read 4"):
        scheme_for("column:auto", "x86-64-v4", dtype="int8")
