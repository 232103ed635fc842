"""Run the same model in several engines, check that they agree, time them in turns.

A computer's speed drifts while it is measured: clocks, other programs, heat. So all
engines are prepared first, in one process, and then take turns for many rounds; each
round has another order. In its turn an engine makes some calls that are not timed, for
`WARM_UP_S` and at least one, because threads of the engine before may still spin and
the caches hold its weights; then the same number of timed calls in every round, enough
for `TURN_S`.

An engine that is not installed is skipped with the reason. One that raises, or whose
outputs are not torch's, is reported as failed and never timed. Nothing is left out
silently.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.engines.base import Array, Engine, Run, as_arrays
from benchmarks.results import EngineResult, Latency, WorkloadResult

Clock = Callable[[], float]
"""Seconds since some fixed moment."""

WARM_UP_S = 0.05
"""Untimed part of a turn. Idle threads of the engine before may still spin: those of
OpenMP runtimes for up to 5 ms, those of onnxruntime for 19 to 34 ms (measured)."""

TURN_S = 0.03
"""Timed part of a turn, at least: long against the clock and one late interrupt."""

CALIBRATION_CALLS = 3
"""Calls, after one to warm up, whose fastest says how many make a turn."""


TOLERANCE = 1e-3
"""Largest difference from torch eager, relative to its largest output. Float32 sums of
5000 products in another order differ by about 1e-5; fifty random layers amplify."""

BF16_TOLERANCE = 5e-2
"""The same for an engine that may compute in bfloat16, which keeps 8 of 24 bits."""

INT8_TOLERANCE = 5e-2
"""The same from the quantized program: a value that lies between two codes may be
rounded to either, and random layers amplify that; ResNet-50 differs by 1e-2."""


@dataclass(frozen=True)
class Form:
    """A quantized form of a model, which some engines run instead of the model."""

    name: str
    """Of the weights: `int8`, `int4`."""
    model: nn.Module


@dataclass(frozen=True)
class Workload:
    """What all engines of one table run."""

    name: str
    model: nn.Module
    """In eval mode, pruned already."""
    inputs: tuple[Tensor, ...]
    engines: Sequence[Engine]
    density: float | None = None
    """Asked of `prune`; None for a model that was not pruned."""
    forms: Mapping[str, Form] = field(default_factory=dict[str, Form])
    """By the name of an engine, what it runs; others run `model`."""
    notes: tuple[str, ...] = ()
    """Lines for the table."""


@dataclass
class _Entry:
    """One engine on its way to a result."""

    engine: Engine
    form: Form | None
    run: Run | None = None
    skipped: str | None = None
    failed: str | None = None
    error: float | None = None
    prepare_s: float | None = None
    times: list[list[float]] = field(default_factory=list[list[float]])


def run_workload(
    workload: Workload,
    *,
    threads: int,
    rounds: int,
    clock: Clock = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
    line_trip: Callable[[], float | None] | None = None,
) -> WorkloadResult:
    """Prepare, check and time every engine of a workload.

    `rounds` may be 0: then outputs are compared and nothing is timed. `say` gets a line
    when an engine is about to be prepared. `line_trip` is called before each round and
    its numbers, in nanoseconds, become a note.
    """
    torch.set_num_threads(threads)
    expected: dict[int, list[Array]] = {}
    entries: list[_Entry] = []
    for engine in workload.engines:
        say(f"{workload.name}: {engine.name}")
        form = workload.forms.get(engine.name)
        model = workload.model if form is None else form.model
        if id(model) not in expected:
            with torch.inference_mode():
                expected[id(model)] = as_arrays(model(*workload.inputs))
        entry = _Entry(engine, form, skipped=engine.available())
        _prepare(entry, model, workload.inputs, expected[id(model)], threads, clock)
        entries.append(entry)
    runs = {e.engine.name: e.run for e in entries if e.run is not None}
    trips: list[float | None] = []

    def before_round() -> None:
        if line_trip is not None:
            trips.append(line_trip())

    times = measure(runs, rounds, clock, before_round)
    for entry in entries:
        entry.times = times.get(entry.engine.name, [])
    return WorkloadResult(
        workload=workload.name,
        density=workload.density,
        input_shapes=tuple(tuple(x.shape) for x in workload.inputs),
        engines=tuple(map(_result, entries)),
        notes=(*workload.notes, *_trips_note(trips)),
    )


def _trips_note(trips: Sequence[float | None]) -> list[str]:
    known = [f"{trip:.0f}" for trip in trips if trip is not None]
    if not known:
        return []
    return [f"a cache line to the other core and back, per round: {' '.join(known)} ns"]


def _prepare(
    entry: _Entry,
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    expected: Sequence[Array],
    threads: int,
    clock: Clock,
) -> None:
    """Build an engine's form of the model and compare its outputs."""
    if entry.skipped is not None:
        return
    start = clock()
    try:
        run = entry.engine.prepare(model, inputs, threads)
        entry.prepare_s = clock() - start
        found = run()
    except Exception as error:  # noqa: BLE001  a peer may raise anything; it is shown
        entry.failed = f"{type(error).__name__}: {error}".splitlines()[0]
        return
    entry.error = relative_error(found, expected)
    limit = _tolerance(entry)
    if not entry.error <= limit:  # negated, so that NaN fails too
        entry.failed = f"relative error {entry.error:.2g} is more than {limit:g}"
        return
    entry.run = run


