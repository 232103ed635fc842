"""Compile a model: one line per stage, from torch to code."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch.utils._pytree import tree_map_only
from xdsl.dialects.builtin import ModuleOp
from xdsl.printer import Printer

from edgec.artefact import Array, Artefact, is_compiled
from edgec.codegen.cache import ObjectCache
from edgec.codegen.emit import emit_module
from edgec.codegen.host import host_features
from edgec.codegen.jit import check_runnable, compile_object, emit_assembly
from edgec.compiled import CompiledModel
from edgec.context import EdgecContext
from edgec.dialects.nn import AnyTensor
from edgec.errors import ImportFailed, InvalidInput
from edgec.importer import ImportedModel, import_model
from edgec.interpreter.arrays import dtype_of
from edgec.options import Options
from edgec.passes.convert_to_lane import find_main
from edgec.pipeline import (
    Observer,
    PassRecord,
    kernel_passes,
    run_passes,
    tensor_passes,
)
from edgec.program import Built, build_program
from edgec.report import LayerReport, Report, describe_layers
from edgec.runtime.buffers import gathered
from edgec.runtime.executable import ProgramSpec, TensorSpec
from edgec.runtime.threads import check_threads
from edgec.target import Target
from edgec.tuning_log import Entry, best_entries, read_log

Model = (
    torch.nn.Module | torch.fx.GraphModule | torch.export.ExportedProgram | str | Path
)

Form = Literal["mlir", "lane", "llvm", "asm", "obj"]
"""Forms of a program on its way: the IR after the tensor-level passes, the IR after the
kernel-level passes, LLVM IR, assembly, an object file."""

WEIGHT_BLOCK = 64 * 2**20
"""Bytes of packed weights that are copied at a time: more than the C library keeps on
its heap, where a block would hold on to what is freed below it."""

_Result = TypeVar("_Result")


def compile(
    model: Model,
    example_inputs: Any = None,
    *,
    target: str | Target = "native",
    threads: int | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> CompiledModel:
    """Compile a model for its example inputs' shapes and types, and load it.

    Args:
        model: an `nn.Module` (compiled as in `eval()`), a `torch.fx.GraphModule`, an
            `ExportedProgram`, or the path of a `.pt2` file.
        example_inputs: positional inputs as a tuple, keyword inputs as a mapping, or
            one tensor, torch's or numpy's; not needed for an exported program, whose
            own shapes and types they must have.
        target: a target or its name, such as `native` or `x86-64-v3`.
        threads: threads per call; by default as many as the process may use.
        options: see `Options`.
        observer: called with each pass and the module after it; the cache is not read.

    Raises `ImportFailed` listing everything in the model that is not supported,
    `InvalidTarget` and `InvalidInput` for arguments that do not fit.
    """
    machine = machine_of(target)
    check_runnable(machine)
    return CompiledModel(
        build(
            model,
            example_inputs,
            target=machine,
            threads=threads,
            options=options,
            observer=observer,
        )
    )


def build(
    model: Model,
    example_inputs: Any = None,
    *,
    target: str | Target = "native",
    threads: int | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> Artefact:
    """Compile a model without loading it: the target may be another machine.

    Arguments and errors are those of `compile`.
    """
    options, machine = _checked(options), machine_of(target)
    if threads is not None:
        check_threads(threads)
    clock = _Clock()
    imported = clock.time("import", lambda: _import(model, example_inputs))
    module, ctx = imported.module, imported.ctx
    imported.ctx.tuned = measured_layers(options, machine, threads)
    clock.records += _run_tensor_passes(imported, machine, options, observer)
    layers = describe_layers(module, ctx.weights, machine.lanes)
    inputs, outputs = _tensor_specs(module, imported)
    objects = ObjectCache(_cache_folder(options)) if options.use_cache else None
    built = clock.time(
        "code",
        lambda: build_program(module, ctx, machine, options, objects, observer),
    )
    program = built.program
    return Artefact(
        target=machine,
        convention=imported.convention,
        program=ProgramSpec(
            inputs, outputs, program.arena_bytes, program.scratch_bytes_per_thread
        ),
        code=program.code,
        weights=_own(ctx, program.weight_names),
        threads=threads,
        report=_report(clock, built, layers, machine).to_json(),
    )


def emit(
    model: Model,
    example_inputs: Any = None,
    *,
    form: Form,
    target: str | Target = "native",
    options: Options | None = None,
    observer: Observer | None = None,
) -> bytes:
    """Compile a model up to one form of the program; text is UTF-8.

    Other arguments and errors are those of `compile`.
    """
    if form not in get_args(Form):
        raise InvalidInput(f"`form` must be one of {get_args(Form)}, got {form!r}")
    options, machine = _checked(options), machine_of(target)
    imported = lowered(model, example_inputs, machine, options, observer)
    module = imported.module
    if form == "mlir":
        return ir_text(module).encode()
    run_passes(
        kernel_passes(options, machine),
        imported.ctx,
        module,
        verify=options.verify,
        observer=observer,
    )
    if form == "lane":
        return ir_text(module).encode()
    text = emit_module(module, machine).text
    if form == "llvm":
        return text.encode()
    if form == "asm":
        return emit_assembly(text, machine).encode()
    return compile_object(text, machine)


def import_for_tuning(
    model: Model, example_inputs: Any, target: str | Target, options: Options
) -> tuple[ImportedModel, Target]:
    """A model just before kernels are chosen, and a target that runs here."""
    machine = machine_of(target)
    check_runnable(machine)
    imported = _import(model, example_inputs)
    passes = tensor_passes(options, machine)
    choice = [pass_.name for pass_ in passes].index("choose-kernel")
    run_passes(passes[:choice], imported.ctx, imported.module)
    return imported, machine


def measured_layers(
    options: Options, target: Target, threads: int | None
) -> Mapping[str, Entry]:
    """What the tuning log says of layers, if there is one.

    With the threads that are asked for, or else as many as the target has cores.
    """
    if options.tuning_log is None:
        return {}
    entries = read_log(options.tuning_log)
    return best_entries(entries, target, threads or target.cores)


def lowered(
    model: Model,
    example_inputs: object,
    target: Target,
    options: Options,
    observer: Observer | None = None,
) -> ImportedModel:
    """A model after the tensor-level passes: everything that the code depends on."""
    imported = _import(model, example_inputs)
    imported.ctx.tuned = measured_layers(options, target, threads=None)
    _run_tensor_passes(imported, target, options, observer)
    return imported


def ir_text(module: ModuleOp) -> str:
    """The module as MLIR text that parses back."""
    stream = StringIO()
    Printer(stream=stream).print_op(module)
    return stream.getvalue() + "\n"


def _import(model: Model, example_inputs: object) -> ImportedModel:
    if isinstance(model, str | Path):
        _check_file(Path(model))
    return import_model(model, tree_map_only(np.ndarray, _tensor, example_inputs))


def _check_file(path: Path) -> None:
    """Raise `ImportFailed` for a model, but not of `torch.export.save`."""
    if is_compiled(path):
        raise ImportFailed(
            f"'{path}' is already compiled: run it with edgec run or edgec.load, or "
            "compile the .pt2 file that it was made of"
        )
    if _is_pickled(path):
        raise ImportFailed(
            f"'{path}' was written by torch.save or torch.jit.save; edgec reads .pt2 "
            "files: torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
        )


def _is_pickled(path: Path) -> bool:
    """Whether the file is an archive of torch around a pickle, not a graph."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:  # torch says what is wrong with it
        return False
    return "data.pkl" in names and "archive_format" not in names


