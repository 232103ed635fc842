"""Carry out a request: measure, print as results come, write them to a file."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rich.console import Console

from benchmarks import quantized, sweep_tables, tables
from benchmarks.compile_cost import measure_compile
from benchmarks.engines import Setup, check_names
from benchmarks.fusion import count_fusion
from benchmarks.loads import count_all
from benchmarks.machine import describe_machine, versions
from benchmarks.models import model_spec
from benchmarks.request import ENGINES, Request, parse_range
from benchmarks.results import WorkloadResult
from benchmarks.suites import (
    BF16_DENSE,
    MODEL_CASES,
    RECURRENT,
    SPARSE,
    SPINE,
    Case,
    Plan,
    run_ablation,
    run_cases,
    run_granules,
    run_linear,
    run_quantized,
    run_recurrent,
    run_sweep,
)
from benchmarks.sweep import SweepResult
from edgec.codegen.host import host_features
from edgec.errors import InvalidInput
from edgec.target import Target

FORMAT = 1
"""Of the file of results; grows when a field changes its meaning or goes."""

FILE_WIDTH = 120
"""Columns of a table that is not printed on a terminal, which knows its width."""


def execute(request: Request) -> list[str]:
    """Do what was asked for; return a line for each engine that failed.

    Raises `InvalidInput` or `InvalidTarget` for a name that nobody knows, before
    anything is measured.
    """
    _check(request)
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    machine = describe_machine()
    tables.print_machine(console, machine, request.threads)
    with warnings.catch_warnings():
        if not sys.warnoptions:  # those of torch and the peers say nothing about edgec
            warnings.simplefilter("ignore")
        content, failures = _measure(request, console)
    document = {
        "format": FORMAT,
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "suite": request.suite,
        "target": request.target,
        "threads": request.threads,
        "rounds": request.rounds,
        "machine": machine,
        "versions": versions(),
        **content,
    }
    path = request.results_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    console.print(f"numbers are in {path}", highlight=False)
    return failures


def _check(request: Request) -> None:
    for name in request.models:
        model_spec(name)
    check_names(request.engines)
    Target.parse(request.target, host_features)


def _measure(request: Request, console: Console) -> tuple[dict[str, Any], list[str]]:
    """The part of the file that depends on the suite, and the failures."""
    if request.suite == "compile":
        cost = measure_compile(request.target, request.threads)
        tables.print_compile(console, cost)
        return {"compile": cost}, []
    if request.suite == "loads":
        rows = list(count_all(request.target, _say))
        tables.print_loads(console, rows)
        return {"loads": [row.to_json() for row in rows]}, []
    if request.suite == "sweep":
        sweep = _sweep(request, console)
        failures = [line for result in sweep for line in result.failures()]
        return {"seed": request.seed, "cases": [r.to_json() for r in sweep]}, failures
    if request.suite == "fusion":
        launches = list(count_fusion(request.target, _say))
        tables.print_fusion(console, launches)
        return {"fusion": [row.to_json() for row in launches]}, []
    results = _measure_workloads(request, console)
    failures = [line for result in results for line in result.failures()]
    return {"workloads": [result.to_json() for result in results]}, failures


def _sweep(request: Request, console: Console) -> list[SweepResult]:
    """The cases that were asked for, and those of the file that were not."""
    numbers = parse_range(request.only, request.cases)
    kept = [] if request.only is None else _kept(request, set(numbers))
    setup = Setup(request.folder, request.target)
    plan = Plan(setup, request.threads, request.rounds, _say)
    found = [*kept]
    for result in run_sweep(numbers, request.seed, plan):
        found.append(result)
        _say(sweep_tables.ratio_line(result))
    found = [
        _once_more(result, request, plan)
        if result.is_slower and result.case.number in numbers
        else result
        for result in found
    ]
    found.sort(key=lambda result: result.case.number)
    sweep_tables.print_sweep(console, found)
    return found


def _once_more(slow: SweepResult, request: Request, plan: Plan) -> SweepResult:
    """A case that was slower than dense, compiled and measured after all others.

    What slows it down for seconds, or in the memory that it happened to get, is over.
    """
    (result,) = run_sweep([slow.case.number], request.seed, plan)
    _say(f"again: {sweep_tables.ratio_line(result)}")
    return replace(result, attempts=slow.attempts + result.attempts)


def _kept(request: Request, again: set[int]) -> list[SweepResult]:
    """Cases of an earlier part of the same sweep."""
    path = request.results_file
    if not path.exists():
        return []
    stored = json.loads(path.read_text())
    same = ("suite", "target", "threads", "seed")
    if any(stored.get(name) != getattr(request, name) for name in same):
        raise InvalidInput(
            f"'{path}' holds another sweep (suite, target, threads or seed differ): "
            "give --json FILE, or remove it"
        )
    cases = [SweepResult.from_json(each) for each in stored["cases"]]
    return [c for c in cases if c.case.number not in again]


def _say(line: str) -> None:
    """What is done next, where it does not mix with the results."""
    progress = Console(stderr=True, highlight=False)
    progress.print(f"... {line}", style="dim", markup=False)


def _measure_workloads(request: Request, console: Console) -> list[WorkloadResult]:
    setup = Setup(request.folder, request.target)
    rounds = 0 if request.suite == "models" else request.rounds
    plan = Plan(setup, request.threads, rounds, _say)
    if request.suite == "ablation":
        result = run_ablation(plan)
        tables.print_latencies(console, result)
        tables.print_gains(console, result)
        return [result]
    results: list[WorkloadResult] = []
    if request.suite == "granules":
        for result in run_granules(plan):
            results.append(result)
            _say(tables.efficiency_line(result))
        tables.print_efficiency(console, results)
        return results
    for result in _results(request, plan):
        if rounds:
            tables.print_latencies(console, result)
        results.append(result)
    if not rounds:
        tables.print_errors(console, results)
    return results


def _results(request: Request, plan: Plan) -> Iterator[WorkloadResult]:
    if request.suite == "int8-dense":
        return run_quantized(quantized.DENSE, plan)
    if request.suite == "int8-sparse":
        return run_quantized(quantized.SPARSE, plan)
    if request.suite == "int8-linear":
        return run_linear(plan)
    if request.suite == "bf16-linear":
        return run_linear(plan, (16,))
    if request.suite == "int8-recurrent":
        return run_recurrent(plan)
    return run_cases(_cases(request), plan)


def _cases(request: Request) -> tuple[Case, ...]:
    if request.suite == "spine":
        return SPINE
    if request.suite == "sparse":
        return SPARSE
    if request.suite == "bf16-dense":
        return BF16_DENSE
    if request.suite == "recurrent":
        return RECURRENT
    if request.suite == "models":
        return MODEL_CASES
    engines = request.engines or ENGINES
    kept, scheme = request.kept, request.prune
    return tuple(Case(name, engines, kept, scheme=scheme) for name in request.models)