def _tolerance(entry: _Entry) -> float:
    if entry.form is not None:
        return INT8_TOLERANCE
    return TOLERANCE if entry.engine.is_float32 else BF16_TOLERANCE


def relative_error(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """Largest difference over the largest expected value, of the worst output.

    Infinite if number or shapes of the outputs differ; NaN if one has a NaN.
    """
    if [a.shape for a in found] != [a.shape for a in expected]:
        return math.inf
    errors: list[float] = []
    for got, wanted in zip(found, expected, strict=True):
        wide = wanted.astype(np.float64)
        largest = float(np.abs(wide).max(initial=0.0)) or 1.0
        errors.append(float(np.abs(got - wide).max(initial=0.0)) / largest)
    return float(np.max(errors, initial=0.0))  # unlike max(), keeps a NaN


def measure(
    runs: Mapping[str, Run],
    rounds: int,
    clock: Clock = time.perf_counter,
    before_round: Callable[[], None] = lambda: None,
) -> dict[str, list[list[float]]]:
    """Seconds of every timed call, per engine and round."""
    times: dict[str, list[list[float]]] = {name: [] for name in runs}
    if rounds == 0:
        return times
    calls = {name: calls_per_turn(run, clock) for name, run in runs.items()}
    with _no_garbage_collection():
        for number in range(rounds):
            before_round()
            for name in turn_order(list(runs), number):
                times[name].append(_turn(runs[name], calls[name], clock))
    return times


def turn_order(names: Sequence[str], number: int) -> list[str]:
    """The order of one round: rotated by one each time, every other one backwards.

    Rotation alone would leave everybody with the same neighbour before them.
    """
    if not names:
        return []
    shift = number % len(names)
    order = [*names[shift:], *names[:shift]]
    return order[::-1] if number % 2 else order


def calls_per_turn(run: Run, clock: Clock) -> int:
    """How many calls take `TURN_S`; at least one."""
    run()
    fastest = min(_timed(run, clock) for _ in range(CALIBRATION_CALLS))
    return max(1, math.ceil(TURN_S / max(fastest, 1e-6)))


def _turn(run: Run, calls: int, clock: Clock) -> list[float]:
    start = clock()
    run()
    while clock() - start < WARM_UP_S:
        run()
    return [_timed(run, clock) for _ in range(calls)]


def _timed(run: Run, clock: Clock) -> float:
    start = clock()
    run()
    return clock() - start


@contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Collect before and not during: the compilers leave many objects behind."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _result(entry: _Entry) -> EngineResult:
    engine = entry.engine
    return EngineResult(
        engine=engine.name,
        is_own=engine.is_own,
        is_float32=engine.is_float32,
        form="float" if entry.form is None else entry.form.name,
        version=None if entry.skipped is not None else engine.version(),
        skipped=entry.skipped,
        failed=entry.failed,
        error=entry.error,
        prepare_s=entry.prepare_s,
        latency=Latency.of(entry.times) if entry.times else None,
    )
