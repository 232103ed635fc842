"""Measured schedules in a file: what `edgec tune` writes and the compiler reads.

One line of JSON for each layer that was measured on a machine with a number of threads:

    {"version": 1, "target": "x86-64-v4 …", "threads": 2, "layer": "sq.conv …",
     "family": "dense", "settings": {"chunk": 3, "filters": 12, "vectors": 2},
     "ms": 0.31, "default_ms": 0.33, "count": 32}

Lines are appended by single writes, so several processes may share a file; `locked`
lets one of them at a time decide what to do next. Of several lines for one layer the
last one counts: it was measured of more schedules, or because the one before was not
believed. Milliseconds of lines are no reason to choose: the clock drifts between them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.errors import InvalidInput
from edgec.target import Target

VERSION = 1
"""Grows when the meaning of a line changes."""


@dataclass(frozen=True)
class Entry:
    """One line."""

    target: str
    """`fingerprint` of the machine."""
    threads: int
    layer: str
    """What the layer computes, as text."""
    family: str
    settings: Mapping[str, int]
    """The schedule; empty where a family has none."""
    ms: float
    """Milliseconds of a program of the layer alone."""
    default_ms: float
    """The same for the schedule that is taken without a log."""
    count: int
    """Schedules that were measured."""
    where: str = field(default="tuning log", compare=False)
    """File and line, for messages."""

    def to_json(self) -> str:
        """The line, without its end."""
        names = ("target", "threads", "layer", "family", "settings")
        fields = {name: getattr(self, name) for name in names}
        fields["settings"] = dict(sorted(self.settings.items()))
        numbers = {"ms": self.ms, "default_ms": self.default_ms, "count": self.count}
        return json.dumps({"version": VERSION, **fields, **numbers})


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "target": str,
    "threads": int,
    "layer": str,
    "family": str,
    "settings": dict,
    "ms": (int, float),
    "default_ms": (int, float),
    "count": int,
}


def fingerprint(target: Target) -> str:
    """What measurements on a target depend on, but for the number of threads."""
    features = hashlib.blake2b(target.llvm_features.encode(), digest_size=4).hexdigest()
    caches = f"l1d={target.l1d_bytes} l2={target.l2_bytes}"
    registers = f"{target.registers}x{target.lanes}"
    return f"{target.triple} {target.cpu} {registers} {caches} features={features}"


def read_log(path: str | os.PathLike[str]) -> list[Entry]:
    """All entries, in order; empty lines do not count.

    Raises `InvalidInput` naming the file, and the line that is wrong.
    """
    try:
        text = Path(path).read_bytes().decode(errors="replace")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(
            f"tuning log '{path}' cannot be read: {reason}; give a file that edgec "
            "tune wrote"
        ) from error
    lines = enumerate(text.split("\n"), start=1)
    return [_entry(f"{path}:{k}", line) for k, line in lines if line.strip()]


def _entry(where: str, line: str) -> Entry:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:  # also for numbers of many digits
        raise InvalidInput(
            f"{where}: not a line of JSON: {error}; remove that line, which is what a "
            "stopped or foreign program leaves; edgec tune measures its layer again"
        ) from error
    if not isinstance(fields, dict) or "version" not in fields:
        raise InvalidInput(f"{where}: must be an object with a `version`")
    stored: dict[str, Any] = fields  # pyright: ignore[reportUnknownVariableType] JSON
    version = stored.pop("version")
    if version != VERSION:
        raise InvalidInput(
            f"{where}: `version` must be {VERSION}, got {version!r}; run edgec tune "
            "again, with a new file"
        )
    if set(stored) != set(_TYPES):
        raise InvalidInput(
            f"{where}: must have the fields {sorted(_TYPES)}, got {sorted(stored)}"
        )
    for name, kind in _TYPES.items():
        value = stored[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InvalidInput(f"{where}: `{name}` has the wrong type: {value!r}")
        if kind is not str and kind is not dict and not value > 0:
            raise InvalidInput(f"{where}: `{name}` must be positive, got {value!r}")
    for name, value in stored["settings"].items():
        if type(value) is not int:
            raise InvalidInput(f"{where}: setting `{name}` must be an integer")
    return Entry(**stored, where=where)


def best_entries(
    entries: Iterable[Entry], target: Target, threads: int
) -> dict[str, Entry]:
    """Layer → the last entry of it for a machine and a number of threads."""
    mine = fingerprint(target), threads
    return {each.layer: each for each in entries if (each.target, each.threads) == mine}


@contextmanager
def locked(path: str | os.PathLike[str]) -> Generator[None]:
    """Keep other processes out that lock the same file; makes the file.

    The system takes the lock back from a process that ends, however it does.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def check_log(path: str | os.PathLike[str]) -> None:
    """Raise `InvalidInput` for a log that cannot be written or read; makes nothing.

    Measuring takes long, so that this is found out before.
    """
    log = Path(path)
    if log.exists():
        read_log(log)
    reason = None if log.parent.is_dir() else "its folder does not exist"
    if reason is None and not os.access(log if log.exists() else log.parent, os.W_OK):
        reason = "permission denied"
    if reason is not None:
        raise InvalidInput(
            f"tuning log '{path}' cannot be written: {reason}; give a file in a folder "
            "that can be written"
        )


def append(path: str | os.PathLike[str], entry: Entry) -> None:
    """Add a line, in one write, at the end of the file; makes the file.

    All of it, or nothing: if the disk is full, `OSError`, and what fitted is cut off.
    """
    line = (entry.to_json() + "\n").encode()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line  # the last line was cut, or written by hand
        written = os.write(file, line)
        if written != len(line):
            if os.fstat(file).st_size == size + written:  # nobody wrote meanwhile
                os.ftruncate(file, size)
            raise OSError(f"only {written} of {len(line)} bytes fit into '{path}'")
    finally:
        os.close(file)