def _tensor(array: Array) -> torch.Tensor:
    """An example input of numpy as one of torch; a copy, which may be written to."""
    try:
        return torch.as_tensor(array.copy())
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"an example input is an array of {array.dtype} and shape {array.shape}; "
            f"torch cannot take it: {error}"
        ) from error


def _run_tensor_passes(
    imported: ImportedModel, target: Target, options: Options, observer: Observer | None
) -> tuple[PassRecord, ...]:
    return run_passes(
        tensor_passes(options, target),
        imported.ctx,
        imported.module,
        verify=options.verify,
        observer=observer,
    )


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.records: tuple[PassRecord, ...] = ()

    def time(self, stage: str, work: Callable[[], _Result]) -> _Result:
        start = time.perf_counter()
        result = work()
        self.seconds[stage] = time.perf_counter() - start
        return result


def machine_of(target: str | Target) -> Target:
    """The target, which may be given by its name."""
    if isinstance(target, Target):
        return target
    return Target.parse(target, host_features)


def _cache_folder(options: Options) -> Path:
    """The folder of compiled objects: the user's choice, else the user's cache."""
    if options.cache is not None:
        return Path(options.cache)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgec"


def _tensor_specs(
    module: ModuleOp, imported: ImportedModel
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of `@main` as the runtime wants them."""
    main = find_main(module)
    assert main is not None
    inputs = tuple(
        TensorSpec(spec.name, spec.shape, spec.dtype) for spec in imported.input_specs
    )
    outputs: list[TensorSpec] = []
    for number, type_ in enumerate(main.function_type.outputs):
        tensor: AnyTensor = type_  # pyright: ignore[reportAssignmentType] verified IR
        dtype = dtype_of(tensor.element_type)
        outputs.append(TensorSpec(f"output{number}", tensor.get_shape(), dtype))
    return inputs, tuple(outputs)


def _checked(options: object) -> Options:
    """The options, or the defaults for None."""
    if options is None:
        return Options()
    if isinstance(options, Options):
        return options
    raise InvalidInput(
        f"`options` must be an edgec.Options, got {type(options).__name__}; write "
        "edgec.Options(sparsity=…)"
    )


def _own(ctx: EdgecContext, names: Sequence[str]) -> dict[str, Array]:
    """Copies of the packed weights in a few large blocks; `ctx` forgets them.

    Some are torch's own memory: without a copy, training the model further would change
    those of the compiled model's weights that were not packed, and not the others. What
    is forgotten early makes room for the next block.
    """
    for name in set(ctx.weights) - set(names):
        ctx.weights.discard(name)
    copies: dict[str, Array] = {}
    waiting: dict[str, Array] = {}
    for number, name in enumerate(names):
        waiting[name] = ctx.weights[name]
        ctx.weights.discard(name)
        is_last = number == len(names) - 1
        if is_last or sum(array.nbytes for array in waiting.values()) >= WEIGHT_BLOCK:
            copies |= zip(waiting, gathered(list(waiting.values())), strict=True)
            waiting = {}
    return copies


def _report(
    clock: _Clock, built: Built, layers: Sequence[LayerReport], target: Target
) -> Report:
    seconds = dict(clock.seconds)
    statistics: dict[str, Mapping[str, int]] = {}
    for record in (*clock.records, *built.records):
        # A pass may run more than once.
        seconds[record.name] = seconds.get(record.name, 0) + record.seconds
        statistics[record.name] = _sum(statistics.get(record.name, {}), record)
    return Report(
        target=target.name,
        layers=tuple(layers),
        seconds=seconds,
        statistics={**statistics, **built.program.statistics},
        arena_bytes=built.program.arena_bytes,
        live_bytes=built.program.live_bytes,
        is_cached=built.is_cached,
    )


def _sum(counts: Mapping[str, int], record: PassRecord) -> dict[str, int]:
    names = (*counts, *record.statistics)
    return {n: counts.get(n, 0) + record.statistics.get(n, 0) for n in names}
