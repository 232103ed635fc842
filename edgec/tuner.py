"""Measure the schedules of a model's layers, and write the best to a tuning log.

Each distinct layer is compiled by itself with one schedule after the other, the best by
prediction first, and timed in turns with the schedule that is taken without a log: what
counts is the ratio, which a drifting clock does not change. The studies of optuna
remember what was measured: with a storage, tuning continues where it ended, and
several processes share the work. Each reads the log and the study, and writes to them,
while the log is locked: neither optuna nor SQLite keeps two from taking one trial.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from xdsl.dialects.builtin import StringAttr

from edgec.driver import Model, import_for_tuning
from edgec.errors import InvalidInput, PassFailed, some_of
from edgec.importer import ImportedModel
from edgec.layer_program import (
    Array,
    Candidate,
    LayerModule,
    candidates,
    compile_layer,
    isolate,
    layers_of,
    random_inputs,
)
from edgec.options import Options, Precision
from edgec.passes.analysis.layer_key import layer_key
from edgec.runtime.executable import Executable
from edgec.runtime.threads import check_threads
from edgec.target import Target
from edgec.tuning_log import (
    Entry,
    append,
    best_entries,
    check_log,
    fingerprint,
    locked,
    read_log,
)

ROUNDS = 9
"""Turns of the default and a candidate in one trial."""
FINAL_ROUNDS = 31
"""The same for the candidate that won: of many, one wins by chance too."""
TURN_SECONDS = 0.002
"""A turn takes about as long: the clock's own cost does not count."""
TOLERANCE = 1e-3
"""Largest difference of results, relative to the largest: sums in another order."""
BF16_TOLERANCE = 2.0**-7
"""More where results are rounded to bfloat16: one may go to another neighbour."""
LOST = timedelta(minutes=10)
"""After so long a trial that did not end is taken to be of a process that did."""


@dataclass(frozen=True)
class Tuned:
    """What became of one distinct layer."""

    paths: tuple[str, ...]
    """The layers of the model that it stands for."""
    entry: Entry | None
    """What the log says of it now; None if nothing was measured."""
    is_new: bool
    """Whether it was measured in this run."""

    @property
    def gain(self) -> float:
        """Time without the log by time with it."""
        return 1.0 if self.entry is None else self.entry.default_ms / self.entry.ms


def tune(  # noqa: PLR0913  the options of the command, all but three by keyword
    model: Model,
    example_inputs: Any = None,
    *,
    log: str | Path,
    trials: int = 32,
    timeout: float | None = None,
    storage: str | None = None,
    layers: str = "*",
    threads: int | None = None,
    target: str | Target = "native",
    again: bool = False,
    precision: Precision = "float32",
    error_budget: float = Options.error_budget,
    progress: Callable[[str], None] | None = None,
) -> list[Tuned]:
    """Measure the layers of a model and append the best schedules to `log`.

    Args:
        model: as for `edgec.compile`.
        example_inputs: as for `edgec.compile`.
        log: the file for `Options(tuning_log=…)`; layers that it has with as many
            trials are skipped.
        trials: schedules to measure of each layer.
        timeout: seconds after which no trial is started.
        storage: URL of a database of optuna (`sqlite:///tune.db`); without one,
            trials of a layer that was not finished are lost.
        layers: glob of the module paths of layers to measure.
        threads: threads per call; by default as many as the process may use.
        target: as for `edgec.compile`; it must run here.
        again: measure layers that the log has too; the new lines count. Not with
            `storage`, which remembers the trials as well.
        precision: as in `Options`: which layers are measured in bfloat16.
        error_budget: as in `Options`.
        progress: called with a line for each layer.

    Raises `InvalidInput` if optuna is not installed or an argument does not fit.
    """
    optuna = _optuna()
    _check_arguments(trials, threads, storage, again=again)
    options = Options(precision=precision, error_budget=error_budget)
    imported, machine = import_for_tuning(model, example_inputs, target, options)
    threads = threads or machine.cores
    work = _distinct_layers(imported, machine, layers)
    check_log(log)
    end = math.inf if timeout is None else time.monotonic() + timeout
    known = _Known(Path(log), machine, threads, is_believed=not again)
    results: list[Tuned] = []
    for number, (key, (layer, paths)) in enumerate(work.items(), start=1):
        tuner = _LayerTuner(optuna, layer, known, trials, storage, end)
        is_new = known.count(key) < tuner.wanted and tuner.run()
        results.append(Tuned(tuple(paths), known.best(key), is_new))
        if progress is not None:
            progress(f"[{number}/{len(work)}] {describe(results[-1])}")
    # Others may have ended meanwhile what they had begun before.
    return [
        replace(result, entry=known.best(key))
        for key, result in zip(work, results, strict=True)
    ]


