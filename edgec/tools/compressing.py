"""Prune and quantize a saved model: the work of `edgec compress`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from edgec.compress import prune, quantize
from edgec.compress.lifting import lift_layers
from edgec.compress.machine import scheme_for
from edgec.compress.parsing import parse_scheme
from edgec.compress.quantization.budget import read_budget
from edgec.compress.quantization.formats import parse_format
from edgec.compress.quantization.network import check_is_float
from edgec.errors import EdgecError, InvalidInput
from edgec.importer.export import exported
from edgec.importer.signature import is_dynamic
from edgec.tools.calibration import program_inputs, read_calibration

if TYPE_CHECKING:
    from edgec.forecast import Forecast

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    scheme: str | None
    """For `prune`, or with `auto` for its blocks; None leaves the weights."""
    pruning: Mapping[str, Any]
    """Other arguments of `prune`."""
    weights: str | None
    """For `quantize`; None does not quantize."""
    quantization: Mapping[str, Any]
    """Other arguments of `quantize`."""
    calibration: Path | None
    """Batches; not None where `weights` is given."""
    target: str
    threads: int | None
    is_predicted: bool


def compress(
    model: Path, output: Path, wanted: Wanted, *, report: Say, progress: Say
) -> None:
    """Write the compressed model; `report` gets tables, `progress` a line a step."""
    scheme = _checked_scheme(wanted)
    program = exported(model, None)
    _check_shapes(program)
    if scheme is not None:
        check_is_float(program.graph, "prune")
    batches: list[Any] = []
    if wanted.calibration is not None:
        batches = read_calibration(wanted.calibration, program)
        progress(f"{len(batches)} calibration batches")
    before = _forecast(program, wanted)
    if scheme is not None:
        progress(f"prune by {scheme}")
        program = _pruned(program, scheme, wanted, report)
    if wanted.weights is not None:
        progress(f"quantize to {wanted.weights}")
        program = quantize(
            program,
            batches,
            wanted.weights,
            **wanted.quantization,
            **_where(wanted),
            report=_text(report),
        )
    after = _forecast(program, wanted)
    if before is not None and after is not None:
        report(
            f"predicted {before.dense_ms:.3f} -> {after.ms:.3f} ms "
            f"({after.target}, {after.threads} threads)"
        )
    save(program, output)


def save(program: ExportedProgram, path: Path) -> None:
    """Write a program; the file is there as a whole, or is as it was."""
    path = path.resolve()  # a link stays one
    handle, name = tempfile.mkstemp(suffix=".pt2", prefix=".", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        torch.export.save(program, part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _checked_scheme(wanted: Wanted) -> str | None:
    """The scheme without `auto`; names are wrong before anything is read."""
    if wanted.weights is not None:
        _check_weights(wanted.weights, wanted)
    if wanted.scheme is None:
        return None
    is_quantized = wanted.weights not in (None, "none")
    dtype = "int8" if is_quantized else "float32"
    scheme = scheme_for(wanted.scheme, wanted.target, dtype=dtype)
    parse_scheme(scheme)
    return scheme


def _check_weights(weights: str, wanted: Wanted) -> None:
    """Raise `InvalidInput` for a format or a budget that cannot be."""
    asked = wanted.quantization
    budget = read_budget(
        weights,
        asked["choices"],
        asked["max_bytes"],
        asked["max_latency"],
        wanted.target,
    )
    if budget is None:
        parse_format(weights)


def _where(wanted: Wanted) -> dict[str, Any]:
    """What a limit of milliseconds is for."""
    if wanted.quantization["max_latency"] is None:
        return {}
    return {"target": wanted.target, "threads": wanted.threads}


def _check_shapes(program: ExportedProgram) -> None:
    """Raise `InvalidInput` for shapes that are not fixed: the result has fixed ones."""
    for name, value in program_inputs(program).items():
        if is_dynamic(value):
            shape = ", ".join(map(str, value.shape))
            raise InvalidInput(
                f"input '{name}' must have a fixed shape, got ({shape}); export the "
                "model without dynamic_shapes"
            )


def _pruned(
    program: ExportedProgram, scheme: str, wanted: Wanted, report: Say
) -> ExportedProgram:
    module: fx.GraphModule = lift_layers(program)
    args, kwargs = _example(program)
    found = prune(module, scheme, example_inputs=kwargs or args, **wanted.pruning)
    report(str(found))
    with torch.no_grad():
        return torch.export.export(module, args, kwargs, strict=False)


def _example(program: ExportedProgram) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs of the right shapes: those that the program was exported with, or ones."""
    if program.example_inputs is not None:
        return program.example_inputs
    leaves = [
        torch.ones(value.shape, dtype=value.dtype)
        for value in program_inputs(program).values()
    ]
    structure = program.call_spec.in_spec
    assert structure is not None, "every exported program has one"
    return pytree.tree_unflatten(leaves, structure)


def _text(report: Say) -> Callable[[object], None]:
    return lambda found: report(str(found))


def _forecast(program: ExportedProgram, wanted: Wanted) -> Forecast | None:
    if not wanted.is_predicted:
        return None
    # The compiler is not loaded for those who only prune.
    from edgec.forecast import predict

    try:
        return predict(program, target=wanted.target, threads=wanted.threads)
    except EdgecError as error:
        error.add_note(
            "With --no-predict it is compressed, and not compiled to predict."
        )
        raise
