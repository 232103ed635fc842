"""Arrays that end, or begin, exactly where memory may not be touched.

Reading or writing one byte beyond such an array kills the process, which no test could
report. So code under test runs in a process of its own: `run_guarded`.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Side = Literal["end", "begin"]

_PROT_NONE = 0
_ROOT = Path(__file__).parent.parent


def guarded_zeros(
    shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, side: Side = "end"
) -> Array:
    """Zeros whose last byte (or first, for side "begin") touches a forbidden page."""
    kind: np.dtype[np.generic] = np.dtype(dtype)
    size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
    page = mmap.PAGESIZE
    body = -(-max(size, 1) // page) * page
    block = mmap.mmap(-1, body + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    _forbid(address, page)
    _forbid(address + page + body, page)
    offset = page if side == "begin" else page + body - size
    # The array holds the mapping alive; it is never unmapped, the process is short.
    return np.ndarray(shape, kind, block, offset)


def guarded_copy(array: Array, side: Side = "end") -> Array:
    """A C-contiguous copy of `array` next to a forbidden page."""
    copy = guarded_zeros(array.shape, array.dtype, side)
    np.copyto(copy, array)
    return copy


def run_guarded(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that can `from tests.guard import …`, in a process of its own.

    A return code of -11 (or -7) means that it touched a forbidden page.
    """
    environment = dict(os.environ, PYTHONPATH=str(_ROOT), OMP_NUM_THREADS="2")
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def _forbid(address: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), _PROT_NONE) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
