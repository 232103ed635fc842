"""Files in the safetensors format, laid out for mapping into memory.

Such a file is a length, a JSON header and raw bytes; any safetensors reader takes the
ones written here. Two things are added to the format. The bytes begin at a multiple of
64 and arrays whose size is a multiple of 64 come first, so that these are aligned where
they stand. And the metadata holds a digest of all else, so that damage is found.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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
_METADATA = "__metadata__"
_DIGEST = "digest"
_ZIP = b"PK\x03\x04"
_NUMPY = b"\x93NUMPY"


@dataclass(frozen=True)
class TensorFile:
    """What is in a file."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Array]


def write_tensors(path: Path, content: TensorFile) -> None:
    """Write a file; readers see the old one, or none, or all of the new one.

    The same content gives the same bytes. Raises `OSError` if it cannot be written.
    """
    if not path.parent.is_dir():
        reason = f"there is no folder '{path.parent}'"
        raise FileNotFoundError(errno.ENOENT, reason, str(path))
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
    parts = [size.to_bytes(_LENGTH_BYTES, "little") + head.ljust(size)]
    parts += [array.reshape(-1).view(np.uint8).data for _, array in arrays]
    try:
        _write(path, parts)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(path: Path, parts: Sequence[bytes | memoryview]) -> None:
    """Write beside the place and rename; a link stays one, to another file."""
    # Asked of the link: what /dev/stdout points at may have no name of its own.
    if path.exists() and not (path.is_file() or path.is_dir()):
        # A device or a pipe, such as /dev/null, is written to and not replaced.
        with path.open("wb") as file:
            file.writelines(parts)
        return
    path = path.resolve()
    temporary = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> TensorFile:
    """Map a file; its arrays are read-only views into the mapping.

    Raises `InvalidArtefact` if it cannot be read, is no file of this format, was
    written by others, or is damaged.
    """
    memory = _map(path)
    header, start = _header(path, memory)
    data = np.frombuffer(memory, np.uint8, offset=start)
    try:
        return _parse(path, header, data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArtefact(
            f"'{path}' is damaged: its header does not describe its content"
        ) from error


def read_metadata(path: Path) -> Mapping[str, str]:
    """The metadata alone, which says what a file is; damage in it is not looked for.

    Raises `InvalidArtefact` if it cannot be read or is no file of this format.
    """
    return _metadata(path, _header(path, _map(path))[0])


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                raise InvalidArtefact(f"'{path}' is empty")
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidArtefact(f"'{path}' cannot be read: {reason}") from error


def _header(path: Path, memory: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header, and where the bytes begin."""
    if memory[:4] == _ZIP:
        raise InvalidArtefact(
            f"'{path}' is no compiled model but a zip archive, as .pt2 files are; "
            "compile it first"
        )
    if memory[: len(_NUMPY)] == _NUMPY:
        raise InvalidArtefact(
            f"'{path}' is no compiled model but an array of numpy, as .npy files are; "
            "give the file that edgec compile wrote"
        )
    size = int.from_bytes(memory[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + size
    if len(memory) < _LENGTH_BYTES or size > _MAX_HEADER_BYTES or start > len(memory):
        raise InvalidArtefact(
            f"'{path}' is truncated or no compiled model: no header is in its "
            f"{len(memory)} bytes"
        )
    try:
        header = json.loads(memory[_LENGTH_BYTES:start])
    except ValueError as error:  # of JSON or of UTF-8
        raise InvalidArtefact(
            f"'{path}' is damaged or no compiled model: its header is not JSON"
        ) from error
    if not isinstance(header, dict):
        raise InvalidArtefact(
            f"'{path}' is damaged or no compiled model: its header is not a JSON object"
        )
    return cast("dict[str, Any]", header), start  # JSON has no other keys


def _metadata(path: Path, header: Mapping[str, Any]) -> dict[str, str]:
    """What the header says about the whole file."""
    metadata = header.get(_METADATA, {})
    if not isinstance(metadata, dict) or _DIGEST not in metadata:
        raise InvalidArtefact(
            f"'{path}' is a safetensors file but no compiled model: edgec did not "
            "write it, or its header is damaged"
        )
    return cast("dict[str, str]", metadata)  # the format has nothing but text in it


def _parse(
    path: Path, header: Mapping[str, Any], data: npt.NDArray[np.uint8]
) -> TensorFile:
    """The content of a file; several errors if the header is of something else."""
    metadata = dict(_metadata(path, header))
    found = metadata.pop(_DIGEST)
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    size = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if data.size < size:
        raise InvalidArtefact(
            f"'{path}' is truncated: {data.size:,} of {size:,} bytes of arrays are left"
        )
    digest = _Digest({**header, _METADATA: metadata})
    digest.update(data)
    if found != digest.hex():
        raise InvalidArtefact(
            f"'{path}' is damaged: its content does not have the digest that was "
            "written with it"
        )
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
