"""Results as tables on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import fusion
from benchmarks.loads import Row
from benchmarks.results import ALL_BUT, EngineResult, Ratio, WorkloadResult


def print_machine(console: Console, machine: Mapping[str, Any], threads: int) -> None:
    """Two lines on where this runs."""
    console.print(
        f"{machine['processor']}, {machine['tier']}, {machine['cores']} cores, "
        f"{threads} threads; load before {machine['load_before']}; {machine['date']}"
    )


def print_latencies(console: Console, result: WorkloadResult) -> None:
    """A row per engine, then how the best peer compares with edgec."""
    table = Table("engine", "version", title=result.workload)
    for name in ("median ms", "quartiles", "p95", "calls", "error", "÷ edgec"):
        table.add_column(name, justify="right")
    own = result.own()
    for row in result.engines:
        table.add_row(
            *_cells(row, result.ratio(row)), style="bold" if row is own else ""
        )
    console.print(table)
    for note in result.notes:
        console.print(note, markup=False)
    _print_reasons(console, result)
    peer = result.best_peer()
    ratio = result.ratio(peer) if peer is not None else None
    if peer is not None and ratio is not None:
        console.print(f"best peer ÷ edgec: {_text(ratio)} ({peer.engine})\n")


def print_gains(console: Console, result: WorkloadResult) -> None:
    """What each option gains: the row before ÷ the row, or the row ÷ the last one."""
    timed = {
        row.engine: row.latency.median_s
        for row in result.engines
        if row.latency is not None
    }
    steps = [name for name in timed if not name.startswith(ALL_BUT)]
    pairs = [(after, before, after) for before, after in pairwise(steps)]
    pairs += [(name, name, steps[-1]) for name in timed if name.startswith(ALL_BUT)]
    for name, without, all_on in pairs:
        gain = timed[without] / timed[all_on]
        end = "as fast as without" if name == all_on else "slower than all"
        console.print(f"{name}: {gain:.3f} times {end}")


def efficiency(result: WorkloadResult) -> float | None:
    """(dense ÷ sparse) ÷ (1 ÷ density): 1 if every removed weight is saved time."""
    dense = result.ratio(result.engines[0])
    if dense is None or result.density is None:
        return None
    return dense.ratio * result.density


def efficiency_line(result: WorkloadResult) -> str:
    """One stack in one line."""
    found = efficiency(result)
    return f"{result.workload}: efficiency {_number(found, 2)}"


def print_efficiency(console: Console, results: Sequence[WorkloadResult]) -> None:
    """A row per stack and density, and the median of all."""
    table = Table("layers", title="edgec dense and sparse")
    for name in ("dense ms", "sparse ms", "dense ÷ sparse", "efficiency"):
        table.add_column(name, justify="right")
    for result in results:
        ratio = result.ratio(result.engines[0])
        times = [
            "-" if row.latency is None else f"{1e3 * row.latency.median_s:.3f}"
            for row in result.engines
        ]
        text = "-" if ratio is None else _text(ratio)
        table.add_row(result.workload, *times, text, _number(efficiency(result), 2))
    console.print(table)
    for result in results:
        _print_reasons(console, result)
    found = [e for e in map(efficiency, results) if e is not None]
    if found:
        console.print(
            f"efficiency: median {statistics.median(found):.2f}, least {min(found):.2f}"
        )


def print_loads(console: Console, rows: Sequence[Row]) -> None:
    """Before and after, a row per layer and scheme."""
    table = Table("layer", "pruned", title="For each multiply-add that counts")
    for when in ("before", "after"):
        table.add_column(f"{when}: kernel")
        table.add_column("loads", justify="right")
        table.add_column("of vectors", justify="right")
        table.add_column("multiply-adds", justify="right")
    for row in rows:
        cells = [row.layer, row.pruning]
        for each in (row.before, row.after):
            numbers = (each.loads, each.vectors, each.products)
            cells += [each.kernel, *(_number(n, 2) for n in numbers)]
        table.add_row(*cells)
    console.print(table)


def print_fusion(console: Console, rows: Sequence[fusion.Row]) -> None:
    """A row per network: ops as imported and before fusion, then launches."""
    table = Table("network", title="Ops and launches")
    names = ("ops imported", "ops unfused", "fuse", "+ rewrite-algebra")
    for name in (*names, "+ eliminate-data-movement"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (row.imported, row.unfused, row.fused, row.rewritten, row.full)
        table.add_row(row.network, *map(str, numbers))
    console.print(table)


def print_errors(console: Console, results: Sequence[WorkloadResult]) -> None:
    """One row per model: how far its outputs are from torch's."""
    table = Table("model", title="Difference from torch eager, relative")
    for name in ("engine", "error", "built in s"):
        table.add_column(name, justify="right")
    for result in results:
        for row in result.engines:
            table.add_row(
                result.workload, row.engine, _error(row), _number(row.prepare_s, 1)
            )
    console.print(table)
    for result in results:
        _print_reasons(console, result)


def print_compile(console: Console, cost: Mapping[str, Any]) -> None:
    """What `measure_compile` found, in people's units."""
    table = Table("what", title=f"Compiling {cost['model']}")
    table.add_column("cost", justify="right")
    for key, title in (
        ("cold_s", "compile, nothing cached"),
        ("cached_same_process_s", "again in the same process, cached"),
        ("cached_fresh_process_s", "in a fresh process, cached"),
        ("import_s", "importing the compiler, once per process"),
        ("opt_help_s", "edgec-opt --help"),
    ):
        table.add_row(title, f"{cost[key]:.2f} s")
    for key, title in (
        ("weights_bytes", "weights"),
        ("torch_imported_peak_bytes", "peak memory after importing torch"),
        ("model_built_peak_bytes", "peak memory after building the model"),
        ("compile_peak_bytes", "peak memory after compiling"),
        ("arena_bytes", "arena for activations"),
        ("live_bytes", "largest set of live activations"),
    ):
        table.add_row(title, f"{cost[key] / 1e6:.1f} MB")
    table.add_row("arena ÷ live", f"{cost['arena_to_live']:.3f}")
    console.print(table)


def _cells(row: EngineResult, ratio: Ratio | None) -> list[str]:
    latency = row.latency
    start = [row.engine, row.version or "-"]
    if latency is None:
        return [*start, "-", "-", "-", "-", _error(row), "-"]
    return [
        *start,
        f"{1e3 * latency.median_s:.3f}",
        f"{1e3 * latency.low_s:.3f}-{1e3 * latency.high_s:.3f}",
        f"{1e3 * latency.p95_s:.3f}",
        str(latency.calls),
        _error(row),
        _text(ratio) if ratio is not None else "-",
    ]


def _print_reasons(console: Console, result: WorkloadResult) -> None:
    for row in result.engines:
        if row.skipped is not None:
            console.print(f"{row.engine} is skipped: {row.skipped}", markup=False)
        if row.failed is not None:
            line = f"{result.workload}, {row.engine} FAILED: {row.failed}"
            console.print(line, style="red", markup=False)


def _error(row: EngineResult) -> str:
    return "-" if row.error is None else f"{row.error:.1e}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _text(ratio: Ratio) -> str:
    return f"{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"
