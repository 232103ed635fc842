"""Compiled objects on disk, so that a model compiles once per machine.

An entry is one file named by a hash of everything the object depends on: the LLVM text,
every field of the target, the effort, and the versions of edgec and llvmlite. Reading
checks a second hash, of the content: a damaged entry is as good as none. Entries are
written beside their place and renamed into it, so that processes may share a folder.

The content is machine code that will run, so the folder must belong to the user (or to
root) and not be writable by everybody; it is made with access for the user only.
Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import edgec
from edgec.codegen.jit import compile_object
from edgec.codegen.llvm import LLVMLITE_VERSION
from edgec.errors import InvalidInput
from edgec.target import Target

DEFAULT_LIMIT_BYTES = 512 * 1024 * 1024
"""About a thousand models of 500 kB of code."""

_MAGIC = b"edgec object 1\n"
_DIGEST_BYTES = 32
_SUFFIX = ".o"
_TEMPORARY_SUFFIX = ".part"
_ABANDONED_AFTER_S = 3600.0
"""Age of a temporary file that no live process can still be writing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectCache:
    """A folder of compiled objects, bounded in size; the least recently used go first.

    Safe to use from several threads and processes. Raises `InvalidInput` if the folder
    cannot be trusted.
    """

    folder: Path
    """Where the entries are; made when the first one is written."""
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    """What all entries together may take; checked after each write."""

    def __post_init__(self) -> None:
        """Refuse a folder that others can write to."""
        if self.folder.exists():
            _check_trusted(self.folder)

    def compile(self, llvm_text: str, target: Target, opt: int = 3) -> bytes:
        """`compile_object`, or the bytes that it gave before."""
        key = cache_key(llvm_text, target, opt)
        stored = self.read(key)
        if stored is not None:
            return stored
        object_bytes = compile_object(llvm_text, target, opt)
        self.write(key, object_bytes)
        return object_bytes

    def read(self, key: str) -> bytes | None:
        """The object stored under `key`; None if there is none or it is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            os.utime(path)  # its place in the order of eviction
        except OSError:
            return None
        header = len(_MAGIC) + _DIGEST_BYTES
        body = content[header:]
        if content[:header] == _MAGIC + _digest(body):
            return body
        _log.warning("edgec: cache entry %s is damaged and will be made again", path)
        return None

    def write(self, key: str, object_bytes: bytes) -> None:
        """Store an object under `key`, then evict until all fit the limit.

        A folder that cannot be written (full, read-only) costs a warning in the log: it
        must not make compiling fail.
        """
        content = _MAGIC + _digest(object_bytes) + object_bytes
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_atomically(self._path(key), content)
            self._evict()
        except OSError as error:
            _log.warning(
                "edgec: cannot write the cache folder %s: %s; code will be made again "
                "each time: set XDG_CACHE_HOME to a folder that can be written",
                self.folder,
                error,
            )

    def _path(self, key: str) -> Path:
        return self.folder / (key + _SUFFIX)

    def _evict(self) -> None:
        """Remove the least recently used entries beyond the limit, and leftovers."""
        entries: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # evicted by another process meanwhile
            age_s = time.time() - status.st_mtime
            if path.suffix == _SUFFIX:
                entries.append((status.st_mtime, status.st_size, path))
            elif path.suffix == _TEMPORARY_SUFFIX and age_s > _ABANDONED_AFTER_S:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def cache_key(llvm_text: str, target: Target, opt: int) -> str:
    """A name for what compiling `llvm_text` for `target` gives: 64 hex digits."""
    # A set prints in a different order in every process.
    machine = replace(target, features=frozenset()), sorted(target.features)
    what = (edgec.__version__, LLVMLITE_VERSION, machine, opt)
    state = hashlib.blake2b(repr(what).encode(), digest_size=_DIGEST_BYTES)
    state.update(b"\0")
    state.update(llvm_text.encode())
    return state.hexdigest()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file, or none, or all of the new one."""
    handle, name = tempfile.mkstemp(suffix=_TEMPORARY_SUFFIX, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_trusted(folder: Path) -> None:
    """Raise `InvalidInput` unless only the user and root can put files in `folder`."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidInput(f"cache folder {folder} is not a folder")
    if status.st_uid not in (os.getuid(), 0):
        raise InvalidInput(
            f"cache folder {folder} belongs to user {status.st_uid}; it holds code "
            f"that will run, so it must belong to this user ({os.getuid()})"
        )
    if status.st_mode & stat.S_IWOTH:
        raise InvalidInput(
            f"cache folder {folder} is writable by everybody; it holds code that will "
            "run: remove that right (chmod o-w)"
        )
