"""Post-training quantization of a torch model, without training.

program = quantize(model, batches, report=print)
compiled = edgec.compile(program)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from edgec.compress.quantization.batches import Arguments, read_batches
from edgec.compress.quantization.calibration import (
    Plan,
    Result,
    find_ranges,
    quantize_layers,
)
from edgec.compress.quantization.equalization import equalize as equalize_layers
from edgec.compress.quantization.formats import (
    QuantizedWeight,
    WeightFormat,
    parse_format,
)
from edgec.compress.quantization.network import Layer, Network, read_network
from edgec.compress.quantization.observers import OBSERVERS, Range
from edgec.compress.quantization.placement import Placement, place
from edgec.compress.quantization.recurrent import (
    RecurrentWeight,
    chosen_weights,
    recurrent_weights,
    round_weights,
)
from edgec.compress.quantization.report import QuantizedLayer, QuantizeReport
from edgec.compress.quantization.rewrite import write_program
from edgec.compress.selection import as_globs
from edgec.errors import InvalidInput

ACTIVATIONS = ("int8", "none")


def quantize(  # noqa: PLR0913 - every argument is a choice of the user, with a default
    model: nn.Module | ExportedProgram,
    calibration_batches: Iterable[Any],
    weights: str = "int8",
    activations: str = "int8",
    *,
    observer: str = "mse",
    skip: str | Sequence[str] = (),
    equalize: bool = False,
    reconstruct: bool | None = None,
    correct_bias: bool = True,
    fuse_sums: bool = True,
    report: Callable[[QuantizeReport], object] | None = None,
) -> ExportedProgram:
    """Quantize a model after training, for `edgec.compile` or torch itself.

    The program computes in float32 on values that are rounded to codes of 8 bits and
    fewer (`torch.ops.quantized_decomposed`); weights are int8 tensors with scales. The
    model stays as it is; a module in training mode is read as in eval mode, and batch
    norms are folded into the layers before them.

    `calibration_batches` are typical inputs, each as for `edgec.compile`: a tensor, a
    tuple of positional or a mapping of keyword arguments. All have the shapes of the
    first, which are those of the program. All are kept in memory at once.

    `weights`, of convolutions, linear and recurrent layers, are `int8` or `int4`,
    symmetric with a scale per filter; `int4:G` with a scale per G weights of a row, for
    linear layers;
    `ternary`; `pot4`, powers of two; `sp2-4`, sums of two powers; `mixed:P`, P percent
    of the rows of each layer in 8 bits, the others in 4; or `none`. Zeros stay zeros.
    Matrices of recurrent layers are rounded, with one scale per row and the bits of
    most rows, and what they are multiplied with stays float32.

    `activations` are `int8`, inputs of layers and what lies between them in codes of 8
    bits with one range per value, or `none`. Ranges are found by `observer`: `mse`, the
    least squared error; `percentile`, 99.99 percent; `minmax`, everything.

    `skip` are globs of the paths of layers to leave. `equalize` moves scales between
    layers with a ReLU between them. `reconstruct` rounds weights so that the outputs of
    a layer stay, by default for 4 bits and less. `correct_bias` adds to biases what
    outputs have lost in the mean. `report` is called with a `QuantizeReport`, such as
    `print` or the `append` of a list.

    A layer and the residual that is added to its result are one unit: the result is not
    rounded before the addition. Without `fuse_sums` it is, for backends that only add
    codes to codes, such as ONNX Runtime.

    Raises `InvalidInput` for arguments outside their range, globs without a layer, a
    model with nothing to quantize, weights that are not finite float32, and batches
    that are not finite, differ in shape, or do not fit the program; `ImportFailed` for
    a module that cannot be exported with them.
    """
    chosen_format = parse_format(weights)
    _check_arguments(weights, activations, observer)
    batches = read_batches(calibration_batches)
    args, kwargs = batches[0]
    network = read_network(model, args, kwargs)
    known = recurrent_weights(network)
    own = chosen_weights(known, as_globs(skip))
    chosen = _chosen_layers(network, as_globs(skip), known)
    placement = Placement()
    if activations == "int8":
        placement = place(network, chosen, fuse_sums=fuse_sums)
    narrow = chosen_format is not None and chosen_format.is_narrow
    plan = Plan(
        format=chosen_format,
        is_reconstructed=narrow if reconstruct is None else reconstruct,
        is_corrected=correct_bias,
        chosen=frozenset(chosen),
    )
    if equalize:
        equalize_layers(network)
    with torch.no_grad():
        return _quantized(network, batches, placement, observer, plan, own, report)


def _quantized(
    network: Network,
    batches: Sequence[Arguments],
    placement: Placement,
    observer: str,
    plan: Plan,
    own: Sequence[RecurrentWeight],
    report: Callable[[QuantizeReport], object] | None,
) -> ExportedProgram:
    """The program as planned; calls `report`."""
    ranges = find_ranges(network, batches, placement, observer)
    results = quantize_layers(network, batches, ranges, plan)
    rows = [
        _row(network.layers[node], result, ranges, plan.format)
        for node, result in results.items()
    ]
    recurrent: Mapping[RecurrentWeight, QuantizedWeight] = (
        {} if plan.format is None else round_weights(own, plan.format)
    )
    rows += [
        _recurrent_row(weight, rounded, plan.format)
        for weight, rounded in recurrent.items()
    ]
    program = write_program(network, ranges, results, recurrent, batches[0])
    if report is not None:
        weights_of = [result.weight for result in results.values()]
        report(_report(program, rows, [*weights_of, *recurrent.values()]))
    return program


def _check_arguments(weights: str, activations: str, observer: str) -> None:
    if activations not in ACTIVATIONS:
        raise InvalidInput(
            f"activations must be one of {', '.join(ACTIVATIONS)}, got '{activations}'"
        )
    if observer not in OBSERVERS:
        raise InvalidInput(
            f"observer must be one of {', '.join(OBSERVERS)}, got '{observer}'"
        )
    if weights == activations == "none":
        raise InvalidInput("weights and activations are both 'none'")


def _chosen_layers(
    network: Network, skip: Sequence[str], recurrent: Sequence[RecurrentWeight]
) -> set[fx.Node]:
    """The layers that no glob names; `recurrent` ones are chosen elsewhere."""
    names = [layer.name for layer in network.layers.values()]
    names += dict.fromkeys(weight.module for weight in recurrent)
    if not names:
        raise InvalidInput(
            "nothing to quantize: the model has no convolution, linear or recurrent "
            "layer that depends on its inputs"
        )
    for glob in skip:
        if not any(fnmatchcase(name, glob) for name in names):
            raise InvalidInput(
                f"skip: no layer matches '{glob}'; layers are {', '.join(names)}"
            )
    chosen = {
        node
        for node, layer in network.layers.items()
        if not any(fnmatchcase(layer.name, glob) for glob in skip)
    }
    if not chosen and not chosen_weights(recurrent, skip):
        raise InvalidInput("nothing to quantize: all layers are skipped")
    return chosen


def _row(
    layer: Layer,
    result: Result,
    ranges: dict[fx.Node, Range],
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
    weight: RecurrentWeight, rounded: QuantizedWeight, chosen: WeightFormat | None
) -> QuantizedLayer:
    """The line of one matrix in the report."""
    assert chosen is not None
    dense = weight.weight.numel() * weight.weight.element_size()
    return QuantizedLayer(
        name=weight.name,
        shape=tuple(weight.weight.shape),
        weights=chosen.grid.name,
        activations="none",
        low=math.nan,
        high=math.nan,
        dense_bytes=dense,
        stored_bytes=rounded.num_bytes,
        snr_db=math.nan,
        note="recurrent: rounded, one scale per row",
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
