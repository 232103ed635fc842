"""`edgec`: compress and compile models, run them, and compare their speed.

    edgec compress model.pt2 --scheme block-punched:auto -o pruned.pt2
    edgec compile pruned.pt2 -o model.edgec --target x86-64-v3
    edgec run model.edgec --input x.npy --output y.npy
    edgec bench model.pt2 --against torch,onnxruntime
    edgec tune model.pt2 --log tune.jsonl

Exit codes: 0 done, 1 failed with a reason, 2 wrong usage. Nothing heavy is imported
before a command needs it.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

import edgec
from edgec.errors import EdgecError
from edgec.tools.common import (
    DEBUG,
    PATH,
    NumberRange,
    debug_option,
    quiet_torch,
    target_option,
    threads_option,
)
from edgec.tools.compress_command import compress_command
from edgec.tools.outputs import check_output
from edgec.tools.tables import print_statistics, print_times

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp
    from xdsl.passes import ModulePass

    from edgec.driver import Form
    from edgec.options import Options, Precision, Sparsity


_PRECISION = click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "auto"]),
    default="float32",
    show_default=True,
    help="What float32 layers compute in; auto: bfloat16 where it is faster.",
)
_ERROR_BUDGET = click.option(
    "--error-budget",
    type=click.FloatRange(min=0),
    default=0.03,
    show_default=True,
    help="With --precision auto, the relative error that bfloat16 may cause.",
)
_OPTIONS = (
    click.option(
        "--sparsity",
        type=click.Choice(["auto", "ignore", "always"]),
        default="auto",
        show_default=True,
        help="Run pruned layers sparse where it is faster, never, or always.",
    ),
    _PRECISION,
    _ERROR_BUDGET,
    click.option(
        "--tuning-log", type=PATH, help="Take the schedules that edgec tune measured."
    ),
)
"""Of `Options`, under the names of its fields."""
_OPTION_NAMES = ("sparsity", "precision", "error-budget", "tuning-log")


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes `_OPTIONS`, and gets them as `options`."""

    @functools.wraps(command)
    def run(
        sparsity: Sparsity,
        precision: Precision,
        error_budget: float,
        tuning_log: Path | None,
        **others: object,
    ) -> None:
        from edgec.options import Options

        options = Options(
            sparsity=sparsity,
            precision=precision,
            error_budget=error_budget,
            tuning_log=tuning_log,
        )
        command(options=options, **others)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgec.__version__, prog_name="edgec")
@debug_option
def cli() -> None:
    """Prune, quantize and compile neural networks for CPUs, and run them.

    Models come as .pt2 files, which torch.export.save writes.
    """


cli.add_command(compress_command)


@cli.command("compile")
@click.argument("model", type=PATH)
@click.option("-o", "--output", type=PATH, help="File to write.")
@target_option
@threads_option
@_with_options
@click.option(
    "--emit",
    type=click.Choice(["mlir", "lane", "llvm", "asm", "obj"]),
    help="Stop early and write the tensor-level IR, the kernel-level IR, LLVM IR, "
    "assembly or an object file; text goes to the terminal without -o.",
)
@click.option(
    "--print-ir-after-all", is_flag=True, help="Print the IR after each pass to stderr."
)
@click.option("--statistics", is_flag=True, help="Print what each pass did.")
@click.option("--report", is_flag=True, help="Print how each layer was compiled.")
@debug_option
def compile_command(
    model: Path,
    output: Path | None,
    target: str,
    threads: int | None,
    options: Options,
    emit: Form | None,
    print_ir_after_all: bool,
    **prints: bool,
) -> None:
    """Compile MODEL, a .pt2 file, to a file.

    `edgec run` runs that file, and edgec.load loads it in Python.
    """
    _check_outputs(model, output, emit, threads, prints)
    from edgec import driver

    quiet_torch()
    start = time.perf_counter()
    common: dict[str, Any] = {
        "target": target,
        "options": options,
        "observer": _print_ir if print_ir_after_all else None,
    }
    if emit is not None:
        _write(output, driver.emit(model, form=emit, **common))
        return
    assert output is not None, "checked above"
    artefact = driver.build(model, threads=threads, **common)
    artefact.save(output)
    seconds = time.perf_counter() - start
    report = driver.Report.from_json(artefact.report)
    if prints["statistics"]:
        print_statistics(report)
    if prints["report"]:
        click.echo(str(report))
    size = output.stat().st_size / 1e6
    click.echo(f"wrote {output}: {size:.2f} MB, {report.target}, {seconds:.1f} s")


@cli.command("run")
@click.argument("model", type=PATH)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A .npy file, or an .npz file whose arrays have the inputs' names.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    required=True,
    type=PATH,
    help="A .npy file for each output, or one .npz file.",
)
@threads_option
@debug_option
def run_command(
    model: Path, inputs: Sequence[str], outputs: Sequence[Path], threads: int | None
) -> None:
    """Run MODEL, an .edgec file, once."""
    from edgec.compiled import load
    from edgec.tools.arrays import read_inputs, write_outputs

    compiled = load(model, threads)
    results = compiled.run(read_inputs(inputs, compiled.inputs))
    names = [spec.name for spec in compiled.outputs]
    write_outputs(outputs, dict(zip(names, results, strict=True)))


