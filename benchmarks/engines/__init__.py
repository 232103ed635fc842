"""The engines that are compared, by name.

Making one imports nothing heavy: torch, onnxruntime and openvino are loaded when a
model is prepared, after the command line has set the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engines.base import Engine
from benchmarks.engines.edgec import EdgeC
from benchmarks.engines.onnxruntime import OnnxRuntime
from benchmarks.engines.openvino import OpenVino
from benchmarks.engines.torch import TorchCompile, TorchEager
from edgec.errors import InvalidInput
from edgec.options import Options

__all__ = ["ENGINES", "OWN", "Setup", "check_names", "make_engines"]

OWN = "edgec"
"""Stands for `edgec-dense`, and for `edgec-sparse` too where a model is pruned."""


@dataclass(frozen=True)
class Setup:
    """What engines are made with."""

    folder: Path
    """Where files are kept: ONNX models and compiled code."""
    target: str = "native"
    """What edgec compiles for."""

    def options(self, **changes: object) -> Options:
        """Options of edgec, with compiled code kept in `folder`."""
        return Options(cache=self.folder / "objects", **changes)  # pyright: ignore[reportArgumentType] checked by Options


ENGINES: Mapping[str, Callable[[Setup], Engine]] = {
    "edgec-dense": lambda s: EdgeC(
        "edgec-dense", s.options(sparsity="ignore"), s.target
    ),
    "edgec-sparse": lambda s: EdgeC("edgec-sparse", s.options(), s.target),
    "edgec-bfloat16": lambda s: EdgeC(
        "edgec-bfloat16",
        s.options(sparsity="ignore", precision="bfloat16"),
        s.target,
        is_float32=False,
    ),
    "torch": lambda _: TorchEager(),
    "torch-compile": lambda _: TorchCompile(),
    "onnxruntime": lambda s: OnnxRuntime(s.folder / "onnx"),
    "openvino": lambda s: OpenVino(s.folder / "onnx"),
    "openvino-default": lambda s: OpenVino(
        s.folder / "onnx", "openvino-default", precision=None
    ),
}
"""Every engine by the name that `--engines` takes, besides `OWN`."""


def check_names(names: Sequence[str]) -> None:
    """Raise `InvalidInput` unless every name is one of an engine, each once."""
    known = (OWN, *ENGINES)
    for number, name in enumerate(names):
        if name not in known:
            raise InvalidInput(
                f"no engine named '{name}'; known are {', '.join(known)}"
            )
        if name in names[:number]:
            raise InvalidInput(f"engine '{name}' is named twice")


def make_engines(
    names: Sequence[str], setup: Setup, *, is_pruned: bool
) -> list[Engine]:
    """The engines called `names`, in their order; errors as in `check_names`."""
    check_names(names)
    dense_or_both = ("edgec-dense", "edgec-sparse") if is_pruned else ("edgec-dense",)
    found: list[str] = []
    for name in names:
        found += dense_or_both if name == OWN else (name,)
    return [ENGINES[name](setup) for name in dict.fromkeys(found)]
