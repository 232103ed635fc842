"""ONNX Runtime's CPU provider in float32."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engines.base import Array, Run, missing
from benchmarks.engines.onnx_file import onnx_file

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class OnnxRuntime:
    """All graph optimizations, which is its default, and threads of its own."""

    folder: Path
    """Where ONNX files are kept."""
    name: str = "onnxruntime"
    is_own: bool = False
    is_float32: bool = True

    def available(self) -> str | None:
        """The engine, and what torch needs to write the file."""
        return missing("onnx", "onnxruntime")

    def version(self) -> str:
        """The version of the package."""
        return version("onnxruntime")

    def prepare(
        self, model: nn.Module, inputs: tuple[Tensor, ...], threads: int
    ) -> Run:
        """Write the ONNX file if there is none, and load it."""
        onnxruntime: Any = import_module("onnxruntime")  # it has no types
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(onnx_file(model, inputs, self.folder)),
            options,
            providers=["CPUExecutionProvider"],
        )
        names = [each.name for each in session.get_inputs()]
        feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}

        def run() -> list[Array]:
            return session.run(None, feed)

        return run
