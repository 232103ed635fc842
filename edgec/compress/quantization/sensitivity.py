"""How far off the network's results are for each part and format, one at a time.

Each part alone is quantized, its input too, and the rest of the network computes in
float32. Errors of several parts are taken to add up, which is true to first order where
they are small and independent. Source: Cai et al., ZeroQ (CVPR 2020), sensitivities
Omega_i(k) and the Pareto frontier of their sum and the size; there they are divergences
of distributions, here squared errors of any results. As in HAWQ (Dong et al., ICCV
2019) the loss of the whole network counts, not that of the layer.

A run of the float network stops at each part and goes on from there once per format:
what lies before is not computed again, so that all of it is half a run of the network
for each part, format and batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgec.compress.quantization.batches import Arguments, Run
from edgec.compress.quantization.calibration import Plan, quantize_layer
from edgec.compress.quantization.formats import WeightFormat
from edgec.compress.quantization.network import Layer, Network
from edgec.compress.quantization.observers import Range
from edgec.compress.quantization.parts import Part
from edgec.compress.quantization.recurrent import RecurrentWeight, round_weight
from edgec.errors import InvalidInput

BATCHES = 4
"""Calibration batches that sensitivities are measured on, at most."""

LARGEST = 1e12
"""Errors that are larger count as this, and so does what is infinite or NaN."""

Results = list[list[Any]]
"""What a network gave: for each batch a list."""


@dataclass(frozen=True)
class Effect:
    """What one format does to one part."""

    error: float
    """Of the network's results, relative to their squares (`relative_error`)."""
    num_bytes: int
    """Of the weight, scales included, and of the layer's bias."""


def results_of(network: Network, batches: Sequence[Arguments]) -> Results:
    """What the float network gives."""
    run = Run(network, batches)
    for node in run.nodes():
        run.keep(node, run.compute(node))
    return run.outputs()


def relative_error(wanted: Results, found: Results) -> float:
    """Sum of squared differences / sum of squares; the mean over the results.

    Results that are not floating point are left out; those that are zero count as
    off by all of themselves. Raises `InvalidInput` if no result is floating point.
    """
    ratios: list[float] = []
    for place, first in enumerate(wanted[0]):
        if not isinstance(first, Tensor) or not first.is_floating_point():
            continue
        off = signal = 0.0
        for one, other in zip(wanted, found, strict=True):
            exact = one[place].double()
            off += float((other[place].double() - exact).square().sum())
            signal += float(exact.square().sum())
        if not math.isfinite(signal):
            raise InvalidInput(
                "weights='auto' compares results of the model, which must be finite on "
                f"the calibration batches; result {place} is not"
            )
        ratio = off / signal if signal else float(off > 0)
        ratios.append(ratio if ratio < LARGEST else LARGEST)
    if not ratios:
        raise InvalidInput(
            "weights='auto' compares results of the model, of which one must be a "
            "floating-point tensor"
        )
    return sum(ratios) / len(ratios)


@torch.no_grad()  # pyright: ignore[reportUntypedFunctionDecorator]  # torch leaves it open
def measure(
    network: Network,
    parts: Sequence[Part],
    batches: Sequence[Arguments],
    ranges: Mapping[fx.Node, Range],
    choices: Sequence[WeightFormat],
    plan: Plan,
) -> dict[Part, dict[WeightFormat, Effect]]:
    """The effect of every format on every part."""
    batches = batches[:BATCHES]
    probe = _Probe(Run(network, batches), results_of(network, batches), choices, plan)
    layers = {part.node: part for part in parts if isinstance(part, Layer)}
    found: dict[Part, dict[WeightFormat, Effect]] = {part: {} for part in parts}
    for node in probe.run.nodes():
        values = probe.run.compute(node)
        if node in layers:
            layer = layers[node]
            found[layer] = probe.of_layer(layer, values, ranges.get(layer.source))
        for part in parts:
            if isinstance(part, RecurrentWeight) and part.call is node:
                found[part] = probe.of_matrix(part)
        probe.run.keep(node, values)
    return found


@dataclass(frozen=True)
class _Probe:
    """A run of the float network, from whose places others go on."""

    run: Run
    wanted: Results
    choices: Sequence[WeightFormat]
    plan: Plan

    def of_layer(
        self, layer: Layer, wanted: list[Tensor], found: Range | None
    ) -> dict[WeightFormat, Effect]:
        """Each format of a layer whose input is rounded to a range, if there is one."""
        inputs: list[Tensor] = self.run.values(layer.source)
        if found is not None:
            inputs = [found.fake_quantize(x) for x in inputs]
        effects: dict[WeightFormat, Effect] = {}
        for chosen in self.choices:
            result, outputs = quantize_layer(layer, inputs, wanted, chosen, self.plan)
            assert result.weight is not None
            biases = 0 if result.bias is None else result.bias.numel()
            effects[chosen] = Effect(
                self._error(layer.node, outputs), result.weight.num_bytes + 4 * biases
            )
        return effects

    def of_matrix(self, part: RecurrentWeight) -> dict[WeightFormat, Effect]:
        """Each format of a recurrent matrix."""
        effects: dict[WeightFormat, Effect] = {}
        for chosen in self.choices:
            rounded = round_weight(part, chosen)
            values = self.run.compute_with(part.call, {part.node: rounded.values})
            error = self._error(part.call, values)
            effects[chosen] = Effect(error, rounded.num_bytes)
        return effects

    def _error(self, node: fx.Node, values: list[Any]) -> float:
        return relative_error(self.wanted, self.run.outputs_with(node, values))