def _check_arguments(
    trials: int, threads: int | None, storage: str | None, *, again: bool
) -> None:
    """Raise `InvalidInput` for arguments that do not fit."""
    if trials < 1:
        raise InvalidInput(f"`trials` must be at least 1, got {trials}")
    if again and storage is not None:
        raise InvalidInput(
            f"`again` measures anew, but storage '{storage}' remembers what was "
            "measured; give `again` alone, or another storage and another log"
        )
    if threads is not None:
        check_threads(threads)


def _distinct_layers(
    imported: ImportedModel, target: Target, layers: str
) -> dict[str, tuple[LayerModule, list[str]]]:
    """By key: a layer by itself, and the paths of all that are equal to it.

    Raises `InvalidInput` if the glob `layers` matches no path.
    """
    work: dict[str, tuple[LayerModule, list[str]]] = {}
    known: list[str] = []
    for op in layers_of(imported.module, target):
        path = op.attributes.get("nn.path")
        name = path.data if isinstance(path, StringAttr) else op.name
        known.append(name)
        if fnmatchcase(name, layers):
            key = layer_key(op, imported.ctx.weights)
            if key not in work:
                work[key] = (isolate(op, imported.ctx), [])
            work[key][1].append(name)
    if not work:
        there = f"; there are {some_of(known)}" if known else ": the model has none"
        raise InvalidInput(f"no layer to tune has a path like '{layers}'{there}")
    return work


def describe(tuned: Tuned) -> str:
    """One line about a layer."""
    others = len(tuned.paths) - 1
    name = tuned.paths[0] + (f" and {others} more" if others else "")
    entry = tuned.entry
    if entry is None:
        return f"{name}: not measured yet, or by another process that is not done"
    label = Candidate(entry.family, dict(entry.settings), 0.0).label
    how = f"fastest of {entry.count}" if tuned.is_new else "known"
    return f"{name}: {entry.ms:.3f} ms, {tuned.gain:.3f} times as fast ({label}; {how})"


def _optuna() -> Any:
    """The package, which is an extra; its types are not needed for what is used."""
    if find_spec("optuna") is None:
        raise InvalidInput(
            "tuning needs optuna, which is not installed: pip install 'edgec[tune]'"
        )
    optuna: Any = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True)
class _Known:
    """What the log says for a machine; other processes may write to it too."""

    log: Path
    target: Target
    threads: int
    is_believed: bool
    """Whether a layer that it has need not be measured."""

    def best(self, key: str) -> Entry | None:
        """The line that counts for a layer."""
        return best_entries(self._entries(), self.target, self.threads).get(key)

    def count(self, key: str) -> int:
        """How many schedules of a layer need not be measured: the most of any line."""
        if not self.is_believed:
            return 0
        machine = fingerprint(self.target), self.threads, key
        mine = (e for e in self._entries() if (e.target, e.threads, e.layer) == machine)
        return max((each.count for each in mine), default=0)

    def _entries(self) -> list[Entry]:
        return read_log(self.log) if self.log.exists() else []


