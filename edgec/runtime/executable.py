"""A compiled model as a Python callable on numpy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from edgec.errors import InvalidInput
from edgec.runtime.buffers import (
    ALIGNMENT,
    Workspace,
    WorkspacePool,
    address_of,
    aligned_empty,
    writable_address,
)
from edgec.runtime.threads import OpenMP, check_threads, find_openmp

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def describe(self) -> str:
        """Shape and type in one phrase, for messages."""
        return f"{self.dtype} of shape {self.shape}"


@dataclass(frozen=True)
class ProgramSpec:
    """What a compiled program is called with and the memory it needs."""

    inputs: tuple[TensorSpec, ...]
    """What each call must be given, in order."""
    outputs: tuple[TensorSpec, ...]
    """What each call returns, in order."""
    arena_bytes: int
    """Memory for activations, shared by the threads of one call."""
    scratch_bytes_per_thread: int
    """Memory that each thread has for itself."""


class Executable:
    """Native code with its weights, called with arrays.

    Calls are re-entrant: each has memory of its own, and Python's lock is released
    while native code runs. Results do not depend on `threads` unless the code does.

    Args:
        entry: address of `edgec_entry`.
        spec: its inputs, outputs and memory.
        weights: arrays in the order of the code's weight table. One that is not
            contiguous or not aligned to 64 bytes is copied once; others are shared.
        code: whatever keeps `entry` valid; held as long as the executable lives.
        threads: how many threads run one call; more than one needs an OpenMP runtime.
    """

    def __init__(
        self,
        entry: int,
        spec: ProgramSpec,
        weights: Sequence[Array],
        *,
        code: object,
        threads: int = 1,
    ) -> None:
        self.spec = spec
        self.threads = threads
        self._code = code
        self._weights = tuple(_aligned(array) for array in weights)
        addresses = [address_of(array) for array in self._weights]
        self._weight_table = (ctypes.c_void_p * len(addresses))(*addresses)
        self._openmp = _openmp_for(threads)
        self._workspaces = WorkspacePool(self._make_workspace)
        self._entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(entry)

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run the model once.

        An input with any strides is taken; one that is not C-contiguous is copied
        first. Types are never converted. The outputs are new arrays, aligned to 64
        bytes. Raises `InvalidInput` naming the input that does not fit.
        """
        if len(inputs) != len(self.spec.inputs):
            names = ", ".join(f"'{spec.name}'" for spec in self.spec.inputs)
            raise InvalidInput(
                f"expected {len(self.spec.inputs)} inputs ({names}), got {len(inputs)}"
            )
        arrays = [
            _checked(array, spec)
            for array, spec in zip(inputs, self.spec.inputs, strict=True)
        ]
        return self.run([address_of(array) for array in arrays], arrays)

    def run(self, addresses: Sequence[int], held: object) -> list[Array]:
        """Run the model once on inputs at these addresses; nothing is checked.

        They are as `spec` says, in C order; `held` is what keeps them there.
        """
        results = [aligned_empty(spec.shape, spec.dtype) for spec in self.spec.outputs]
        workspace = self._workspaces.take()
        args = workspace.args
        for index, address in enumerate((*addresses, *map(writable_address, results))):
            args[index] = address
        if self._openmp is None:
            self._entry(workspace.frame_address)
        else:
            self._openmp.run(lambda: self._start_team(workspace, held, results))
        self._workspaces.give_back(workspace)
        return results

    def _start_team(self, workspace: Workspace, *_held: object) -> None:
        """Run native code, holding the arrays until it is done."""
        self._entry(workspace.frame_address)

    @property
    def weights(self) -> tuple[Array, ...]:
        """The arrays that native code reads, in the order of its table."""
        return self._weights

    def num_idle_workspaces(self) -> int:
        """Sets of buffers that wait for a call: as many as calls ever overlapped."""
        return self._workspaces.num_free()

    def _make_workspace(self) -> Workspace:
        workspace = Workspace(
            self.spec.arena_bytes,
            self.spec.scratch_bytes_per_thread,
            self.threads,
            len(self.spec.inputs) + len(self.spec.outputs),
        )
        frame = workspace.frame
        frame.weights = ctypes.addressof(self._weight_table)
        if self._openmp is not None:
            frame.barrier = self._openmp.barrier
            frame.parallel = self._openmp.parallel
            frame.thread_num = self._openmp.thread_num
            frame.num_threads = self._openmp.num_threads
        return workspace


def _openmp_for(threads: int) -> OpenMP | None:
    """The runtime that a team of `threads` needs: none for one thread."""
    check_threads(threads)
    if threads == 1:
        return None
    openmp = find_openmp()
    if openmp is None:
        raise InvalidInput(
            f"`threads` is {threads}, but this process has no OpenMP runtime and the "
            "system has no libgomp.so.1; install it, import torch first, or use 1"
        )
    return openmp


def _checked(value: object, spec: TensorSpec) -> Array:
    """`value` as the native code needs it, or an error that names the input."""
    if not is_array(value):
        raise InvalidInput(
            f"input '{spec.name}' must be a numpy array, {spec.describe()}; got "
            f"{type(value).__name__}"
        )
    if value.dtype != spec.dtype or value.shape != spec.shape:
        raise InvalidInput(
            f"input '{spec.name}' must be {spec.describe()}; got {value.dtype} of "
            f"shape {value.shape}"
        )
    return value if value.flags.c_contiguous else np.ascontiguousarray(value)


def is_array(value: object) -> TypeGuard[Array]:
    """Whether `value` is numpy's, of whatever element type."""
    return isinstance(value, np.ndarray)


def _aligned(array: Array) -> Array:
    """`array` itself if it is contiguous and aligned, else a copy that is."""
    if array.flags.c_contiguous and address_of(array) % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy
