"""Quantized networks in the benchmarks: all engines run the same, on integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import quantized
from benchmarks.engines import Setup
from benchmarks.engines.onnx_file import onnx_file
from benchmarks.engines.qdq import is_quantized, onnxruntime_layers, openvino_layers
from benchmarks.masks import punch
from benchmarks.models import MODELS, ModelSpec
from benchmarks.models.layers import ResidualBranch
from benchmarks.results import EngineResult, Latency, WorkloadResult
from benchmarks.runner import run_workload


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """A residual, an activation with limits, a depthwise layer, a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU6())
        self.branch = ResidualBranch(
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16)
        )
        self.last, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = torch.relu(self.last(y + self.branch(y)))
        return self.head(y.mean((2, 3)))


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> quantized.Workload:
    for package in ("onnx", "onnxruntime", "onnxscript", "openvino"):
        pytest.importorskip(package)
    monkeypatch.setitem(MODELS, "small", ModelSpec(Small, (1, 3, 12, 12)))
    return quantized.workload(quantized.Case("small", 0.5), Setup(tmp_path))


def test_all_engines_agree_and_peers_use_integers(
    workload: quantized.Workload, tmp_path: Path
) -> None:
    assert workload.notes == (
        "onnxruntime-int8: 4 of 4 layers on integers",
        "openvino-int8: 4 of 4 layers on integers",
    )
    result = run_workload(workload, threads=1, rounds=0)
    assert not result.failures()
    forms = {row.engine: row.form for row in result.engines}
    assert [n for n, form in forms.items() if form == "int8"] == [
        "onnxruntime-int8",
        "openvino-int8",
        "edgec-int8",
    ]
    model = workload.forms["edgec-int8"].model
    assert is_quantized(model)
    assert not is_quantized(workload.model)
    again = quantized.quantized(
        workload.model,
        [MODELS["small"].example_input(1 + i) for i in range(2)],
        tmp_path,
        fuse_sums=True,
    )
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_sums_that_are_fused_leave_onnxruntime_in_floats(
    workload: quantized.Workload, tmp_path: Path
) -> None:
    path = onnx_file(workload.forms["edgec-int8"].model, workload.inputs, tmp_path)
    assert onnxruntime_layers(path) == (3, 4)
    assert openvino_layers(path) == (4, 4)


def test_masks_of_granules_with_channels() -> None:
    weight = torch.ones(16, 6, 3, 3)
    punch(weight, 8, 0.25, seed=0, channels=4)
    kept = weight.numpy() != 0
    granules = kept.reshape(2, 8, 6, 9)
    assert (granules == granules[:, :1]).all()
    assert (granules[:, :, :4] == granules[:, :, :1]).all()
    assert (granules[:, :, 4:] == granules[:, :, 4:5]).all()
    count = int(granules[:, 0, 0].sum() + granules[:, 0, 4].sum())
    assert count == round(0.25 * 2 * 2 * 9)
    assert np.unique(weight.numpy()).tolist() == [0, 1]


def test_the_best_peer_does_the_same_job() -> None:
    def row(name: str, seconds: float, form: str = "float") -> EngineResult:
        latency = Latency.of([[seconds]])
        is_float32 = "default" not in name and "openvino-int8" not in name
        own = name.startswith("edgec")
        return EngineResult(name, own, is_float32, "1", latency=latency, form=form)

    rows = (
        row("edgec-dense", 5.0),
        row("onnxruntime", 4.0),
        row("openvino-default", 1.0),
        row("onnxruntime-int8", 3.0, "int8"),
        row("openvino-int8", 2.0, "int8"),
    )
    peer = WorkloadResult("w", None, ((1,),), rows).best_peer()
    assert peer is not None
    assert peer.engine == "onnxruntime"
    with_int8 = WorkloadResult(
        "w", None, ((1,),), (*rows, row("edgec-int8", 1, "int8"))
    )
    peer = with_int8.best_peer()
    assert peer is not None
    assert peer.engine == "openvino-int8"