class _LayerTuner:
    """The study of one layer."""

    def __init__(
        self,
        optuna: Any,
        layer: LayerModule,
        known: _Known,
        trials: int,
        storage: str | None,
        end: float,
    ) -> None:
        self.optuna, self.layer, self.end = optuna, layer, end
        self.known, self.target, self.threads = known, known.target, known.threads
        several = candidates(layer, self.target)
        self.labels = [each.label for each in several]
        self.candidates = {each.label: each for each in several}
        self.chosen = self.labels[:trials]
        self.wanted = len(self.chosen)
        self.storage = storage

    def run(self) -> bool:
        """Measure what is left; whether that gave a line of the log.

        It does not while others still measure: the last one writes the line.
        """
        if time.monotonic() >= self.end:
            return False
        study = self._study()
        self.default = self._compile(self.candidates[self.labels[0]])
        self.inputs = random_inputs(self.default.spec.inputs)
        self.expected = self.default(self.inputs)
        while time.monotonic() < self.end:
            trial = self._next_trial(study)
            if trial is None:
                break
            self._run_trial(study, trial)
        measured = {
            trial.params["schedule"]: float(trial.value)
            for trial in study.get_trials(deepcopy=False)
            if trial.state.name == "COMPLETE"
            and trial.params["schedule"] in self.chosen
        }
        is_over = time.monotonic() >= self.end
        if not measured or (len(measured) < self.wanted and not is_over):
            return False
        best = min(measured, key=lambda each: measured[each])
        with locked(self.known.log):
            if self.known.count(self.layer.key) >= len(measured):
                return False  # others were first
            append(self.known.log, self._entry(best, len(measured)))
        return True

    def _study(self) -> Any:
        """Its name says all that measurements depend on."""
        what = (fingerprint(self.target), self.threads, self.layer.key, self.labels)
        name = hashlib.blake2b(repr(what).encode(), digest_size=16).hexdigest()
        try:
            with locked(self.known.log):
                return self.optuna.create_study(
                    study_name=f"edgec {name}",
                    storage=self.storage,
                    direction="minimize",
                    load_if_exists=True,
                )
        except OSError:  # of the log
            raise
        # What a database raises is its own affair.
        except Exception as error:
            raise InvalidInput(
                f"storage '{self.storage}' cannot be used; it must be the URL of a "
                f"database of optuna, such as sqlite:///tune.db: {error}"
            ) from error

    def _next_trial(self, study: Any) -> Any:
        """A trial with a schedule that nobody measured yet; None if all are taken.

        After a process that ended at the wrong time, it is a trial that this one left,
        whose schedule may be any.
        """
        with locked(self.known.log):
            taken = _taken(study)
            label = next((each for each in self.chosen if each not in taken), None)
            if label is None:
                return None
            study.enqueue_trial({"schedule": label})
            trial = study.ask()
            trial.suggest_categorical("schedule", self.labels)
            return trial

    def _run_trial(self, study: Any, trial: Any) -> None:
        """Measure one schedule; an interrupted trial does not count."""
        label: str = trial.params["schedule"]
        try:
            seconds = self._measure(self.candidates[label], ROUNDS)
        except BaseException:
            with locked(self.known.log):
                study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            raise
        with locked(self.known.log):
            study.tell(trial, seconds[1] / seconds[0])

    def _entry(self, label: str, count: int) -> Entry:
        """The best, if it is faster than the default in longer measurements too."""
        best = self.candidates[label]
        usual, own = self._measure(best, FINAL_ROUNDS)
        if own >= usual:
            best, own = self.candidates[self.labels[0]], usual
        return self._as_entry(best, own * 1e3, usual * 1e3, count)

    def _as_entry(
        self, candidate: Candidate, ms: float, default_ms: float, count: int
    ) -> Entry:
        return Entry(
            target=fingerprint(self.target),
            threads=self.threads,
            layer=self.layer.key,
            family=candidate.family,
            settings=candidate.settings,
            ms=round(ms, 6),
            default_ms=round(default_ms, 6),
            count=count,
        )

    def _compile(self, candidate: Candidate) -> Executable:
        entry = self._as_entry(candidate, 1.0, 1.0, 1)
        return compile_layer(self.layer, self.target, entry, self.threads)

    def _measure(self, candidate: Candidate, rounds: int) -> tuple[float, float]:
        """Seconds of a call of the default and of a candidate, in turns."""
        program = self._compile(candidate)
        self._check(candidate, program(self.inputs))
        calls = (self.default, program)
        sizes = [_calls_per_turn(call, self.inputs) for call in calls]
        ratios: list[float] = []
        usual: list[float] = []
        for _ in range(rounds):
            times = [
                _turn(call, self.inputs, n)
                for call, n in zip(calls, sizes, strict=True)
            ]
            usual.append(times[0])
            ratios.append(times[1] / times[0])
        seconds = statistics.median(usual)
        return seconds, seconds * statistics.median(ratios)

    def _check(self, candidate: Candidate, found: Sequence[Array]) -> None:
        """A fast wrong answer is not an answer."""
        for value, expected in zip(found, self.expected, strict=True):
            wide = expected.astype(np.float64)
            scale = float(np.abs(wide).max(initial=0.0)) or 1.0
            difference = float(np.abs(value.astype(np.float64) - wide).max(initial=0.0))
            rounding = BF16_TOLERANCE if self.layer.is_rounded else 0.0
            if difference > (TOLERANCE + rounding) * scale:
                raise PassFailed(
                    f"layer {self.layer.key} gives other results as {candidate.label}: "
                    f"they differ by {difference:.2e}, of at most {scale:.2e}"
                )


def _taken(study: Any) -> set[str]:
    """Schedules that are measured, or are being measured by someone."""
    recent = datetime.now() - LOST
    return {
        trial.params["schedule"]
        for trial in study.get_trials(deepcopy=False)
        if "schedule" in trial.params
        and (
            trial.state.name == "COMPLETE"
            or (trial.state.name == "RUNNING" and trial.datetime_start > recent)
        )
    }


def _calls_per_turn(program: Executable, inputs: Sequence[Array]) -> int:
    program(inputs)
    return max(1, math.ceil(TURN_SECONDS / _turn(program, inputs, 1)))


def _turn(program: Executable, inputs: Sequence[Array], count: int) -> float:
    """Seconds of one call, after one to warm up."""
    program(inputs)
    start = time.perf_counter()
    for _ in range(count):
        program(inputs)
    return (time.perf_counter() - start) / count
