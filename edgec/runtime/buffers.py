"""Memory for calls: aligned, and pooled so that calls may overlap in time.

A call needs an arena (all activations) and scratch (per thread). Both come from a
`Workspace`; an executable keeps a pool of them and each call takes one for itself.
Sequential calls reuse one; as many exist as calls ever ran at the same time.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

ALIGNMENT = 64
"""Bytes of a cache line and of the widest vector register."""
HUGE_PAGE = 1 << 21
"""Bytes of a huge page, on x86-64 and usually on Arm; smaller blocks are numpy's."""


def address_of(array: npt.NDArray[np.generic]) -> int:
    """Where the first element of `array` stands."""
    address: int = array.__array_interface__["data"][0]
    return address


def writable_address(array: npt.NDArray[np.generic]) -> int:
    """The same of a contiguous array that may be written to, in a third of the time.

    0 for one without elements.
    """
    if not array.nbytes:
        return 0
    # Any: numpy's types have buffers from Python 3.12 on only.
    block: Any = array
    return ctypes.addressof(ctypes.c_char.from_buffer(block))


def aligned_zeros(size: int) -> Bytes:
    """`size` zero bytes that begin at a multiple of `ALIGNMENT`.

    Zeros, so that what a kernel reads in padding is the same in every run and never a
    denormal number, which is slow. Untouched pages cost nothing.
    """
    if size >= HUGE_PAGE:
        return _huge_zeros(size)
    block = np.zeros(size + ALIGNMENT, np.uint8)
    offset = -address_of(block) % ALIGNMENT
    return block[offset : offset + size]


def _huge_zeros(size: int) -> Bytes:
    """Fresh zero bytes on huge pages, where the system has them.

    Kernels read lines of hundreds of planes in turn, each on a small page of its own,
    more than the processor remembers addresses of. Memory that the process used before
    would stay on the small pages that it was on.

    Private: Python's maps are shared by default, so that a forked process would write
    into its parent's tensors, and systems rarely give such memory huge pages.
    """
    length = round_up(size, HUGE_PAGE) + HUGE_PAGE
    space = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A system without huge pages refuses; small ones are right too.
        with suppress(OSError):
            space.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(space, np.uint8)
    offset = -address_of(block) % HUGE_PAGE
    return block[offset : offset + size]


def aligned_empty(
    shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> npt.NDArray[np.generic]:
    """An array with undefined content that begins at a multiple of `ALIGNMENT`."""
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    if size >= HUGE_PAGE:
        return np.ndarray(shape, dtype, _huge_zeros(size))
    block = np.empty(size + ALIGNMENT, np.uint8)
    offset = -writable_address(block) % ALIGNMENT
    return np.ndarray(shape, dtype, block, offset)


def gathered(
    arrays: Sequence[npt.NDArray[np.generic]],
) -> list[npt.NDArray[np.generic]]:
    """Read-only copies that stand one after the other in one block, each aligned.

    The block lies on huge pages; weights in arrays of their own would lie on small
    ones, whose addresses the processor cannot all remember.
    """
    places = [0]
    for array in arrays:
        places.append(round_up(places[-1] + array.nbytes, ALIGNMENT))
    block = aligned_empty((max(1, places[-1]),), np.dtype(np.uint8))
    copies: list[npt.NDArray[np.generic]] = []
    for array, place in zip(arrays, places, strict=False):
        copy = block[place : place + array.nbytes].view(array.dtype)
        copy = copy.reshape(array.shape)
        np.copyto(copy, array)
        copy.flags.writeable = False
        copies.append(copy)
    return copies


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


class CallFrame(ctypes.Structure):
    """The argument of the native entry; `edgec/codegen/entry.py` has its meaning."""

    _fields_ = (
        ("nthreads", ctypes.c_int64),
        ("args", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("scratch_stride", ctypes.c_int64),
        ("barrier", ctypes.c_void_p),
        ("parallel", ctypes.c_void_p),
        ("thread_num", ctypes.c_void_p),
        ("num_threads", ctypes.c_void_p),
    )


class Workspace:
    """What one call has for itself: arena, scratch, and the frame that names them."""

    def __init__(
        self,
        arena_bytes: int,
        scratch_bytes_per_thread: int,
        threads: int,
        num_args: int,
    ) -> None:
        # Neighbouring cache lines are fetched in pairs: two lines keep threads apart.
        stride = round_up(scratch_bytes_per_thread, 2 * ALIGNMENT)
        self.arena = aligned_zeros(arena_bytes)
        self.scratch = aligned_zeros(stride * threads)
        self.args = (ctypes.c_void_p * num_args)()
        self.frame = CallFrame(
            nthreads=threads,
            args=ctypes.addressof(self.args),
            arena=address_of(self.arena),
            scratch=address_of(self.scratch),
            scratch_stride=stride,
        )
        self.frame_address = ctypes.addressof(self.frame)


class WorkspacePool:
    """Workspaces that are not in use; safe to use from several threads."""

    def __init__(self, make: Callable[[], Workspace]) -> None:
        self._make = make
        # deque.pop and deque.append are atomic, so no lock is held on the fast path.
        self._free: deque[Workspace] = deque()

    def take(self) -> Workspace:
        """A workspace that no one else has until it is given back."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give_back(self, workspace: Workspace) -> None:
        """Return what `take` gave."""
        self._free.append(workspace)

    def num_free(self) -> int:
        """How many workspaces wait for a call."""
        return len(self._free)
