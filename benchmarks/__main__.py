"""Measure edgec next to its peers: `python -m benchmarks --help`.

    python -m benchmarks --suite spine
    python -m benchmarks --models resnet50,vgg16 --engines edgec,torch,openvino
    python -m benchmarks --models vgg16_features --prune pattern --density 0.125
    python -m benchmarks --suite sweep --only 0-39

The number of threads must be known before an engine is loaded: OpenMP and OpenBLAS read
OMP_NUM_THREADS once, when the libraries of torch and numpy are loaded, and start no
fewer threads afterwards. So this file imports neither before the options are read and
that variable is set. torch, onnxruntime and OpenVINO are told the number again through
their own interfaces. Nothing is pinned and no policy for waiting threads is set, as a
user would not do so either.

`--target` holds for edgec alone; the peers choose by what the processor says that it
can. The tier that it says is printed and stored with the numbers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.request import CASES, ROUNDS, SUITES, Request
from edgec.errors import EdgecError, InvalidInput
from edgec.target import usable_cores

MAX_THREADS = 1024
"""As in `edgec.runtime.threads`, which would import numpy here."""


def _split(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",")) if value else ()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--suite", type=click.Choice(SUITES), help="A fixed set of workloads.")
@click.option(
    "--models", callback=_split, help="Networks, with commas; instead of --suite."
)
@click.option(
    "--engines",
    callback=_split,
    help="Engines, with commas.  [default: edgec,onnxruntime,openvino]",
)
@click.option(
    "--prune",
    metavar="SCHEME",
    default="none",
    show_default=True,
    help="Prune the models, for all engines alike: pattern, column:8, 2:4, ...",
)
@click.option("--density", type=float, help="Share of kept weights; with --prune.")
@click.option(
    "--cases",
    type=click.IntRange(min=1),
    default=CASES,
    show_default=True,
    help="Layers of the sweep.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the sweep's layers.",
)
@click.option(
    "--only",
    metavar="FIRST-LAST",
    help="Part of the sweep; others are kept from the file of results.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, MAX_THREADS),
    default=usable_cores(),
    show_default=True,
    help="Threads of every engine.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=ROUNDS,
    show_default=True,
    help="How often the engines take turns.",
)
@click.option("--target", default="native", show_default=True, help="For edgec.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bench-output"),
    show_default=True,
    help="Where results, ONNX files and compiled code are kept.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the numbers go.  [default: a file in the folder]",
)
def main(**values: Any) -> None:
    """Measure edgec next to other engines on this machine.

    The exit code is 1 if an engine failed or gave other numbers than torch.
    """
    try:
        request = Request(**values)
    except InvalidInput as error:
        raise click.UsageError(str(error)) from error
    os.environ["OMP_NUM_THREADS"] = str(request.threads)
    from benchmarks.execute import execute  # after the line above: it loads torch

    try:
        failures = execute(request)
    except EdgecError as error:
        raise click.ClickException(str(error)) from error
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