@cli.command("bench")
@click.argument("model", type=PATH)
@click.option(
    "--against",
    default="",
    metavar="ENGINE,…",
    help="Others to time in turn with edgec: torch, onnxruntime, openvino.",
)
@target_option
@threads_option
@_with_options
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Times that each engine has its turn.",
)
@click.option(
    "--json", "json_file", type=PATH, help="File for all samples and the versions."
)
@debug_option
def bench_command(
    model: Path,
    against: str,
    target: str,
    threads: int | None,
    options: Options,
    rounds: int,
    json_file: Path | None,
) -> None:
    """Time MODEL, a .pt2 or an .edgec file, on random inputs."""
    from edgec.tools import bench

    if model.suffix == ".pt2":
        quiet_torch()
    others = [name for name in against.split(",") if name]
    if unknown := [name for name in others if name not in bench.ENGINES]:
        raise click.BadParameter(
            f"no engine {', '.join(unknown)}; choose from {', '.join(bench.ENGINES)}",
            param_hint="--against",
        )
    if model.suffix != ".pt2":
        _check_compiled(others)
    if json_file is not None:
        check_output(json_file, "--json", model)
    result = bench.bench(
        model,
        others,
        target=target,
        threads=threads,
        options=options,
        rounds=rounds,
    )
    if json_file is not None:
        json_file.write_text(json.dumps(result.to_json(), indent=1) + "\n")
    print_times(result)


@cli.command("tune")
@click.argument("model", type=PATH)
@click.option(
    "--log", required=True, type=PATH, help="File to append the best schedules to."
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Schedules to measure of each layer.",
)
@click.option(
    "--timeout",
    type=NumberRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Start no trial after so many seconds.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Database of all trials, to continue or to share the work: sqlite:///tune.db",
)
@click.option(
    "--layers",
    default="*",
    show_default=True,
    metavar="GLOB",
    help="Module paths of the layers to measure.",
)
@click.option(
    "--again", is_flag=True, help="Measure layers that the log has too; not --storage."
)
@_PRECISION
@_ERROR_BUDGET
@threads_option
@target_option
@debug_option
def tune_command(model: Path, log: Path, **choices: Any) -> None:
    """Measure the layers of MODEL, a .pt2 file.

    `edgec compile --tuning-log` compiles with what was measured.
    """
    check_output(log, "--log", model)
    from edgec.tuner import tune

    quiet_torch()
    found = tune(model, log=log, progress=click.echo, **choices)
    measured = [each for each in found if each.entry is not None]
    times = [(e.default_ms, e.ms) for each in measured for e in [each.entry] if e]
    before, after = (
        (sum(side) for side in zip(*times, strict=True)) if times else (0, 0)
    )
    ratio = f", {before / after:.3f} times as fast together" if times else ""
    click.echo(f"{log}: {len(measured)} of {len(found)} layers{ratio}")


def _check_compiled(others: Sequence[str]) -> None:
    """Raise `UsageError` for options of `bench` that a compiled model cannot meet."""
    if others:
        raise click.UsageError("--against needs the .pt2 file, which others can read")
    ctx = click.get_current_context()
    given = [
        f"--{name}"
        for name in ("target", *_OPTION_NAMES)
        if ctx.get_parameter_source(name.replace("-", "_")) != ParameterSource.DEFAULT
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: only for .pt2 files, as MODEL is compiled already"
        )


def _check_outputs(
    model: Path,
    output: Path | None,
    emit: str | None,
    threads: int | None,
    prints: dict[str, bool],
) -> None:
    """Raise `UsageError` for options that do not go together or cannot be met."""
    if output is not None:
        check_output(output, "-o", model, is_replaced=emit is None)
    if emit is None and output is None:
        raise click.UsageError("-o FILE says where the compiled model goes")
    if emit == "obj" and output is None:
        raise click.UsageError("--emit obj is not text: -o FILE says where it goes")
    if emit is not None and (threads is not None or any(prints.values())):
        raise click.UsageError(
            "--threads, --statistics and --report are for whole models: not with --emit"
        )


def _write(output: Path | None, content: bytes) -> None:
    if output is None:
        click.echo(content, nl=False)
    else:
        output.write_bytes(content)


def _print_ir(pass_: ModulePass, module: ModuleOp) -> None:
    from edgec.driver import ir_text

    click.echo(f"// *** IR after {pass_} ***\n{ir_text(module)}", err=True)


def _explain(error: Exception) -> str:
    """The reason in a line, or as many as the error itself has."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"edgec: error: '{error.filename}': {error.strerror}"
    if isinstance(error, EdgecError | OSError):
        notes: list[str] = getattr(error, "__notes__", [])
        return "\n".join([f"edgec: error: {error}", *notes])
    reason = (str(error).splitlines() or [""])[0]
    return f"edgec: internal error: {type(error).__name__}: {reason} (see --debug)"


def _fail(ctx: click.Context | None, error: Exception) -> int:
    if ctx is not None and ctx.meta.get(DEBUG):
        traceback.print_exception(error)
    click.echo(_explain(error), err=True)
    return 1


def main(args: Sequence[str] | None = None) -> int:
    """Run the tool with `args` (default: the command line); return the exit code."""
    ctx: click.Context | None = None
    try:
        ctx = cli.make_context("edgec", list(sys.argv[1:] if args is None else args))
        with ctx, warnings.catch_warnings():
            if not sys.warnoptions:  # those of torch say nothing to a user of edgec
                warnings.simplefilter("ignore")
            cli.invoke(ctx)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 128 + 2  # what shells report for SIGINT
    except Exception as error:  # noqa: BLE001  the user sees a reason, not a traceback
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            # The reader of a pipe left; Python must not complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _fail(ctx, error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
