"""torch, as it is and with its own compiler."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Array, Run, as_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class TorchEager:
    """The model as it is, called in inference mode: what everyone starts from."""

    name: str = "torch"
    is_own: bool = False
    is_float32: bool = True

    def available(self) -> str | None:
        """Always: the models are torch's."""
        return None

    def version(self) -> str:
        """The version of torch."""
        return _version()

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Nothing to build; the number of threads holds for the whole process."""
        return _inference(model, inputs, threads)


@dataclass(frozen=True)
class TorchCompile:
    """`torch.compile` with inductor, which writes C++ and has it compiled here.

    Weights are frozen, as torch's documentation advises for inference: else inductor
    neither folds batch norms nor packs weights.
    """

    name: str = "torch-compile"
    is_own: bool = False
    is_float32: bool = True

    def available(self) -> str | None:
        """A C++ compiler is needed when the model runs first."""
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"needs a C++ compiler, there is no '{compiler}'"
        return None

    def version(self) -> str:
        """The version of torch."""
        return _version()

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Compile; the C++ compiler runs at the first call, so one is made here."""
        import torch

        compiled: Any = torch.compile(model, dynamic=False, options={"freezing": True})
        run = _inference(compiled, inputs, threads)
        run()
        return run


def _version() -> str:
    import torch

    return torch.__version__


def _inference(model: Any, inputs: tuple[Tensor, ...], threads: int) -> Run:
    """`model` is a module or what `torch.compile` made of one."""
    import torch

    torch.set_num_threads(threads)

    def run() -> list[Array]:
        with torch.inference_mode():
            return as_arrays(model(*inputs))

    return run
