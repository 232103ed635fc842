"""Is a pruned layer ever slower than dense, and is the cost model right about it?

Every case is compiled three times: zeros and all (`dense`), as edgec chooses
(`chosen`), and sparse whatever it costs (`sparse`). Programs that are the same are
measured once. All take turns in one process, and what counts is the median over rounds
of the ratio of their times in that round.

A case whose chosen program takes more than `LIMIT` of the dense time is measured again;
if it does again, with `MORE_ROUNDS` times the rounds. The suite compiles and measures
what fails three times once more, after all other cases; only what fails then too is a
failure, and the output says how many cases were measured again.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

import edgec
from benchmarks.engines import Setup
from benchmarks.engines.base import as_arrays
from benchmarks.layers import LayerCase
from benchmarks.runner import TOLERANCE, relative_error
from edgec.compiled import CompiledModel
from edgec.driver import lowered, machine_of
from edgec.options import Options, Sparsity
from edgec.passes.analysis.cycles import module_cycles

LIMIT = 1.05
"""Most that the chosen program may take, by the dense one."""
MISSED = 1.2
"""A sparse program that was so much faster than the dense one that was chosen."""
ROUNDS = 9
TURN_S = 0.003
"""Timed part of a turn; the layers are small, and so are their programs."""
MORE_ROUNDS = 5

WAYS: Mapping[str, Sparsity] = {
    "dense": "ignore",
    "chosen": "auto",
    "sparse": "always",
}


@dataclass(frozen=True)
class Sample:
    """One program of a case."""

    kernel: str
    """Family and schedule."""
    scheme: str
    cycles: float
    """Predicted, of one core."""
    seconds: float
    """Median of a call."""


@dataclass(frozen=True)
class SweepResult:
    """One case."""

    case: LayerCase
    title: str
    samples: Mapping[str, Sample]
    """`dense`, `chosen` and, where it is another program, `sparse`."""
    ratio: float
    """Time of the chosen program by that of the dense one; 1 if they are the same."""
    sparse_ratio: float
    """The same of the sparse program."""
    attempts: int
    """How often it was measured."""
    error: float
    """Largest difference of the chosen program from torch, relative."""

    @property
    def is_slower(self) -> bool:
        """Whether sparsity cost time."""
        return self.ratio > LIMIT

    @property
    def is_missed(self) -> bool:
        """Whether a sparse program was left that would have been much faster."""
        return self.sparse_ratio * MISSED < self.ratio

    def failures(self) -> list[str]:
        """What is wrong with the case."""
        found: list[str] = []
        if self.is_slower:
            kernel = self.samples["chosen"].kernel
            found.append(f"{self.title}: {kernel} takes {self.ratio:.2f} of dense")
        if not self.error <= TOLERANCE:  # negated, so that NaN fails too
            found.append(f"{self.title}: relative error {self.error:.2g}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SweepResult:
        """The inverse of `to_json`."""
        fields: dict[str, Any] = dict(stored)
        case: dict[str, Any] = dict(fields["case"])
        case["input_size"] = tuple(case["input_size"])
        fields["case"] = LayerCase(**case)
        fields["samples"] = {n: Sample(**s) for n, s in fields["samples"].items()}
        return cls(**fields)


@dataclass(frozen=True)
class _Program:
    """One way to run a case, compiled."""

    sample: Sample
    compiled: CompiledModel


def run_case(case: LayerCase, setup: Setup, threads: int) -> SweepResult:
    """Compile and measure one case, again if it was slower than dense."""
    model, x = case.build()
    torch.set_num_threads(threads)
    programs = {
        name: _compile(model, x, setup.options(sparsity=way), setup.target, threads)
        for name, way in WAYS.items()
    }
    with torch.inference_mode():
        expected = as_arrays(model(x))
    error = relative_error(as_arrays(programs["chosen"].compiled(x)), expected)
    result = _measured(case, programs, x, ROUNDS)
    for attempt, rounds in enumerate((ROUNDS, MORE_ROUNDS * ROUNDS), 2):
        if not result.is_slower:
            break
        result = replace(_measured(case, programs, x, rounds), attempts=attempt)
    return replace(result, error=error)


def _compile(
    model: torch.nn.Module,
    x: torch.Tensor,
    options: Options,
    target: str,
    threads: int,
) -> _Program:
    machine = machine_of(target)
    compiled = edgec.compile(model, x, target=machine, threads=threads, options=options)
    layers = compiled.report().layers
    # A recurrent layer is its own op, and a linear one for what the input gives.
    kernels, schemes = (
        ", ".join(dict.fromkeys(texts))
        for texts in ([x.kernel for x in layers[::-1]], [x.scheme for x in layers])
    )
    cycles = module_cycles(lowered(model, x, machine, options).module, machine)
    return _Program(Sample(kernels, schemes, cycles, 0.0), compiled)


def _measured(
    case: LayerCase, programs: Mapping[str, _Program], x: torch.Tensor, rounds: int
) -> SweepResult:
    """Time the programs that differ."""
    same = _same(programs)
    runs = {n: p.compiled for n, p in programs.items() if same[n] == n}
    times = take_turns(runs, x, rounds)
    ratios = {
        name: statistics.median(
            one / dense
            for one, dense in zip(times[same[name]], times["dense"], strict=True)
        )
        for name in programs
    }
    samples = {
        name: replace(p.sample, seconds=statistics.median(times[same[name]]))
        for name, p in programs.items()
        if name != "sparse" or same[name] == name
    }
    return SweepResult(
        case=case,
        title=case.title,
        samples=samples,
        ratio=ratios["chosen"],
        sparse_ratio=ratios["sparse"],
        attempts=1,
        error=0.0,
    )


def _same(programs: Mapping[str, _Program]) -> dict[str, str]:
    """For each program the first one that has the same kernel and storage."""
    first: dict[tuple[str, str], str] = {}
    keys = {n: (p.sample.kernel, p.sample.scheme) for n, p in programs.items()}
    return {name: first.setdefault(key, name) for name, key in keys.items()}


def take_turns(
    runs: Mapping[str, CompiledModel], x: torch.Tensor, rounds: int
) -> dict[str, list[float]]:
    """The median seconds of a call of each program, in each round."""
    calls: dict[str, int] = {}
    for name, run in runs.items():
        run(x)
        calls[name] = max(2, round(TURN_S / _turn(run, x, 1)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            names = list(runs) if number % 2 else list(runs)[::-1]
            for name in names:
                times[name].append(_turn(runs[name], x, calls[name]))
    finally:
        if was_enabled:
            gc.enable()
    return times


def _turn(run: CompiledModel, x: torch.Tensor, calls: int) -> float:
    """The median of some calls, after one that fills the caches."""
    run(x)
    sample: list[float] = []
    for _ in range(calls):
        start = time.perf_counter()
        run(x)
        sample.append(time.perf_counter() - start)
    return statistics.median(sample)


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The rank correlation, with middle ranks for ties; NaN where all are tied."""
    if min(len(set(one)), len(set(other))) < 2:
        return float("nan")
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(count)
    return (after - (count - 1) / 2)[place]
