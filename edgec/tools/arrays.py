"""Arrays from and to `.npy` and `.npz` files."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgec.errors import InvalidInput
from edgec.runtime.executable import TensorSpec

Array = npt.NDArray[Any]


def read_inputs(given: Sequence[str], specs: Sequence[TensorSpec]) -> list[Array]:
    """The arrays for `specs`, from what stands behind `--input`.

    `NAME=FILE.npy` is the input of that name, each array in an `.npz` file the input
    of its own name; plain `.npy` files fill the other inputs in order. Raises
    `InvalidInput` for a file that cannot be read, and for missing or extra inputs.
    """
    names = [spec.name for spec in specs]
    found: dict[str, Array] = {}
    unnamed: list[Array] = []
    for text in given:
        name, separator, path = text.partition("=")
        if separator and name in names:
            _add(found, {name: _read_array(Path(path))}, names)
        elif separator and not Path(text).exists():
            raise InvalidInput(
                f"--input {text}: the model has no input '{name}'; it takes "
                f"{_counted('input', names)}"
            )
        elif Path(text).suffix == ".npz":
            _add(found, read_archive(Path(text)), names)
        else:
            unnamed.append(_read_array(Path(text)))
    open_names = [name for name in names if name not in found]
    if len(unnamed) != len(open_names):
        raise InvalidInput(
            f"the model takes {_counted('input', names)}, got "
            f"{len(found) + len(unnamed)}; give each with --input FILE.npy or "
            "--input NAME=FILE.npy"
        )
    _add(found, dict(zip(open_names, unnamed, strict=True)), names)
    return [found[name] for name in names]


def write_outputs(paths: Sequence[Path], arrays: Mapping[str, Array]) -> None:
    """Write all arrays to one `.npz` file, or each to its own `.npy` file, in order.

    Raises `InvalidInput` if the number or kind of files does not fit, before it writes
    anything, and `OSError` if a file cannot be written.
    """
    if len(paths) == 1 and paths[0].suffix == ".npz":
        with paths[0].open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return
    strange = [str(path) for path in paths if path.suffix != ".npy"]
    if strange or len(paths) != len(arrays):
        raise InvalidInput(
            f"the model has {_counted('output', arrays)}: give --output FILE.npz, or "
            f"--output FILE.npy for each; got {', '.join(map(str, paths))}"
        )
    for path, array in zip(paths, arrays.values(), strict=True):
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)


def _counted(noun: str, names: Collection[str]) -> str:
    """How many, and their names: `2 inputs (x, y)`."""
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} {noun}{plural} ({', '.join(names)})"


def _add(
    found: dict[str, Array], more: Mapping[str, Array], names: Iterable[str]
) -> None:
    for name, array in more.items():
        if name in found or name not in names:
            problem = "given twice" if name in found else "not an input of the model"
            raise InvalidInput(
                f"input '{name}' is {problem}; inputs are {', '.join(names)}"
            )
        found[name] = array


def _read_array(path: Path) -> Array:
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise InvalidInput(f"'{path}' holds several arrays; only .npz files may")
    return cast("Array", loaded)  # isinstance lost its element type


def read_archive(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz` file by their names; nothing in it is unpickled."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise InvalidInput(
            f"'{path}' holds one array without a name; an .npz file has names"
        )
    try:
        found = {name: loaded[name] for name in loaded.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    # numpy gives members that are no arrays as bytes.
    strange = [name for name, value in found.items() if isinstance(value, bytes)]
    if strange:
        raise InvalidInput(
            f"'{path}' must hold arrays only; of other kinds: {', '.join(strange)}"
        )
    return found


def _load(path: Path) -> Any:  # an array or an archive of arrays
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(f"'{path}' cannot be read as arrays of numpy: {error}")
