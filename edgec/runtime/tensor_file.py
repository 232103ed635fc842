"""Files in the safetensors format, laid out for mapping into memory.

Such a file is a length, a JSON header and raw bytes; any safetensors reader takes the
ones written here. Two things are added to the format. The bytes begin at a multiple of
64 and arrays whose size is a multiple of 64 come first, so that these are aligned where
they stand. And the metadata holds a digest of all else, so that damage is found.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import InvalidArtefact
from edgec.runtime.buffers import ALIGNMENT, round_up

Array = npt.NDArray[np.generic]

DTYPES: Mapping[str, np.dtype[np.generic]] = {
    name: np.dtype(kind)
    for name, kind in {
        "BOOL": np.bool_,
        "F16": np.float16,
        "F32": np.float32,
        "F64": np.float64,
        "I8": np.int8,
        "I16": np.int16,
        "I32": np.int32,
        "I64": np.int64,
        "U8": np.uint8,
        "U16": np.uint16,
        "U32": np.uint32,
        "U64": np.uint64,
    }.items()
}
"""Element types, by the names of the format."""

_NAMES: Mapping[np.dtype[np.generic], str] = {
    dtype: name for name, dtype in DTYPES.items()
}
_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the limit of the format
_DIGEST = "digest"


@dataclass(frozen=True)
class TensorFile:
    """What is in a file."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Array]


def write_tensors(path: Path, content: TensorFile) -> None:
    """Write a file; readers see the old one, or none, or all of the new one.

    The same content gives the same bytes. Raises `OSError` if it cannot be written.
    """
    arrays = [
        (name, np.asarray(array, order="C"))
        for name, array in sorted(content.tensors.items(), key=_place)
    ]
    header: dict[str, Any] = {"__metadata__": dict(content.metadata)}
    end = 0
    for name, array in arrays:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    digest = _Digest(header)
    for _, array in arrays:
        digest.update(array)
    header["__metadata__"][_DIGEST] = digest.hex()
    head = _canonical(header)
    size = round_up(_LENGTH_BYTES + len(head), ALIGNMENT) - _LENGTH_BYTES
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(size.to_bytes(_LENGTH_BYTES, "little") + head.ljust(size))
            for _, array in arrays:
                file.write(array.reshape(-1).view(np.uint8).data)
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> TensorFile:
    """Map a file; its arrays are read-only views into the mapping.

    Raises `InvalidArtefact` if it cannot be read, is no file of this format, or is
    damaged.
    """
    try:
        return _parse(_map(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidArtefact(f"'{path}' cannot be read: {reason}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "; compile it first" if path.suffix == ".pt2" else ""
        raise InvalidArtefact(
            f"'{path}' is damaged or no compiled model: {error}{hint}"
        ) from error


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _parse(memory: mmap.mmap) -> TensorFile:
    """The content of a file; any of several errors if it is damaged."""
    size = int.from_bytes(memory[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + size
    if len(memory) < _LENGTH_BYTES or size > _MAX_HEADER_BYTES or start > len(memory):
        raise ValueError(f"no header in {len(memory)} bytes")
    header = json.loads(memory[_LENGTH_BYTES:start])
    metadata: dict[str, str] = dict(header["__metadata__"])
    found = metadata.pop(_DIGEST, None)
    header["__metadata__"] = metadata
    data = np.frombuffer(memory, np.uint8, offset=start)
    digest = _Digest(header)
    digest.update(data)
    if found != digest.hex():
        raise ValueError(f"its digest is {digest.hex()}, written down is {found}")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    tensors = {name: _view(data, entry) for name, entry in entries.items()}
    return TensorFile(metadata, tensors)


def _view(data: npt.NDArray[np.uint8], entry: Mapping[str, Any]) -> Array:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= data.size:
        raise ValueError(f"a tensor at bytes {begin} to {end} of {data.size}")
    return data[begin:end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])


class _Digest:
    """Of a header without its digest, then of the bytes."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._state = hashlib.blake2b(_canonical(header), digest_size=32)

    def update(self, array: Array) -> None:
        self._state.update(array.reshape(-1).view(np.uint8).data)

    def hex(self) -> str:
        return self._state.hexdigest()


def _canonical(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _place(item: tuple[str, Array]) -> tuple[bool, str]:
    """Aligned sizes first, then by name."""
    name, array = item
    return array.nbytes % ALIGNMENT != 0, name
