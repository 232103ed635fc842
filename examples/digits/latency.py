"""The same model in several engines, timed side by side."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]
"""An engine with a model inside, called like the model."""

ROUNDS = 5
"""Engines take turns this often, so that a noisy second hits all of them."""

TURN_S = 0.08
"""Time of one turn, in seconds: long against the spinning of idle worker threads."""

MIN_RUNS = 3
"""Timed runs in a turn, however long one takes."""

TOLERANCE = 1e-3
"""Largest difference from torch eager, relative to its largest output. Float32 sums of
5000 products in another order differ by about 1e-5; fifty random layers amplify."""


@dataclass(frozen=True)
class Latency:
    """Time of one call, in seconds."""

    median_s: float
    p95_s: float
    count: int
    """Timed calls."""


@dataclass(frozen=True)
class Comparison:
    """The engines on one workload; latencies by the engine's name, in table order."""

    workload: str
    latencies: Mapping[str, Latency]


def compare(workload: str, model: nn.Module, x: Tensor, threads: int) -> Comparison:
    """Build every engine for a pruned model, check that they agree, and time them.

    Raises `ArithmeticError` if an engine's output is not that of torch eager.
    """
    engines: dict[str, Run] = {"torch eager": model}
    session = onnx_session(model, x, threads)
    if session is not None:
        engines["ONNX Runtime"] = session
    engines["edgec, dense"] = compiled(model, x, threads, sparsity="ignore")
    engines["edgec, sparse"] = compiled(model, x, threads)
    with torch.inference_mode():
        expected = model(x)
        for name, run in engines.items():
            check_agreement(f"{workload}, {name}", run(x), expected)
        return Comparison(workload, measure(engines, x))


def compiled(
    model: nn.Module,
    x: Tensor,
    threads: int,
    *,
    sparsity: Literal["auto", "ignore"] = "auto",
) -> Run:
    """The model compiled for inputs like `x`; `ignore` runs zeros like any weight."""
    import edgec

    return edgec.compile(
        model, (x,), threads=threads, options=edgec.Options(sparsity=sparsity)
    )


def onnx_session(model: nn.Module, x: Tensor, threads: int) -> Run | None:
    """The model in ONNX Runtime; `None` if that or the exporter is not installed."""
    if not find_spec("onnxruntime") or not find_spec("onnxscript"):
        return None
    import onnxruntime

    # The exporter warns of optional packages and of its own use of torch.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # Any: neither package publishes types for these.
        program: Any = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options
    )
    name: str = session.get_inputs()[0].name

    def run(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: batch.numpy()})[0])

    return run


def check_agreement(what: str, found: Tensor, expected: Tensor) -> None:
    """Raise `ArithmeticError` if `found` is not `expected` up to `TOLERANCE`."""
    error = float((found - expected).abs().max() / expected.abs().max())
    # Negated, so that NaN fails too.
    if not error <= TOLERANCE:
        raise ArithmeticError(
            f"{what}: output must agree with torch eager within {TOLERANCE}, "
            f"got a relative error of {error:.2g}"
        )


def measure(engines: Mapping[str, Run], x: Tensor) -> dict[str, Latency]:
    """Time all engines on one input in turns; the first run of a turn is warm-up."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, run in engines.items():
            times[name] += _turn(run, x)
    return {
        name: Latency(
            float(np.median(sample)), float(np.percentile(sample, 95)), len(sample)
        )
        for name, sample in times.items()
    }


def _turn(run: Run, x: Tensor) -> list[float]:
    """Times of the runs of one turn, in seconds."""
    run(x)
    sample: list[float] = []
    while len(sample) < MIN_RUNS or sum(sample) < TURN_S:
        start = time.perf_counter()
        run(x)
        sample.append(time.perf_counter() - start)
    return sample
