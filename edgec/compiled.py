"""A compiled model that can be called, fresh from the compiler or from a file.

Calling needs numpy and llvmlite's loader. torch is used when the inputs are torch's, or
when the model takes or returns classes of its own; a model that takes arrays and plain
containers runs without torch being imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from edgec.artefact import Artefact
from edgec.codegen.entry import ENTRY_SYMBOL
from edgec.codegen.jit import load_object
from edgec.convention import Convention
from edgec.errors import InvalidArtefact, InvalidInput, InvalidTarget
from edgec.runtime.executable import Executable, TensorSpec, is_array
from edgec.runtime.threads import default_threads

if TYPE_CHECKING:
    import torch

    from edgec.report import Report

Array = npt.NDArray[np.generic]


class CompiledModel:
    """A compiled model; call it like the model.

    Torch tensors in give torch tensors out, numpy arrays give numpy arrays. Inputs must
    have the shapes and types that the model was compiled for; the structure of inputs
    and outputs is the model's. Calls from several threads at once are safe.

    Args:
        artefact: what to load.
        threads: threads per call; by default what was chosen when compiling, or as many
            as the process may use.

    Raises `InvalidTarget` if this machine cannot run the code, naming what it lacks.
    """

    def __init__(self, artefact: Artefact, threads: int | None = None) -> None:
        start = time.perf_counter()
        code = load_object(artefact.code, artefact.target, (ENTRY_SYMBOL,))
        if threads is None:
            threads = artefact.threads
        self._executable = Executable(
            code.address(ENTRY_SYMBOL),
            artefact.program,
            list(artefact.weights.values()),
            code=code,
            threads=default_threads() if threads is None else threads,
        )
        # The executable may have aligned some; the others would be held in vain.
        weights = dict(zip(artefact.weights, self._executable.weights, strict=True))
        self._artefact = replace(artefact, weights=weights)
        self._load_seconds = time.perf_counter() - start

    def __repr__(self) -> str:
        """What it takes and gives, where it runs."""
        sides = (
            ", ".join(f"{spec.name}: {spec.describe()}" for spec in side)
            for side in (self.inputs, self.outputs)
        )
        return (
            f"CompiledModel({' -> '.join(sides)}; {self._artefact.target.name}, "
            f"threads={self.threads})"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model once.

        Raises `InvalidInput` naming the input whose shape, type, device or place in the
        structure does not fit.
        """
        convention = self._artefact.convention
        leaves = convention.flatten_inputs(args, kwargs)
        addresses = self._tensor_addresses(leaves)
        results: Sequence[Any]
        if addresses is not None:
            results = self._executable.run(addresses, leaves)
        else:
            pairs = zip(leaves, self.inputs, strict=True)
            results = self._executable([_to_numpy(leaf, spec) for leaf, spec in pairs])
        if not leaves or any(_is_tensor(leaf) for leaf in leaves):
            import torch

            # It shares memory. torch leaves the type of its argument open.
            share = cast(
                "Callable[[Array], torch.Tensor]",
                torch.from_numpy,  # pyright: ignore[reportUnknownMemberType]
            )
            results = [share(result) for result in results]
        return convention.unflatten_outputs(results)

    def _tensor_addresses(self, leaves: Sequence[object]) -> list[int] | None:
        """Where the elements of the inputs stand, if all are tensors as they must be.

        None if one is not: `_to_numpy` finds out why, and takes some others. Without
        arrays in between, as those take longer than a small model.
        """
        if not leaves or not _is_tensor(leaves[0]):
            return None
        import torch

        addresses: list[int] = []
        for leaf, (dtype, shape) in zip(leaves, self._tensor_types, strict=True):
            if not (
                type(leaf) is torch.Tensor  # subclasses may have no memory
                and leaf.dtype is dtype
                and leaf.shape == shape
                and leaf.is_cpu
                and leaf.layout is torch.strided
                and leaf.is_contiguous()
                and not leaf.is_neg()
            ):
                return None
            addresses.append(leaf.data_ptr())
        return addresses

    @cached_property
    def _tensor_types(self) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        """What torch calls the type and the shape of each input.

        Asking numpy for the name of a type takes microseconds, so it is asked once.
        """
        import torch

        return [(getattr(torch, spec.dtype.name), spec.shape) for spec in self.inputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run the model once on its tensors alone: arrays in, arrays out.

        They stand in the order of `inputs` and `outputs`, without the model's
        structure around them. Raises `InvalidInput` naming the one that does not fit.
        """
        return self._executable(arrays)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: addresses of native code go nowhere.

        Raises `TypeError` that says what to do instead.
        """
        raise TypeError(
            "a CompiledModel cannot be pickled or copied, as it holds native code and "
            "memory of this process: save() it, and edgec.load() the file where it is "
            "needed; threads of one process can share it"
        )

    @property
    def convention(self) -> Convention:
        """How the model's nested inputs and outputs map to lists of tensors."""
        return self._artefact.convention

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and element type of each input tensor."""
        return self._artefact.program.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and element type of each output tensor."""
        return self._artefact.program.outputs

    @property
    def threads(self) -> int:
        """How many threads run one call."""
        return self._executable.threads

    def report(self) -> Report:
        """What was compiled and how: layers, kernels, why, memory, seconds."""
        from edgec.report import Report

        stored = dict(self._artefact.report)
        stored["seconds"] = {**stored["seconds"], "load": self._load_seconds}
        stored["is_loaded"] = self._artefact.path is not None
        return Report.from_json(stored)

    def save(self, path: str | Path) -> None:
        """Write the model to a file for `edgec.load`.

        Raises `OSError` if it cannot be written, and `InvalidInput` if the model takes
        or returns objects of a class that torch cannot name.
        """
        self._artefact.save(path)


def load(path: str | Path, threads: int | None = None) -> CompiledModel:
    """Load a model that `CompiledModel.save` or `edgec compile` wrote.

    The file holds machine code that will run: load only files that you trust.

    Args:
        path: the file.
        threads: threads per call; by default what was chosen when compiling, or as many
            as the process may use.

    Raises `InvalidArtefact` if the file cannot be read, is damaged, has another version
    or needs a machine that this one is not; `InvalidInput` for wrong `threads`.
    """
    artefact = Artefact.read(path)
    try:
        return CompiledModel(artefact, threads)
    except InvalidTarget as error:
        raise InvalidArtefact(f"'{path}': {error}") from error


def _to_numpy(leaf: object, spec: TensorSpec) -> Array:
    """An input as an array that shares its memory."""
    if is_array(leaf):
        return leaf
    if not _is_tensor(leaf):
        raise InvalidInput(
            f"input '{spec.name}' must be a torch tensor or a numpy array, "
            f"{spec.describe()}; got {type(leaf).__name__}"
        )
    layout = str(leaf.layout).removeprefix("torch.")
    if leaf.device.type != "cpu" or layout != "strided":
        raise InvalidInput(
            f"input '{spec.name}' must be a dense tensor on the CPU, "
            f"{spec.describe()}; got layout {layout} on device {leaf.device}"
        )
    dtype = str(leaf.dtype).removeprefix("torch.")
    if dtype != spec.dtype.name:  # some of torch's types numpy does not even have
        raise InvalidInput(
            f"input '{spec.name}' must be {spec.describe()}; got {dtype} of shape "
            f"{tuple(leaf.shape)}"
        )
    # What torch gives numpy has no type.
    return cast("Array", np.asarray(leaf.detach().resolve_neg()))


def _is_tensor(leaf: object) -> TypeGuard[torch.Tensor]:
    """Whether it is torch's; without importing torch, as then it cannot be."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(leaf, torch.Tensor)
