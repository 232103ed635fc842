"""A quantized program from a network and formats for its parts, and a report of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.export import ExportedProgram

from edgec.compress.quantization.batches import Arguments
from edgec.compress.quantization.calibration import (
    Plan,
    Result,
    find_ranges,
    quantize_layers,
)
from edgec.compress.quantization.formats import QuantizedWeight, WeightFormat
from edgec.compress.quantization.network import Layer, Network
from edgec.compress.quantization.observers import Range
from edgec.compress.quantization.parts import Formats, Part
from edgec.compress.quantization.placement import Placement, place
from edgec.compress.quantization.recurrent import (
    RecurrentWeight,
    round_weight,
)
from edgec.compress.quantization.report import QuantizedLayer, QuantizeReport
from edgec.compress.quantization.rewrite import write_program


@dataclass(frozen=True)
class Setup:
    """A float network, and how any formats are to be quantized in it."""

    network: Network
    parts: Sequence[Part]
    """All of the network."""
    batches: Sequence[Arguments]
    plan: Plan
    is_activated: bool
    """Whether activations are quantized too."""
    observer: str
    fuse_sums: bool

    def ranges(self, formats: Formats) -> dict[fx.Node, Range]:
        """Of the values that are quantized around the chosen parts."""
        placement = Placement()
        if self.is_activated:
            nodes = {part.node for part in formats.chosen if isinstance(part, Layer)}
            placement = place(self.network, nodes, fuse_sums=self.fuse_sums)
        return find_ranges(self.network, self.batches, placement, self.observer)


@dataclass(frozen=True)
class Assembled:
    """A quantized program, with a report of it."""

    program: ExportedProgram
    report: QuantizeReport


@torch.no_grad()  # pyright: ignore[reportUntypedFunctionDecorator]  # torch leaves it open
def assemble(setup: Setup, formats: Formats) -> Assembled:
    """Quantize the chosen parts; the network stays as it is."""
    network, ranges = setup.network, setup.ranges(formats)
    recurrent = {
        part: round_weight(part, chosen)
        for part, chosen in formats.chosen.items()
        if isinstance(part, RecurrentWeight) and chosen is not None
    }
    results = quantize_layers(
        network, setup.batches, ranges, formats, setup.plan, recurrent
    )
    program = write_program(network, ranges, results, recurrent, setup.batches[0])
    rows: list[QuantizedLayer] = []
    weights: list[QuantizedWeight | None] = []
    for node, result in results.items():
        layer = network.layers[node]
        rows.append(_row(layer, result, ranges, formats.chosen.get(layer)))
        weights.append(result.weight)
    for part in _matrices(setup.parts, recurrent):
        rounded = recurrent.get(part)
        rows.append(_recurrent_row(part, rounded, formats))
        weights.append(rounded)
    return Assembled(program, _report(program, rows, weights))


def _matrices(
    parts: Sequence[Part], rounded: Mapping[RecurrentWeight, QuantizedWeight]
) -> list[RecurrentWeight]:
    """Those of the program: one that two calls share is written twice if rounded."""
    found: list[RecurrentWeight] = []
    for part in parts:
        if not isinstance(part, RecurrentWeight):
            continue
        if part in rounded or all(part.node is not each.node for each in found):
            found.append(part)
    return found


def _row(
    layer: Layer,
    result: Result,
    ranges: Mapping[fx.Node, Range],
    chosen: WeightFormat | None,
) -> QuantizedLayer:
    """The line of one layer in the report."""
    found = ranges.get(layer.source)
    dense = layer.weight.numel() * layer.weight.element_size()
    text = "none" if chosen is None or result.weight is None else chosen.text
    return QuantizedLayer(
        name=layer.name,
        shape=tuple(layer.weight.shape),
        weights=text,
        activations="none" if found is None else "int8",
        low=math.nan if found is None else found.low,
        high=math.nan if found is None else found.high,
        dense_bytes=dense,
        stored_bytes=dense if result.weight is None else result.weight.num_bytes,
        snr_db=result.snr_db,
        note=result.note,
    )


def _recurrent_row(
    weight: RecurrentWeight, rounded: QuantizedWeight | None, formats: Formats
) -> QuantizedLayer:
    """The line of one matrix in the report."""
    dense = weight.weight.numel() * weight.weight.element_size()
    chosen = formats.chosen.get(weight)
    note = "recurrent: rounded, one scale per row"
    return QuantizedLayer(
        name=weight.name,
        shape=tuple(weight.weight.shape),
        weights="none" if chosen is None else chosen.grid.name,
        activations="none",
        low=math.nan,
        high=math.nan,
        dense_bytes=dense,
        stored_bytes=dense if rounded is None else rounded.num_bytes,
        snr_db=math.nan,
        note=formats.left.get(weight, "") if rounded is None else note,
    )


def _report(
    program: ExportedProgram,
    rows: Sequence[QuantizedLayer],
    weights: Sequence[QuantizedWeight | None],
) -> QuantizeReport:
    """The whole report; weights of the program are counted in their layers."""
    total = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    counted = 0
    for row, weight in zip(rows, weights, strict=True):
        if weight is None:
            counted += row.dense_bytes
        else:
            # Codes take a byte each in torch, and zero points four beside each scale.
            counted += weight.codes.numel() + 8 * weight.rows.scales.numel()
    return QuantizeReport(tuple(rows), total - counted)
