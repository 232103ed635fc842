"""The trained network with fewer and fewer bits: what is lost, what is gained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

import edgec
from edgec.compress import QuantizeReport, quantize
from examples.digits.data import Digits
from examples.digits.latency import Latency, Run, compiled, measure
from examples.digits.train import accuracy, predict

FORMATS = {
    "int8": "int8",
    "int4, a tenth int8": "mixed:10",
    "ternary": "ternary",
}
"""Weights, by their name in the table, for `quantize`; activations have 8 bits. In the
mixed one each layer keeps 8 bits for the tenth of its rows that rounding hurts most."""

BATCHES = 4
"""Of training images, by which ranges are chosen."""


@dataclass(frozen=True)
class Version:
    """One way to store the network."""

    weights: str
    correct: float
    """Percent of the test images."""
    stored_bytes: int
    """Of the layers that can be quantized, scales included."""
    latency: Latency


def versions(
    model: nn.Module, digits: Digits, batch: int, threads: int
) -> list[Version]:
    """The network in float32 and in each format, compiled; timed in turns."""
    batches = list(digits.train_images[: BATCHES * batch].split(batch))
    runs: dict[str, Run] = {"float32": compiled(model, batches[0], threads)}
    sizes: dict[str, int] = {}
    for name, weights in FORMATS.items():
        reports: list[QuantizeReport] = []
        program = quantize(model, batches, weights, report=reports.append)
        runs[name] = edgec.compile(program, threads=threads)
        sizes[name] = reports[0].stored_bytes
        sizes["float32"] = reports[0].dense_bytes
    latencies = measure(runs, batches[0])
    return [
        Version(name, _correct(run, digits, batch), sizes[name], latencies[name])
        for name, run in runs.items()
    ]


def _correct(run: Run, digits: Digits, batch: int) -> float:
    found: Tensor = predict(run, digits.test_images, batch)
    return accuracy(found, digits.test_labels)
