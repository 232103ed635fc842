"""What the calibration batches decide: ranges, codes of weights, biases.

One run of the float network gives the ranges. A second runs it again and the quantized
one beside it: at each layer the weights are quantized for the inputs that the layer
will really get, then the bias makes up for the mean error that is left. So each layer
sees what those before it lost, and can make up for that too (Nagel et al., Data-Free
Quantization, 2019, section 4.2; there the means are derived, here they are measured).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from edgec.compress.quantization.batches import Arguments, Run
from edgec.compress.quantization.formats import (
    QuantizedWeight,
    Rows,
    WeightFormat,
    choose_rows,
)
from edgec.compress.quantization.network import Layer, Network
from edgec.compress.quantization.observers import Range, observe
from edgec.compress.quantization.parts import Formats
from edgec.compress.quantization.placement import Placement
from edgec.compress.quantization.reconstruction import output_errors, reconstruct
from edgec.compress.quantization.recurrent import RecurrentWeight
from edgec.compress.quantization.windows import moments
from edgec.errors import InvalidInput


@dataclass(frozen=True)
class Plan:
    """How weights and biases are quantized."""

    reconstruct: bool | None
    """None where rows have 4 bits or less."""
    is_corrected: bool

    def is_reconstructed(self, chosen: WeightFormat) -> bool:
        """Whether weights of a format are rounded so that outputs stay."""
        return chosen.is_narrow if self.reconstruct is None else self.reconstruct


@dataclass(frozen=True)
class Result:
    """What became of one layer."""

    weight: QuantizedWeight | None
    bias: Tensor | None
    snr_db: float
    note: str


def find_ranges(
    network: Network,
    batches: Sequence[Arguments],
    placement: Placement,
    observer: str,
) -> dict[fx.Node, Range]:
    """The range of every value to quantize, from a run of the float network."""
    run = Run(network, batches)
    found: dict[fx.Node, Range] = {}
    for node in run.nodes():
        values = run.compute(node)
        run.keep(node, values)
        if node not in placement.nodes:
            continue
        if not all(torch.isfinite(value).all() for value in values):
            raise InvalidInput(
                f"calibration makes '{node.name}' infinite or NaN; values to quantize "
                "must be finite"
            )
        key = placement.representative(node)
        own = observe(observer, values)
        found[key] = found[key].union(own) if key in found else own
    return {node: found[placement.representative(node)] for node in placement.nodes}


def quantize_layers(
    network: Network,
    batches: Sequence[Arguments],
    ranges: Mapping[fx.Node, Range],
    formats: Formats,
    plan: Plan,
    recurrent: Mapping[RecurrentWeight, QuantizedWeight],
) -> dict[fx.Node, Result]:
    """Weights and biases of every layer, in the order in which they run.

    The quantized network has the matrices `recurrent`.
    """
    rounded = {weight.node: found.values for weight, found in recurrent.items()}
    exact, coded = Run(network, batches), Run(network, batches, rounded)
    results: dict[fx.Node, Result] = {}
    for node, _ in zip(exact.nodes(), coded.nodes(), strict=True):
        wanted = exact.compute(node)
        if node in network.layers:
            layer = network.layers[node]
            inputs = coded.values(layer.source)
            if layer in formats.chosen:
                chosen = formats.chosen[layer]
                results[node], values = quantize_layer(
                    layer, inputs, wanted, chosen, plan
                )
            else:
                values = [layer(x, layer.weight, layer.bias) for x in inputs]
                found = signal_to_noise(wanted, values)
                note = formats.left[layer]
                results[node] = Result(None, layer.bias, found, note)
        else:
            values = coded.compute(node)
        exact.keep(node, wanted)
        if node in ranges:
            values = [ranges[node].fake_quantize(value) for value in values]
        coded.keep(node, values)
    return results


def quantize_layer(
    layer: Layer,
    inputs: list[Tensor],
    wanted: list[Tensor],
    chosen: WeightFormat | None,
    plan: Plan,
) -> tuple[Result, list[Tensor]]:
    """One layer for its inputs, the outputs of the float model known; with its own.

    Without a format the bias alone is corrected.
    """
    weight, note = None, ""
    if chosen is not None:
        weight, note = quantized_weight(layer, inputs, chosen, plan)
    used = layer.weight if weight is None else weight.values
    outputs = [layer(x, used, layer.bias) for x in inputs]
    bias = layer.bias
    if plan.is_corrected:
        off = _mean_error(layer, outputs, wanted)
        bias = off if bias is None else bias + off
        outputs = [layer(x, used, bias) for x in inputs]
    found = signal_to_noise(wanted, outputs)
    return Result(weight, bias, found, note), outputs


def _mean_error(layer: Layer, found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """What is missing in the output, on average, for each row; float32."""
    total, count = torch.zeros(len(layer.weight), dtype=torch.float64), 0
    for one, other in zip(found, wanted, strict=True):
        channel = layer.channel_dimension(one)
        rest = [i for i in range(one.dim()) if i != channel]
        off = other.double() - one.double()
        total += off.sum(dim=rest) if rest else off
        count += one.numel() // one.shape[channel]
    return (total / count).float()


def signal_to_noise(wanted: list[Tensor], found: list[Tensor]) -> float:
    """In decibels; infinite where nothing is off."""
    pairs = zip(wanted, found, strict=True)
    noise = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    signal = sum(float(a.double().square().sum()) for a in wanted)
    if not noise:
        return torch.inf
    return float(10 * torch.tensor(signal / noise, dtype=torch.float64).log10())


def quantized_weight(
    layer: Layer, inputs: list[Tensor], chosen: WeightFormat, plan: Plan
) -> tuple[QuantizedWeight, str]:
    """The weight of a layer in a format, and a note if it has no groups."""
    is_reconstructed = plan.is_reconstructed(chosen)
    matrix = layer.weight.reshape(len(layer.weight), -1)
    group, note = _group(layer, matrix.shape[1], chosen)
    rows = choose_rows(matrix, chosen.grid, group)
    found: Tensor | None = None
    if is_reconstructed or chosen.wide_percent:
        found = moments(layer, inputs)
    if found is not None and chosen.wide_percent:
        rows = _widened(matrix, rows, found, chosen.wide_percent)
    if found is None or not is_reconstructed:
        codes = rows.round(matrix)
    else:
        parts = [
            reconstruct(matrix[part], rows.part(part), own)
            for part, own in _parts(len(matrix), found)
        ]
        codes = torch.cat(parts)
    top = 127 if rows.wide.any() else chosen.grid.top
    return QuantizedWeight(codes.reshape(layer.weight.shape), rows, top), note


def _group(layer: Layer, width: int, chosen: WeightFormat) -> tuple[int, str]:
    """Weights that share a scale, 0 for a row, and why that is."""
    if not chosen.group or width <= chosen.group:
        return 0, ""
    if layer.dimensions:
        return 0, "a scale per filter: groups are for matrices"
    if width % chosen.group:
        return 0, f"a scale per row: {width} is no multiple of {chosen.group}"
    return chosen.group, ""


def _parts(rows: int, found: Tensor) -> list[tuple[slice, Tensor]]:
    """The rows of each group of channels, with the moments of its inputs."""
    size = rows // len(found)
    return [(slice(i * size, (i + 1) * size), own) for i, own in enumerate(found)]


def _widened(matrix: Tensor, rows: Rows, found: Tensor, percent: float) -> Rows:
    """The rows whose outputs are furthest off get 8 bits (FILM-QNN, section 4)."""
    off = rows.round(matrix) * rows.full_scales(matrix.shape[1]) - matrix
    errors = torch.cat(
        [output_errors(off[part], own) for part, own in _parts(len(matrix), found)]
    )
    count = round(len(matrix) * percent / 100)
    wide = torch.zeros(len(matrix), dtype=torch.bool)
    wide[errors.argsort(descending=True, stable=True)[:count]] = True
    return rows.with_wide(matrix, wide) if count else replace(rows, wide=wide)
