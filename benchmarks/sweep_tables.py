"""The sweep as tables on the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.sweep import LIMIT, MISSED, SweepResult, spearman

WORST = 8
"""Cases that are shown at each end."""


def ratio_line(result: SweepResult) -> str:
    """One case in one line."""
    return (
        f"{result.case.number}: chosen {result.ratio:.2f} of dense, "
        f"sparse {result.sparse_ratio:.2f}"
    )


def print_sweep(console: Console, results: Sequence[SweepResult]) -> None:
    """How chosen programs compare with dense ones, and predictions with times."""
    print_cases(console, "Slowest against dense", results, lambda r: -r.ratio)
    missed = [result for result in results if result.is_missed]
    if missed:
        title = f"Dense, where sparse would be more than {MISSED} times as fast"
        print_cases(console, title, missed, lambda r: r.sparse_ratio)
    ratios = [result.ratio for result in results]
    points = (0, 5, 25, 50, 75, 95, 100)
    shown = zip(points, np.percentile(ratios, points), strict=True)
    text = ", ".join(f"{point} %: {value:.3f}" for point, value in shown)
    console.print(f"chosen ÷ dense, quantiles: {text}")
    slower = sum(result.is_slower for result in results)
    again = [result for result in results if result.attempts > 1]
    cleared = sum(not result.is_slower for result in again)
    console.print(
        f"{len(results)} cases; {slower} slower than {LIMIT} of dense; "
        f"{len(missed)} left dense that would gain; {len(again)} measured again, "
        f"of which {cleared} were noise"
    )
    print_errors(console, results)
    print_correlations(console, results)


def print_errors(console: Console, results: Sequence[SweepResult]) -> None:
    """What failed, a line each."""
    for result in results:
        for line in result.failures():
            console.print(line, style="red", markup=False)


def print_cases(
    console: Console,
    title: str,
    results: Sequence[SweepResult],
    key: Callable[[SweepResult], float],
) -> None:
    """The first cases by `key`."""
    table = Table("case", "chosen", title=title)
    for name in ("dense µs", "chosen µs", "÷ dense", "predicted", "sparse ÷ dense"):
        table.add_column(name, justify="right")
    for result in sorted(results, key=key)[:WORST]:
        dense, chosen = result.samples["dense"], result.samples["chosen"]
        table.add_row(
            result.title,
            chosen.kernel,
            f"{1e6 * dense.seconds:.0f}",
            f"{1e6 * chosen.seconds:.0f}",
            f"{result.ratio:.2f}",
            f"{chosen.cycles / dense.cycles:.2f}",
            f"{result.sparse_ratio:.2f}",
        )
    console.print(table)


def print_correlations(console: Console, results: Sequence[SweepResult]) -> None:
    """Rank correlation of predicted cycles and measured time, over all programs."""
    samples = [
        (sample.kernel.split()[0].rstrip(","), sample.cycles, sample.seconds)
        for result in results
        for name, sample in result.samples.items()
        if name != "chosen" or sample.kernel != result.samples["dense"].kernel
    ]
    counts = Counter(family for family, _, _ in samples)
    table = Table("family", title="Predicted cycles and measured time")
    for name in ("programs", "rank correlation", "10-90 % of ns per cycle"):
        table.add_column(name, justify="right")
    for family in ("all", *sorted(counts)):
        pairs = [(c, s) for name, c, s in samples if family in ("all", name)]
        cycles, seconds = zip(*pairs, strict=True)
        low, high = np.percentile([1e9 * s / c for c, s in pairs], (10, 90))
        found = spearman(cycles, seconds)
        text = "-" if math.isnan(found) else f"{found:.3f}"
        table.add_row(family, str(len(pairs)), text, f"{low:.3f}-{high:.3f}")
    console.print(table)
