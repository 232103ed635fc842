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
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
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

    def run(self, call: Callable[[], None]) -> None:
        """Call what starts a team.

        libgomp keeps threads for the next team of the same thread. The one thread of a
        forked process has a copy of that list, of which edgec, torch or others made use
        before, but not the threads, and would wait for them: the call is made from a
        thread that is new. Other runtimes clean up in a forked process.
        """
        process = os.getpid()
        is_first = threading.get_native_id() == process
        if is_first and self._is_libgomp and _is_forked(process):
            # `call` holds its memory, also if an interruption ends the waiting.
            _new_thread(process).submit(call).result()
        else:
            call()

    @cached_property
    def _is_libgomp(self) -> bool:
        return Path(self.path).name.startswith("libgomp")


_IMPORTED_IN = os.getpid()
_PF_FORKNOEXEC = 0x40
"""Flag of a Linux process that was forked and runs no program of its own."""


@cache
def _is_forked(process: int) -> bool:
    """Whether this process is a copy of another one, since the import or before."""
    if process != _IMPORTED_IN:
        return True
    try:
        stat = Path("/proc/self/stat").read_text()
    except OSError:
        return False  # no such file on this system
    # After the name in parentheses: state, four ids, group, flags.
    flags = int(stat.rpartition(")")[2].split()[6])
    return bool(flags & _PF_FORKNOEXEC)


@cache
def _new_thread(_process: int) -> ThreadPoolExecutor:
    """The thread that starts teams in a forked process."""
    return ThreadPoolExecutor(1, "edgec")


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
