"""Time a compiled model and other engines on the same inputs, in turns.

A computer's speed drifts while it is measured: clocks, other programs, heat. So engines
take turns; in each round each one runs once to warm up, then a batch of calls is timed.
What counts is the median over rounds, with the quartiles around it.

The engines get the model the way their users would: torch runs the exported program,
onnxruntime and openvino read what torch.onnx writes.
"""

from __future__ import annotations

import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import edgec
from edgec.compiled import CompiledModel, load
from edgec.errors import InvalidInput
from edgec.options import Options
from edgec.runtime.executable import TensorSpec

Array = npt.NDArray[Any]
Call = Callable[[], list[Array]]
"""One inference on the inputs that were given; returns all outputs."""

BATCH_SECONDS = 0.02
"""A batch of calls takes about as long, so that the clock's own cost does not count."""

PAUSE_SECONDS = 0.01
"""Between turns: the threads of the engine before stop looking for more work."""

SEED = 0


@dataclass(frozen=True)
class Timing:
    """What one engine took."""

    engine: str
    seconds: tuple[float, ...]
    """Of one call, averaged over the batch, for each round."""
    difference: float
    """The largest difference from edgec's outputs, relative to their largest value."""

    def median(self) -> float:
        """Seconds of one call."""
        return statistics.median(self.seconds)

    def quartiles(self) -> tuple[float, float, float]:
        """The three quartiles of the seconds of one call."""
        low, middle, high = np.quantile(self.seconds, (0.25, 0.5, 0.75))
        return float(low), float(middle), float(high)


@dataclass(frozen=True)
class Result:
    """All engines, edgec first, and what they ran on."""

    model: str
    threads: int
    timings: tuple[Timing, ...]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `json.dump`."""
        return {**asdict(self), "machine": platform.machine()}


def bench(
    model: Path,
    against: Sequence[str] = (),
    *,
    target: str = "native",
    threads: int | None = None,
    options: Options | None = None,
    rounds: int = 20,
) -> Result:
    """Time `model`, a `.pt2` or an `.edgec` file, and the engines in `against`.

    `options` are for a `.pt2` file. Floats of the inputs are random, other numbers are
    zero. Raises `InvalidInput` if an engine is not installed or cannot run the model,
    and what `edgec.compile` and `edgec.load` raise.
    """
    for name in against:
        _check_installed(name)
    if model.suffix == ".pt2":
        compiled = edgec.compile(model, target=target, threads=threads, options=options)
    else:
        compiled = load(model, threads)
    inputs = random_inputs(compiled.inputs)
    calls: dict[str, Call] = {"edgec": lambda: compiled.run(inputs)}
    with tempfile.TemporaryDirectory() as folder:
        for name in against:
            engine = ENGINES[name]
            try:
                call = engine(model, compiled, inputs, Path(folder))
            # What an engine raises for a model that it cannot run is its own affair.
            except Exception as error:
                raise InvalidInput(f"{name} cannot run '{model}': {error}") from error
            calls[name] = call
        differences = _differences(calls)
        seconds = interleave(calls, rounds)
    return Result(
        model=str(model),
        threads=compiled.threads,
        timings=tuple(
            Timing(name, tuple(seconds[name]), differences[name]) for name in calls
        ),
        versions={"edgec": edgec.__version__, **{n: version(n) for n in against}},
    )


def random_inputs(specs: Sequence[TensorSpec]) -> list[Array]:
    """Normal floats; zeros of any other type, which are valid as an index too."""
    generator = np.random.default_rng(SEED)
    return [
        generator.standard_normal(spec.shape, np.float32).astype(spec.dtype)
        if np.issubdtype(spec.dtype, np.floating)
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    ]


def interleave(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each, `rounds` times in turns."""
    sizes = {name: _batch_size(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE_SECONDS)
            call()  # the turn before was another's: caches and threads are cold
            seconds[name].append(_time(call, sizes[name]))
    return seconds


def _batch_size(call: Call) -> int:
    """How many calls take `BATCH_SECONDS`."""
    call()
    return max(1, math.ceil(BATCH_SECONDS / _time(call, 1)))


def _time(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _differences(calls: Mapping[str, Call]) -> dict[str, float]:
    """Of each engine from the first one; `InvalidInput` if even the shapes differ."""
    expected = next(iter(calls.values()))()
    differences: dict[str, float] = {}
    for name, call in calls.items():
        found = call()
        if [array.shape for array in found] != [array.shape for array in expected]:
            raise InvalidInput(f"{name} gives outputs of other shapes than edgec")
        differences[name] = max(map(_difference, found, expected), default=0.0)
    return differences


def _difference(found: Array, expected: Array) -> float:
    wide = expected.astype(np.float64)
    largest = float(np.abs(wide).max(initial=0.0)) or 1.0
    return float(np.abs(found - wide).max(initial=0.0)) / largest


def _check_installed(name: str) -> None:
    """Raise `InvalidInput` unless everything that the engine needs is there."""
    missing = [module for module in _NEEDS[name] if find_spec(module) is None]
    if missing:
        raise InvalidInput(
            f"{name} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )


def _torch_eager(
    model: Path, compiled: CompiledModel, inputs: Sequence[Array], _folder: Path
) -> Call:
    import torch
    from torch.utils import _pytree as pytree

    program = torch.export.load(model)
    module = program.module()
    tensors = [torch.as_tensor(array) for array in inputs]
    args, kwargs = compiled.convention.unflatten_inputs(tensors)
    torch.set_num_threads(compiled.threads)

    def call() -> list[Array]:
        with torch.inference_mode():
            leaves = pytree.tree_leaves(module(*args, **kwargs))
        return [leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]

    return call


def _onnxruntime(
    model: Path, compiled: CompiledModel, inputs: Sequence[Array], folder: Path
) -> Call:
    onnxruntime: Any = import_module("onnxruntime")  # it has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compiled.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _onnx_file(model, folder), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    feed = dict(zip(names, inputs, strict=True))

    def call() -> list[Array]:
        return session.run(None, feed)

    return call


def _openvino(
    model: Path, compiled: CompiledModel, inputs: Sequence[Array], folder: Path
) -> Call:
    openvino: Any = import_module("openvino")  # its types are generated and open
    settings = {
        "INFERENCE_NUM_THREADS": compiled.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # else it may compute in less
        "PERFORMANCE_HINT": "LATENCY",
    }
    network = openvino.Core().compile_model(_onnx_file(model, folder), "CPU", settings)
    request = network.create_infer_request()
    feed = dict(enumerate(inputs))

    def call() -> list[Array]:
        request.infer(feed, share_inputs=True, share_outputs=True)
        return [request.get_output_tensor(i).data for i in range(len(network.outputs))]

    return call


def _onnx_file(model: Path, folder: Path) -> str:
    """The model as an ONNX file; written once for all who read it."""
    import torch

    path = folder / "model.onnx"
    if not path.exists():
        program = torch.export.load(model)
        onnx: Any = import_module("torch.onnx")  # its export is partly untyped
        onnx.export(program, f=str(path), dynamo=True, verbose=False)
    return str(path)


ENGINES: Mapping[str, Callable[[Path, CompiledModel, Sequence[Array], Path], Call]] = {
    "torch": _torch_eager,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""What edgec can be compared with: the model, edgec's form of it, inputs, a folder."""

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
