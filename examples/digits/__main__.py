"""Train, prune, fine-tune, quantize, compile, time: `python -m examples.digits`.

Accuracy is measured on the digits, which were really trained. The two large networks
are cut before their classifiers and have random weights, pruned the same way: only
their latency and bytes mean something.
"""

from __future__ import annotations

import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from rich.console import Console
from torch import nn

from benchmarks.models import model_spec
from edgec.compress import PruneReport, prune
from examples.digits import report
from examples.digits.data import Digits, load_digits
from examples.digits.latency import Comparison, compare, compiled
from examples.digits.model import DigitNet
from examples.digits.quantized import versions
from examples.digits.train import accuracy, predict, train

SEED = 0
DENSITY = 0.125
"""Eight times fewer weights in the pruned layers."""

TRAIN_EPOCHS, TRAIN_RATE = 8, 5e-3
TUNE_EPOCHS, TUNE_RATE = 6, 3e-3
BATCHES = (1, 32)
LARGE = {
    "VGG-16 (random)": "vgg16_features",
    "ResNet-50 (random)": "resnet50_features",
}
"""Their convolution parts, at 224x224."""


@dataclass(frozen=True)
class Trained:
    """The network before and after compression."""

    dense: nn.Module
    pruned: nn.Module
    report: PruneReport


def train_and_prune(digits: Digits) -> Trained:
    """Train, prune a copy in one shot, train the copy's remaining weights."""
    torch.manual_seed(SEED)  # pyright: ignore[reportUnknownMemberType]
    dense = DigitNet()
    train(dense, digits, epochs=TRAIN_EPOCHS, peak_rate=TRAIN_RATE, seed=SEED)
    pruned = copy.deepcopy(dense)
    summary = prune(pruned, "pattern", density=DENSITY)
    train(
        pruned,
        digits,
        epochs=TUNE_EPOCHS,
        peak_rate=TUNE_RATE,
        seed=SEED,
        masked=True,
    )
    return Trained(dense, pruned, summary)


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the pictures.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=len(os.sched_getaffinity(0)),
    show_default=True,
    help="Threads of every engine.",
)
def main(output: Path, threads: int) -> None:
    """Compress, compile and time a digit recogniser and two large networks."""
    console = Console()
    start = time.perf_counter()
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    console.print(f"training on {len(digits.train_labels)} scanned digits ...")
    trained = train_and_prune(digits)
    check_accuracy(console, digits, trained, threads, output / "digits.png")
    console.print("quantizing to fewer and fewer bits ...")
    found = versions(trained.dense, digits, max(BATCHES), threads)
    report.print_versions(console, found, max(BATCHES), threads)
    reports = {"digits": trained.report}
    comparisons: list[Comparison] = []
    for batch in BATCHES:
        x = digits.test_images[:batch].contiguous()
        comparisons.append(
            compare(f"digits, batch {batch}", trained.pruned, x, threads)
        )
        report.print_latency(console, comparisons[-1], threads)
    console.print("from here on: random weights, no classifiers, one image of 224x224")
    for workload, name in LARGE.items():
        console.print(f"compiling and timing {workload} ...")
        model = model_spec(name).build(SEED)
        reports[workload] = prune(model, density=DENSITY)
        x = model_spec(name).example_input(SEED)
        comparisons.append(compare(workload, model, x, threads))
        report.print_latency(console, comparisons[-1], threads)
    report.print_compression(console, reports)
    report.save_latency(output / "latency.png", comparisons, threads)
    elapsed = time.perf_counter() - start
    console.print(f"pictures are in {output}; done in {elapsed:.0f} s")


def check_accuracy(
    console: Console, digits: Digits, trained: Trained, threads: int, picture: Path
) -> None:
    """Print accuracies; the compiled network must predict what the pruned one does."""
    batch = max(BATCHES)
    run = compiled(trained.pruned, digits.test_images[:batch].contiguous(), threads)
    predictions = {
        "dense, torch": predict(trained.dense, digits.test_images, batch),
        "pruned, torch": predict(trained.pruned, digits.test_images, batch),
        "pruned, compiled": predict(run, digits.test_images, batch),
    }
    if not torch.equal(predictions["pruned, torch"], predictions["pruned, compiled"]):
        raise ArithmeticError("the compiled network predicts other digits than torch")
    labels = digits.test_labels
    accuracies = {name: accuracy(p, labels) for name, p in predictions.items()}
    report.print_accuracy(console, accuracies, len(labels))
    report.save_digits(
        picture, digits.test_images, predictions["pruned, compiled"], labels
    )


if __name__ == "__main__":
    main()
