"""Networks quantized once, for edgec and its peers alike.

`edgec.compress.quantize` makes one program from a network with random weights and
random calibration inputs. edgec compiles it; the peers read it as ONNX with
QuantizeLinear and DequantizeLinear. There is one difference: ONNX Runtime computes a
layer on integers only if its result is rounded at once, before a residual is added, so
the peers get a program where it is (OpenVINO, too, fuses more additions there). The
floats of the same network run next to them.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.engines import Setup, make_engines
from benchmarks.engines.base import Engine
from benchmarks.engines.edgec import EdgeC
from benchmarks.engines.onnx_file import content_key, onnx_file
from benchmarks.engines.onnxruntime import OnnxRuntime
from benchmarks.engines.openvino import OpenVino
from benchmarks.engines.qdq import onnxruntime_layers, openvino_layers
from benchmarks.masks import Layer, is_plain, punch_model
from benchmarks.models import model_spec
from benchmarks.results import WorkloadResult
from benchmarks.runner import Form, Workload
from edgec.compress import granules_for, quantize

SEED = 0
"""Of weights and inputs; calibration inputs have the seeds after it."""

CALIBRATION = 2
"""Batches: ranges of random networks are known after a few."""


@dataclass(frozen=True)
class Case:
    """A network, and how it is pruned."""

    model: str
    density: float | None = None
    masked: Callable[[Layer], bool] = is_plain


DENSE = (Case("resnet50"), Case("vgg16"), Case("mobilenet_v2"))
"""Networks that everybody measures."""

SPARSE = (
    Case("vgg16_features", 0.125),
    Case("resnet50", 0.25),
    Case("r2plus1d_18", 0.3068),
)
"""As in the sparse suite; the granules have four channels."""


def workload(case: Case, setup: Setup) -> Workload:
    """The network in floats and quantized, with everybody who runs it."""
    spec = model_spec(case.model)
    model, title = spec.build(SEED), f"{case.model}, int8"
    if case.density is not None:
        ((filters, channels), *_) = granules_for(setup.target, dtype="int8")
        punch_model(model, filters, case.density, case.masked, channels=channels)
        title += f", blocks of {filters}x{channels} pruned to {case.density:g}"
    batches = [spec.example_input(SEED + 1 + i) for i in range(CALIBRATION)]
    inputs = (spec.example_input(SEED),)
    own = Form("int8", quantized(model, batches, setup.folder, fuse_sums=True))
    peers = Form("int8", quantized(model, batches, setup.folder, fuse_sums=False))
    own_float = "edgec-dense" if case.density is None else "edgec-sparse"
    names = ("torch", own_float, "onnxruntime", "openvino", "openvino-default")
    others, ours = int8_peers(setup), EdgeC("edgec-int8", setup.options(), setup.target)
    forms = {each.name: peers for each in others} | {ours.name: own}
    return Workload(
        title,
        model,
        inputs,
        [*make_engines(names, setup, is_pruned=True), *others, ours],
        case.density,
        forms,
        layers_on_integers(others, peers.model, inputs, setup),
    )


def beyond_peak(
    result: WorkloadResult, operations: float, peak_per_s: float
) -> WorkloadResult:
    """The result with how edgec's time compares with that of a dense network at best.

    `operations` are the multiply-adds of the dense network, `peak_per_s` those of bytes
    that the threads compute per second at most. Raises `ValueError` if edgec was not
    timed.
    """
    own = result.own()
    if own is None or own.latency is None:
        raise ValueError(f"{result.workload} was not timed")
    share = operations / (own.latency.median_s * peak_per_s)
    line = (
        f"past the dense peak: {share:.2f} = {operations / 1e9:.2f} G dense "
        f"multiply-adds / ({1e3 * own.latency.median_s:.3f} ms x "
        f"{peak_per_s / 1e9:.0f} G/s, the peak of int8)"
    )
    figures = {
        "dense_multiply_adds": operations,
        "int8_peak_per_s": peak_per_s,
        "past_dense_peak": share,
    }
    return replace(result, notes=(*result.notes, line), figures=figures)


def multiply_adds(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Of a network in floats, zeros included."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2


def int8_peers(setup: Setup) -> list[Engine]:
    """The peers; OpenVINO without a hint, as nobody asks for float32 then."""
    folder = setup.folder / "onnx"
    return [
        OnnxRuntime(folder, "onnxruntime-int8"),
        OpenVino(folder, "openvino-int8", precision=None),
    ]


def quantized(
    model: nn.Module, batches: Sequence[Tensor], folder: Path, *, fuse_sums: bool
) -> nn.Module:
    """The quantized model; the program is kept in a file, as it takes a while."""
    key = f"{content_key(model, (batches[0],))}-{_source_key()}-{fuse_sums:d}"
    path = folder / "quantized" / f"{key}.pt2"
    if path.exists():
        # Registers the quantized_decomposed ops, without which it cannot be read.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        return _module(torch.export.load(path))
    program = quantize(model, batches, observer="minmax", fuse_sums=fuse_sums)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    torch.export.save(program, part)
    part.replace(path)
    return _module(program)


def layers_on_integers(
    engines: Sequence[Engine],
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    setup: Setup,
) -> tuple[str, ...]:
    """A line for each peer that is there: how many layers it computes on integers."""
    lines: list[str] = []
    for engine, count in zip(
        engines, (onnxruntime_layers, openvino_layers), strict=True
    ):
        if engine.available() is None:
            found, total = count(onnx_file(model, inputs, setup.folder / "onnx"))
            lines.append(f"{engine.name}: {found} of {total} layers on integers")
    return tuple(lines)


def _module(program: ExportedProgram) -> nn.Module:
    return program.module(check_guards=False)


def _source_key() -> str:
    """Of the code that quantizes: another code makes other programs."""
    package = importlib.import_module("edgec.compress.quantization")
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
