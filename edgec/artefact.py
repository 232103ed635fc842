"""A compiled model at rest: code, weights, and how to call it; and its file.

The file is in the safetensors format, so that its tensors can be looked at with any
tool: `code` is an object file as bytes, `weight.NAME` are the packed weights. The
metadata says what the rest means, as JSON. Nothing in it is ever unpickled, but the
code in it runs: load only files that you trust, as with any program.

Reading maps the file; weights that stand aligned in it are used in place and shared by
all processes that loaded it. Neither torch nor xdsl is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import edgec
from edgec.convention import Convention
from edgec.errors import EdgecError, InvalidArtefact
from edgec.runtime.executable import ProgramSpec, TensorSpec
from edgec.runtime.tensor_file import (
    TensorFile,
    read_metadata,
    read_tensors,
    write_tensors,
)
from edgec.target import Target

Array = npt.NDArray[np.generic]

FORMAT = "edgec compiled model"
FORMAT_VERSION = 2
"""Grows when the file or what the native entry is called with changes."""


@dataclass(frozen=True)
class Artefact:
    """A compiled model that is not loaded."""

    target: Target
    """The machine that the code is for."""
    convention: Convention
    """How it is called."""
    program: ProgramSpec
    """Inputs, outputs and memory of the native code."""
    code: bytes
    """An object file."""
    weights: Mapping[str, Array]
    """In the order of the code's table."""
    threads: int | None
    """Threads that one call shall use; None for as many as the process may."""
    report: Mapping[str, Any]
    """`edgec.report.Report` as plain values."""
    path: Path | None = None
    """The file that it was read from; None if it was just made."""

    def save(self, path: str | Path) -> None:
        """Write the file; the same model gives the same bytes, apart from timings.

        Raises `OSError` if it cannot be written, and `InvalidInput` if the model takes
        or returns objects of a class that torch cannot name.
        """
        tensors = {f"weight.{name}": array for name, array in self.weights.items()}
        tensors["code"] = np.frombuffer(self.code, np.uint8)
        parts = {
            "target": _target_to_json(self.target),
            "convention": self.convention.to_json(),
            "program": _program_to_json(self.program),
            "weights": list(self.weights),
            "threads": self.threads,
            "report": dict(self.report),
        }
        metadata = {name: json.dumps(part) for name, part in parts.items()}
        metadata["format"] = FORMAT
        metadata["format_version"] = str(FORMAT_VERSION)
        metadata["edgec_version"] = edgec.__version__
        write_tensors(Path(path), TensorFile(metadata, tensors))

    @classmethod
    def read(cls, path: str | Path) -> Artefact:
        """The inverse of `save`.

        Raises `InvalidArtefact` if the file cannot be read, is damaged, is something
        else or has another version, and `InvalidInput` if the model takes or returns
        objects of a class that is not registered with torch here.
        """
        file = read_tensors(Path(path))
        _check_version(path, file.metadata)
        try:
            return cls._from_file(file, Path(path))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, EdgecError):
                raise
            raise InvalidArtefact(
                f"'{path}' lacks or garbles part of a compiled model: {error!r}"
            ) from error

    @classmethod
    def _from_file(cls, file: TensorFile, path: Path) -> Artefact:
        def part(name: str) -> Any:  # JSON
            return json.loads(file.metadata[name])

        return cls(
            target=_target_from_json(part("target")),
            convention=Convention.from_json(part("convention")),
            program=_program_from_json(part("program")),
            code=file.tensors["code"].tobytes(),
            weights={name: file.tensors[f"weight.{name}"] for name in part("weights")},
            threads=part("threads"),
            report=part("report"),
            path=path,
        )


def is_compiled(path: Path) -> bool:
    """Whether the file says that it is a compiled model, of whatever version."""
    try:
        return read_metadata(path).get("format") == FORMAT
    except InvalidArtefact:
        return False


def _check_version(path: str | Path, metadata: Mapping[str, str]) -> None:
    """Raise `InvalidArtefact` unless this edgec can read the file."""
    if metadata.get("format") != FORMAT:
        raise InvalidArtefact(
            f"'{path}' is a safetensors file but no compiled model: its metadata has "
            f"no format {FORMAT!r}; make one with edgec compile"
        )
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise InvalidArtefact(
            f"'{path}' has format version {version}, written by edgec "
            f"{metadata.get('edgec_version')}; edgec {edgec.__version__} reads version "
            f"{FORMAT_VERSION}: compile the model again"
        )


def _target_to_json(target: Target) -> dict[str, Any]:
    return {**asdict(target), "features": sorted(target.features)}


def _target_from_json(stored: Mapping[str, Any]) -> Target:
    fields = dict(stored)
    fields["features"] = frozenset(fields["features"])
    return Target(**fields)


def _program_to_json(program: ProgramSpec) -> dict[str, Any]:
    return {
        **vars(program),
        "inputs": _specs_to_json(program.inputs),
        "outputs": _specs_to_json(program.outputs),
    }


def _program_from_json(stored: Mapping[str, Any]) -> ProgramSpec:
    fields = dict(stored)
    for name in ("inputs", "outputs"):
        fields[name] = _specs_from_json(fields[name])
    return ProgramSpec(**fields)


def _specs_to_json(specs: Sequence[TensorSpec]) -> list[Any]:
    return [[spec.name, list(spec.shape), spec.dtype.name] for spec in specs]


def _specs_from_json(stored: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in stored
    )
