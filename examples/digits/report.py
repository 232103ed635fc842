"""Tables on the terminal and pictures in the output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from edgec.compress import PruneReport
from examples.digits.latency import Comparison
from examples.digits.quantized import Version

SHOWN = 32
"""Digits in the picture, in rows of `COLUMNS`."""

COLUMNS = 8
OWN = "edgec, sparse"
COLOURS = {
    "torch eager": "#c8553d",
    "ONNX Runtime": "#d9a441",
    "edgec, dense": "#8aa1b1",
    OWN: "#1f6f78",
}


def print_accuracy(
    console: Console, accuracies: Mapping[str, float], images: int
) -> None:
    """One line per version of the model; values in percent."""
    table = Table("model", title=f"Accuracy on {images} test images")
    table.add_column("correct", justify="right")
    for name, value in accuracies.items():
        table.add_row(name, f"{value:.2f} %")
    console.print(table)
    console.print(
        f"one image is {100 / images:.2f} %; the pruned network was trained for longer"
    )
    console.print(
        "every engine below runs the pruned network; only 'sparse' uses its zeros"
    )


def print_compression(console: Console, reports: Mapping[str, PruneReport]) -> None:
    """Bytes of all parameters before and after, indices included."""
    table = Table("model", title="Stored bytes of all parameters, indices included")
    for name in ("pruned layers", "density", "dense", "stored", "smaller by"):
        table.add_column(name, justify="right")
    for name, report in reports.items():
        table.add_row(
            name,
            f"{len(report.pruned)} of {len(report.layers)}",
            f"{report.density:.3f}",
            f"{report.dense_bytes:,}",
            f"{report.stored_bytes:,}",
            f"{report.dense_bytes / report.stored_bytes:.2f}x",
        )
    console.print(table)


def print_versions(
    console: Console, versions: Sequence[Version], batch: int, threads: int
) -> None:
    """Accuracy, bytes and latency of each way to store the weights."""
    title = f"The dense network in fewer bits; {batch} images, {threads} threads"
    table = Table("weights", title=title)
    for name in ("correct", "bytes", "smaller by", "median", "speed-up"):
        table.add_column(name, justify="right")
    first = versions[0]
    for each in versions:
        table.add_row(
            each.weights,
            f"{each.correct:.2f} %",
            f"{each.stored_bytes:,}",
            f"{first.stored_bytes / each.stored_bytes:.2f}x",
            f"{1e3 * each.latency.median_s:.3f} ms",
            f"{first.latency.median_s / each.latency.median_s:.2f}x",
        )
    console.print(table)
    console.print(
        "not trained again; activations have 8 bits, and convolutions read weights of "
        "fewer bits as bytes, too: those save memory where the network is stored"
    )


def print_latency(console: Console, comparison: Comparison, threads: int) -> None:
    """Median and 95th percentile of each engine, and how often it fits into torch's."""
    title = f"{comparison.workload}: latency, {threads} threads"
    table = Table("engine", title=title)
    for name in ("median", "p95", "runs", "speed-up"):
        table.add_column(name, justify="right")
    first = next(iter(comparison.latencies.values())).median_s
    for name, latency in comparison.latencies.items():
        table.add_row(
            name,
            f"{1e3 * latency.median_s:.3f} ms",
            f"{1e3 * latency.p95_s:.3f} ms",
            str(latency.count),
            f"{first / latency.median_s:.2f}x",
            style="bold" if name == OWN else None,
        )
    console.print(table)


def save_digits(
    path: Path, images: Tensor, predictions: Tensor, labels: Tensor
) -> None:
    """A grid of test images with what the compiled model says; mistakes in red."""
    # The mistakes come first: they are what is worth looking at.
    order = (predictions == labels).int().argsort(stable=True)[:SHOWN].tolist()
    figure = Figure(figsize=(COLUMNS, 1.15 * SHOWN / COLUMNS), layout="constrained")
    for place, number in enumerate(order):
        axes = figure.add_subplot(SHOWN // COLUMNS, COLUMNS, place + 1)
        axes.imshow(images[number, 0].numpy(), cmap="gray_r")
        axes.set_axis_off()
        found, label = int(predictions[number]), int(labels[number])
        if found == label:
            axes.set_title(str(found), color="#1f6f78")
        else:
            axes.set_title(f"{found}, is {label}", color="#c8553d")
    figure.suptitle("Predicted by the compiled, pruned network")
    figure.savefig(path, dpi=120)


def save_latency(path: Path, comparisons: Sequence[Comparison], threads: int) -> None:
    """One bar chart per workload, each from zero on its own scale."""
    figure = Figure(figsize=(3.2 * len(comparisons), 3.6), layout="constrained")
    for place, comparison in enumerate(comparisons):
        axes = figure.add_subplot(1, len(comparisons), place + 1)
        names = list(comparison.latencies)
        heights = [1e3 * comparison.latencies[name].median_s for name in names]
        bars = axes.bar(names, heights, color=[COLOURS[name] for name in names])
        axes.bar_label(bars, fmt="%.3g")
        axes.set_title(comparison.workload, fontsize=10)
        axes.tick_params("x", labelrotation=30)
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supylabel("median latency, ms")
    figure.suptitle(f"Latency with {threads} threads, pruned networks, less is better")
    figure.savefig(path, dpi=120)
