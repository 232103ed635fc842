"""`edgec compress`: its options, and which of them go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgec.tools.common import (
    PATH,
    NumberRange,
    debug_option,
    quiet_torch,
    target_option,
    threads_option,
)
from edgec.tools.outputs import check_output

AUTO = "auto"
"""What --quantize calls formats that are to be found."""

PRUNING = {
    "density": "density",
    "rates": "rates",
    "skip_first": "skip-first",
}
"""Options that need --scheme: the argument of `prune`, and how it is called here."""

QUANTIZATION = {
    "activations": "activations",
    "observer": "observer",
    "equalize": "equalize",
    "reconstruct": "reconstruct",
    "correct_bias": "correct-bias",
    "fuse_sums": "fuse-sums",
}
"""Options that need --quantize, likewise of `quantize`."""

BUDGET = {
    "choices": "choices",
    "max_bytes": "max-bytes",
    "max_latency": "max-latency",
}
"""Options that need --quantize auto."""


def _split(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> list[str] | None:
    return None if value is None else value.split(",")


@click.command("compress")
@click.argument("model", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="File to write, .pt2.")
@click.option(
    "--scheme",
    help="Prune: pattern, block-punched:8x4, 2:4, … With block-punched:auto the blocks "
    "are those that suit the target, and int8 where it is asked for.",
)
@click.option(
    "--density",
    type=NumberRange(0, 1, min_open=True),
    help="Share of weights to keep.  [default: 0.125]",
)
@click.option(
    "--rates",
    type=click.Choice(["uniform", "flops", "magnitude"]),
    default="uniform",
    show_default=True,
    help="What each layer keeps: the same, by its operations, or by magnitude.",
)
@click.option(
    "--skip-first/--prune-first",
    default=True,
    show_default=True,
    help="Leave the first convolution dense.",
)
@click.option(
    "--quantize",
    "weights",
    metavar="FORMAT",
    help="Quantize the weights to int8, int4, int4:32, ternary, …; auto finds a format "
    "for each layer within --max-bytes, --max-latency or both.",
)
@click.option(
    "--max-bytes",
    metavar="SIZE",
    help="For --quantize auto: of all parameters, such as 500kB or 2MB.",
)
@click.option(
    "--max-latency",
    type=NumberRange(0, min_open=True),
    metavar="MS",
    help="For --quantize auto: milliseconds, as predicted for the target.",
)
@click.option(
    "--choices",
    metavar="FORMAT,…",
    callback=_split,
    help="For --quantize auto: the formats to choose from.  [default: int8, int4, "
    "sp2-4, ternary, for a latency none too]",
)
@click.option(
    "--calibration",
    type=PATH,
    metavar="FILE.npz",
    help="Typical inputs: an array for each input, by its name, of shape (batches, "
    "*shape of the input).",
)
@click.option(
    "--activations",
    type=click.Choice(["int8", "none"]),
    default="int8",
    show_default=True,
    help="Quantize what lies between the layers, or only weights.",
)
@click.option(
    "--observer",
    type=click.Choice(["mse", "percentile", "minmax"]),
    default="mse",
    show_default=True,
    help="How the ranges of activations are found.",
)
@click.option(
    "--equalize", is_flag=True, help="Move scales between layers with a ReLU between."
)
@click.option(
    "--reconstruct/--no-reconstruct",
    default=None,
    help="Round weights so that outputs stay.  [default: for 4 bits and less]",
)
@click.option(
    "--correct-bias/--no-correct-bias",
    default=True,
    show_default=True,
    help="Add to biases what outputs lost in the mean.",
)
@click.option(
    "--fuse-sums/--no-fuse-sums",
    default=True,
    show_default=True,
    help="Round a result after a residual is added, or before too.",
)
@click.option(
    "--skip",
    multiple=True,
    metavar="GLOB",
    help="Paths of layers to leave as they are.",
)
@target_option
@threads_option
@click.option(
    "--predict/--no-predict",
    default=True,
    show_default=True,
    help="Say how long the model will take, before and after.",
)
@debug_option
def compress_command(
    model: Path,
    output: Path,
    scheme: str | None,
    weights: str | None,
    calibration: Path | None,
    skip: tuple[str, ...],
    **choices: Any,
) -> None:
    """Prune and quantize MODEL, a .pt2 file, and write it as another.

    Both in one shot, without training; quantization needs typical inputs. edgec compile
    makes a program of the result, and torch.export.load reads it.
    """
    _check(scheme, weights, calibration)
    check_output(output, "-o", model, is_replaced=True, suffix=".pt2")
    quiet_torch()
    from edgec.tools.compressing import Wanted, compress

    wanted = Wanted(
        scheme=scheme,
        pruning={name: choices[name] for name in PRUNING} | {"skip": skip},
        weights=weights,
        quantization={name: choices[name] for name in (*QUANTIZATION, *BUDGET)}
        | {"skip": skip},
        calibration=calibration,
        target=choices["target"],
        threads=choices["threads"],
        is_predicted=choices["predict"],
    )
    compress(model, output, wanted, report=click.echo, progress=_progress)
    click.echo(f"wrote {output}: {output.stat().st_size / 1e6:.2f} MB")


def _check(scheme: str | None, weights: str | None, calibration: Path | None) -> None:
    """Raise `UsageError` for options that do not go together."""
    if scheme is None and weights is None:
        raise click.UsageError("give --scheme, --quantize or both")
    if weights is not None and calibration is None:
        raise click.UsageError("--quantize needs --calibration FILE.npz")
    if weights is None and calibration is not None:
        raise click.UsageError("--calibration goes with --quantize")
    if scheme is None:
        _refuse(PRUNING, "--scheme")
    if weights != AUTO:
        _refuse(BUDGET, "--quantize auto")
    if weights is None:
        _refuse(QUANTIZATION, "--quantize")


def _refuse(options: dict[str, str], needed: str) -> None:
    ctx = click.get_current_context()
    given = [
        f"--{name}"
        for argument, name in options.items()
        if ctx.get_parameter_source(argument) != ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)}: only with {needed}")


def _progress(line: str) -> None:
    click.echo(f"... {line}", err=True)
