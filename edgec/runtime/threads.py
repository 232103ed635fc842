"""Threads, from the OpenMP runtime that is already in the process.

edgec has no thread pool of its own: two pools in one process fight for the cores. It
calls GOMP_parallel and GOMP_barrier of the runtime that torch brought, or of the
system's libgomp if none is loaded. A program for one thread needs neither.

Without any OpenMP runtime, `find_openmp` returns None and an executable works with one
thread only; asking for more is an error, not a silent slowdown.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import InvalidInput
from edgec.target import MAX_THREADS, usable_cores

RUNTIME_NAMES = ("libgomp", "libiomp5", "libomp")
"""How files of OpenMP runtimes begin; the latter two offer GOMP's functions as well."""

SYSTEM_RUNTIME = "libgomp.so.1"
"""What the dynamic loader is asked for if no runtime is loaded."""


@dataclass(frozen=True)
class OpenMP:
    """Addresses of the functions of one OpenMP runtime; it is never unloaded."""

    path: str
    """The file it was loaded from."""
    parallel: int
    """`GOMP_parallel(void (*)(void *), void *, unsigned threads, unsigned flags)`."""
    barrier: int
    """`GOMP_barrier(void)`."""
    thread_num: int
    """`omp_get_thread_num(void)`."""
    num_threads: int
    """`omp_get_num_threads(void)`."""

    def check_process(self) -> None:
        """Raise `InvalidInput` where starting a team would never end.

        libgomp keeps threads for the next team. A forked process has a copy of the
        list but not the threads, and waits for them. Other runtimes clean up in it.
        """
        process = os.getpid()
        if process in _PROCESSES_WITH_TEAMS:
            return
        if _PROCESSES_WITH_TEAMS and Path(self.path).name.startswith("libgomp"):
            raise InvalidInput(
                "this process was forked after a call with several threads, and "
                "OpenMP's threads are not forked with it; load the model with "
                "`threads=1` here, or start processes with 'spawn' or 'forkserver'"
            )
        _PROCESSES_WITH_TEAMS.add(process)


_PROCESSES_WITH_TEAMS: set[int] = set()
"""Ids of this process and those it was forked from, once they have started a team.
What they are is a fact about processes, so it is one for all executables."""


def check_threads(threads: object) -> None:
    """Raise `InvalidInput` unless `threads` is a number of threads."""
    is_number = isinstance(threads, int) and not isinstance(threads, bool)
    if not (is_number and threads in range(1, MAX_THREADS + 1)):
        raise InvalidInput(
            f"`threads` must be a number from 1 to {MAX_THREADS}, got {threads!r}"
        )


def default_threads() -> int:
    """The processors this process may run on, after `taskset` and the like.

    At most `MAX_THREADS`, as many as code can have.
    """
    return min(usable_cores(), MAX_THREADS)


def find_openmp(
    maps: Path = Path("/proc/self/maps"), system_runtime: str = SYSTEM_RUNTIME
) -> OpenMP | None:
    """The OpenMP runtime to use, or None if there is none.

    `maps` lists the files mapped into this process, one per line in Linux' form. Of
    several loaded runtimes, torch's is taken: its threads are the ones that exist.
    """
    for path in [*loaded_runtimes(maps), system_runtime]:
        found = _open(path)
        if found is not None:
            return found
    return None


def loaded_runtimes(maps: Path) -> list[str]:
    """Paths of the OpenMP runtimes that are mapped, torch's first, then by name."""
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return []  # no such list on this system; the dynamic loader is asked next
    # address, permissions, offset, device, inode, path
    paths = {fields[5] for line in lines if len(fields := line.split(None, 5)) == 6}
    runtimes = [path for path in paths if Path(path).name.startswith(RUNTIME_NAMES)]
    return sorted(runtimes, key=lambda path: ("/torch/" not in path, path))


def _open(path: str) -> OpenMP | None:
    """The runtime in the file `path`, or None if it cannot be used."""
    try:
        library = ctypes.CDLL(path)
        return OpenMP(
            path=path,
            parallel=_address(library, "GOMP_parallel"),
            barrier=_address(library, "GOMP_barrier"),
            thread_num=_address(library, "omp_get_thread_num"),
            num_threads=_address(library, "omp_get_num_threads"),
        )
    except (OSError, AttributeError):
        return None  # not loadable, or without one of the functions


def _address(library: ctypes.CDLL, symbol: str) -> int:
    address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
    assert address is not None, f"'{symbol}' at address 0"
    return address
