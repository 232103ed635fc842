"""Post-training quantization of a torch model, without training.

program = quantize(model, batches, report=print)
compiled = edgec.compile(program)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from edgec.compress.quantization.assembly import Setup, assemble
from edgec.compress.quantization.automatic import quantize_within
from edgec.compress.quantization.batches import read_batches
from edgec.compress.quantization.budget import predictor, read_budget
from edgec.compress.quantization.calibration import Plan
from edgec.compress.quantization.equalization import equalize as equalize_layers
from edgec.compress.quantization.network import read_network
from edgec.compress.quantization.observers import OBSERVERS
from edgec.compress.quantization.parts import check_formats, choose_formats, parts_of
from edgec.compress.quantization.report import QuantizeReport
from edgec.compress.selection import as_globs
from edgec.errors import InvalidInput
from edgec.target import Target

ACTIVATIONS = ("int8", "none")


def quantize(  # noqa: PLR0913 - every argument is a choice of the user, with a default
    model: nn.Module | ExportedProgram,
    calibration_batches: Iterable[Any],
    weights: str | Mapping[str, str] = "int8",
    activations: str = "int8",
    *,
    observer: str = "mse",
    skip: str | Sequence[str] = (),
    equalize: bool = False,
    reconstruct: bool | None = None,
    correct_bias: bool = True,
    fuse_sums: bool = True,
    choices: Sequence[str] | None = None,
    max_bytes: int | str | None = None,
    max_latency: float | None = None,
    target: str | Target | None = None,
    threads: int | None = None,
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

    `weights` may also map globs of the paths of layers to formats; the first that
    matches counts, so that `"*"` at the end is for all others. What none matches, and
    what gets `none`, stays float32, its input too where nobody else needs its codes.

    With `auto` each layer gets one of `choices`, by default `int8`, `int4`, `sp2-4` and
    `ternary`, and `none` too for a latency: those with the least sum of errors that
    keep within `max_bytes`, of all parameters as the report counts them, a number or a
    text such as `"2MB"`, and within `max_latency`, in milliseconds as `edgec.predict`
    expects them for `target` and `threads`. The error of a format is that of the
    network's results if this layer alone has it, measured on the first calibration
    batches (Cai et al., ZeroQ, 2020; Dong et al., HAWQ, 2019). With `target` the report
    has the predicted latency, whatever `weights` are.

    `skip` are globs of the paths of layers to leave. `equalize` moves scales between
    layers with a ReLU between them. `reconstruct` rounds weights so that the outputs of
    a layer stay, by default for 4 bits and less. `correct_bias` adds to biases what
    outputs have lost in the mean. `report` is called with a `QuantizeReport`, such as
    `print` or the `append` of a list.

    A layer and the residual that is added to its result are one unit: the result is not
    rounded before the addition. Without `fuse_sums` it is, for backends that only add
    codes to codes, such as ONNX Runtime.

    Raises `InvalidInput` for arguments outside their range, globs without a layer,
    budgets that nothing meets, a model with nothing to quantize, weights that are not
    finite float32, and batches that are not finite, differ in shape, or do not fit the
    program; `ImportFailed` for a module that cannot be exported with them.
    """
    budget = read_budget(weights, choices, max_bytes, max_latency, target)
    predict = predictor(target, threads)
    if budget is None:
        check_formats(weights)
    _check_arguments(weights, activations, observer)
    batches = read_batches(calibration_batches)
    args, kwargs = batches[0]
    network = read_network(model, args, kwargs)
    parts = parts_of(network)
    # All of them, where formats are chosen afterwards.
    asked = weights if budget is None else "int8"
    formats = choose_formats(parts, asked, as_globs(skip))
    if equalize:
        equalize_layers(network)
    setup = Setup(
        network=network,
        parts=parts,
        batches=batches,
        plan=Plan(reconstruct, is_corrected=correct_bias),
        is_activated=activations == "int8",
        observer=observer,
        fuse_sums=fuse_sums,
    )
    if budget is None:
        found = assemble(setup, formats)
    else:
        found = quantize_within(setup, formats, budget, predict)
    if report is not None:
        text = found.report
        if predict is not None and text.forecast is None:
            text = replace(text, forecast=predict(found.program))
        report(text)
    return found.program


def _check_arguments(weights: object, activations: str, observer: str) -> None:
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
