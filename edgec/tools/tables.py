"""Tables that `edgec` prints: what passes did, and what engines took."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgec.report import Report
    from edgec.tools.bench import Result


def print_statistics(report: Report) -> None:
    """A table of times and counts: stages first, then passes in their order."""
    from rich import box

    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys([*report.seconds, *report.statistics]):
        seconds = report.seconds.get(name)
        counts = report.statistics.get(name, {})
        cells = [f"{count} = {value}" for count, value in counts.items() if value]
        took = "cached" if seconds is None else f"{seconds * 1e3:.1f}"
        rows.append((name, took, "\n".join(cells)))
    _print_table(("stage or pass", "ms", "statistics"), rows, box.SIMPLE)


def print_times(result: Result) -> None:
    """A table of the quartiles of each engine, and what they mean."""
    from rich import box

    rows = [
        (
            timing.engine,
            *(f"{value * 1e3:.3f}" for value in timing.quartiles()),
            f"{timing.median() / result.timings[0].median():.2f}",
            f"{timing.difference:.1e}",
        )
        for timing in result.timings
    ]
    header = ("engine", "25 % ms", "median ms", "75 % ms", "times edgec", "difference")
    _print_table(header, rows, box.SIMPLE)
    click.echo(
        f"{result.threads} threads, {len(result.timings[0].seconds)} rounds in turns; "
        "difference: the largest from edgec's outputs, relative to their largest value"
    )


def _print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], box: Any
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=box)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
