"""Compile a model: one line per stage, from torch to a callable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xdsl.dialects.builtin import ModuleOp

from edgec.codegen.cache import ObjectCache
from edgec.codegen.entry import ENTRY_SYMBOL
from edgec.codegen.host import host_features
from edgec.codegen.jit import check_runnable, load_object
from edgec.context import EdgecContext
from edgec.dialects.nn import AnyTensor
from edgec.errors import InvalidInput
from edgec.importer import ImportedModel, import_model
from edgec.interpreter.arrays import dtype_of
from edgec.options import Options
from edgec.passes.convert_to_lane import find_main
from edgec.pipeline import Observer, run_passes, tensor_passes
from edgec.program import Built, build_program
from edgec.report import LayerReport, Report, describe_layers
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.runtime.threads import default_threads
from edgec.target import Target


class CompiledModel:
    """A compiled model; call it like the model.

    Torch tensors in give torch tensors out, numpy arrays give numpy arrays. Inputs must
    have the shapes and types that the model was compiled for; the structure of inputs
    and outputs is the model's. Calls from several threads at once are safe.
    """

    def __init__(
        self, imported: ImportedModel, executable: Executable, report: Report
    ) -> None:
        self._imported = imported
        self._executable = executable
        self._report = report

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model once.

        Raises `InvalidInput` naming the input whose shape, type, device or place in the
        structure does not fit.
        """
        leaves = self._imported.flatten_inputs(args, kwargs)
        arrays = [
            _to_numpy(leaf, spec.name)
            for leaf, spec in zip(leaves, self._imported.input_specs, strict=True)
        ]
        results = self._executable(arrays)
        if all(isinstance(leaf, np.ndarray) for leaf in leaves) and leaves:
            return self._imported.unflatten_outputs(results)
        tensors = [torch.from_numpy(result) for result in results]
        return self._imported.unflatten_outputs(tensors)

    @property
    def threads(self) -> int:
        """How many threads run one call."""
        return self._executable.threads

    def report(self) -> Report:
        """What was compiled and how: layers, kernels, why, memory, seconds."""
        return self._report


def compile(
    model: torch.nn.Module
    | torch.fx.GraphModule
    | torch.export.ExportedProgram
    | str
    | Path,
    example_inputs: Any = None,
    *,
    target: str | Target = "native",
    threads: int | None = None,
    options: Options | None = None,
    observer: Observer | None = None,
) -> CompiledModel:
    """Compile a model for its example inputs' shapes and types.

    Args:
        model: an `nn.Module` (compiled as in `eval()`), a `torch.fx.GraphModule`, an
            `ExportedProgram`, or the path of a `.pt2` file.
        example_inputs: positional inputs as a tuple, keyword inputs as a mapping, or one
            tensor; not needed for an exported program.
        target: a target or its name, such as `native` or `x86-64-v3`.
        threads: threads per call; by default as many as the process may use.
        options: see `Options`.
        observer: called with each pass and the module after it; turns the cache off.

    Raises `ImportFailed` listing everything in the model that is not supported,
    `InvalidTarget` and `InvalidInput` for arguments that do not fit.
    """
    options = options or Options()
    clock = _Clock()
    machine = _target(target)
    check_runnable(machine)
    imported = clock.time("import", lambda: import_model(model, example_inputs))
    module, ctx = imported.module, imported.ctx
    clock.records += run_passes(
        tensor_passes(options, machine),
        ctx,
        module,
        verify=options.verify,
        observer=observer,
    )
    layers = describe_layers(module, ctx.weights)
    spec = _tensor_specs(module, imported)
    cache = ObjectCache(_cache_folder(options)) if options.use_cache else None
    built = clock.time(
        "code",
        lambda: build_program(module, ctx, machine, options, cache, observer),
    )
    executable = clock.time(
        "load",
        lambda: _load(built, ctx, spec, machine, threads or default_threads()),
    )
    return CompiledModel(imported, executable, _report(clock, built, layers, machine))


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.records: tuple[Any, ...] = ()

    def time(self, stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[stage] = time.perf_counter() - start
        return result


def _target(target: str | Target) -> Target:
    if isinstance(target, Target):
        return target
    return Target.parse(target, host_features)


def _cache_folder(options: Options) -> Path:
    """The folder of compiled objects: the user's choice, else the user's cache."""
    if options.cache is not None:
        return options.cache
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
        outputs.append(TensorSpec(f"output {number}", tensor.get_shape(), dtype))
    return inputs, tuple(outputs)


def _load(
    built: Built,
    ctx: EdgecContext,
    specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    target: Target,
    threads: int,
) -> Executable:
    """Native code in memory, bound to its weights; other weights are let go."""
    program = built.program
    code = load_object(program.code, target, (ENTRY_SYMBOL,))
    inputs, outputs = specs
    return Executable(
        code.address(ENTRY_SYMBOL),
        ProgramSpec(
            tuple(inputs),
            tuple(outputs),
            program.arena_bytes,
            program.scratch_bytes_per_thread,
        ),
        [ctx.weights[name] for name in program.weight_names],
        code=code,
        threads=threads,
    )


def _report(
    clock: _Clock, built: Built, layers: Sequence[LayerReport], target: Target
) -> Report:
    statistics: dict[str, Mapping[str, int]] = {
        record.name: record.statistics for record in clock.records
    }
    return Report(
        target=target.name,
        layers=tuple(layers),
        seconds={
            **clock.seconds,
            **{record.name: record.seconds for record in clock.records},
            **{record.name: record.seconds for record in built.records},
        },
        statistics={**statistics, **built.program.statistics},
        arena_bytes=built.program.arena_bytes,
        live_bytes=built.program.live_bytes,
        is_cached=built.is_cached,
    )


def _to_numpy(leaf: object, name: str) -> np.ndarray[Any, Any]:
    """An input as an array that shares its memory."""
    if isinstance(leaf, np.ndarray):
        return leaf
    if not isinstance(leaf, torch.Tensor):
        raise InvalidInput(
            f"input '{name}' must be a torch tensor or a numpy array, "
            f"got {type(leaf).__name__}"
        )
    if leaf.device.type != "cpu" or leaf.layout is not torch.strided:
        raise InvalidInput(
            f"input '{name}' must be a dense tensor on the CPU, "
            f"got {leaf.layout} on {leaf.device}"
        )
    return leaf.detach().resolve_conj().resolve_neg().numpy()
