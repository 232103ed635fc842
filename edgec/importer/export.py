"""Any kind of model to one flat, functional graph of ATen calls on static shapes."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.utils._pytree as pytree
from torch import nn
from torch.export import ExportedProgram
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.rnn import PackedSequence

from edgec.errors import ImportFailed, InvalidInput
from edgec.importer.signature import is_dynamic


def exported(model: object, example_inputs: object) -> ExportedProgram:
    """The model as an `ExportedProgram`, not decomposed.

    A module in training mode is exported in eval mode; its own flags are as before
    when this returns. Weights are shared, not copied.
    """
    if isinstance(model, str | Path):
        model = _load(Path(model))
    if isinstance(model, ExportedProgram):
        if example_inputs is not None:
            _check_own(model, example_inputs)
        return model
    if not isinstance(model, nn.Module):
        raise InvalidInput(
            "model must be an nn.Module, a GraphModule, an ExportedProgram or the "
            f"path of a .pt2 file, got {type(model).__name__}"
        )
    args, kwargs = _arguments(example_inputs)
    _check_inputs(args, kwargs)
    return _trace(model, args, kwargs)


def decomposed(program: ExportedProgram, keep: Collection[str]) -> ExportedProgram:
    """`program` functionalized, with ops outside of `keep` split into smaller ones."""
    table = torch.export.default_decompositions()
    for overload in [o for o in table if str(o) in keep]:
        del table[overload]
    try:
        # torch 2.13 calls its own deprecated functions here.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", FutureWarning)
            return program.run_decompositions(table)  # pyright: ignore[reportUnknownMemberType]  # torch leaves the table's type open
    # torch raises many unrelated types here; each of them means the same to the user.
    except Exception as error:
        raise ImportFailed(
            f"torch could not decompose the exported program: {_first_lines(error)}"
        ) from error


def _load(path: Path) -> ExportedProgram:
    # Registers the quantized_decomposed ops, without which such files cannot be read.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    if not path.is_file():
        found = "is not a file" if path.exists() else "does not exist"
        raise ImportFailed(f"'{path}' {found}; give the path of a .pt2 file")
    try:
        return torch.export.load(path)
    # A damaged archive can fail in the zip, JSON or tensor reader, each in its own way.
    except Exception as error:
        raise ImportFailed(
            f"'{path}' cannot be read as a torch.export file (.pt2): "
            f"{_first_lines(error)}; save it again with torch.export.save"
        ) from error


def _arguments(example_inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if example_inputs is None:
        raise InvalidInput("example_inputs must be given for a module, got None")
    if isinstance(example_inputs, Mapping):
        return (), dict(cast("Mapping[str, Any]", example_inputs))
    if isinstance(example_inputs, tuple | list):
        return tuple(cast("Sequence[Any]", example_inputs)), {}
    return (example_inputs,), {}


def _check_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for path, leaf in pytree.tree_flatten_with_path((args, kwargs))[0]:
        if isinstance(leaf, torch.Tensor) and not leaf.numel():
            raise ImportFailed(
                f"example input {pytree.keystr(path)} is empty, shape "
                f"{tuple(leaf.shape)}; every size must be at least 1"
            )


def _check_own(program: ExportedProgram, example_inputs: object) -> None:
    """Inputs given with a program must be such as it has: its shapes are fixed."""
    nodes = {node.name: node for node in program.graph.nodes}
    names = program.graph_signature.user_inputs
    values = [nodes[name].meta.get("val") for name in names if name in nodes]
    if any(is_dynamic(value) for value in values):
        return  # which is refused later, with all other problems
    wanted, found = _kinds(values), _kinds(pytree.tree_leaves(example_inputs))
    # Keywords may come in any order.
    if sorted(wanted) != sorted(found):
        raise InvalidInput(
            "example_inputs must be such as the exported program has, "
            f"{', '.join(wanted)}; got {', '.join(found) or 'no tensor'}: leave them "
            "out"
        )


def _kinds(values: Sequence[object]) -> list[str]:
    """Types and shapes of the tensors."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return [f"{str(t.dtype)[6:]} of shape {tuple(t.shape)}" for t in tensors]


_FLAT_WEIGHTS = (
    r"The tensor attributes? (self\S*_flat_weights\[\d+\],? )+(was|were) assigned"
)
"""Recurrent modules keep a list of their parameters and set it anew when they run."""


def _trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ExportedProgram:
    try:
        # no_grad: else a model that itself uses no_grad exports it as a nested graph.
        with (
            _eval_mode(model),
            _unpacked(model),
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", _FLAT_WEIGHTS, UserWarning)
            if _is_pruned(model):
                # Pruned weights are set anew before each call; nothing is lost.
                warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
            return torch.export.export(model, args, kwargs, strict=False)
    except ImportFailed:
        raise
    # Anything can happen here, as the model's own code runs.
    except Exception as error:
        raise ImportFailed(
            f"torch.export could not trace {type(model).__name__}: "
            f"{type(error).__name__}: {_first_lines(error)}"
        ) from error


def _is_pruned(model: nn.Module) -> bool:
    """Whether `torch.nn.utils.prune` set a hook anywhere."""
    for module in model.modules():
        hooks: dict[int, object] = getattr(module, "_forward_pre_hooks", {})
        if any(isinstance(hook, BasePruningMethod) for hook in hooks.values()):
            return True
    return False


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Generator[None]:
    """All flags off if the model's own is on; as before afterwards.

    Flags are set directly: `train` and `eval` may be overridden to do more, which
    could not be undone. A training submodule of an eval model is left alone.
    """
    flags = {m: m.training for m in model.modules()} if model.training else {}
    try:
        for module in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


@contextlib.contextmanager
def _unpacked(model: nn.Module) -> Generator[None]:
    """Refuse packed sequences, where torch's own message names neither."""
    handles = [
        module.register_forward_pre_hook(_refuse_packed)
        for module in model.modules()
        if isinstance(module, nn.RNNBase)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_packed(module: nn.Module, args: tuple[Any, ...]) -> None:
    if args and isinstance(args[0], PackedSequence):
        raise ImportFailed(
            f"the input of a {type(module).__name__} is a packed sequence, whose batch "
            "size differs from step to step; call it with a padded tensor"
        )


def _first_lines(error: Exception, count: int = 6) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:count]) or type(error).__name__
