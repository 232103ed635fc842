"""What one op becomes: a kernel spec and the buffers to launch it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.ir import SSAValue

Array = npt.NDArray[np.generic]


class KernelSpec(Protocol):
    """A frozen dataclass of plain values that describes one kernel."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel function, called `name`, for vectors of `lanes`."""
        ...


@dataclass(frozen=True, eq=False)
class Packed:
    """An array that the kernel reads, made at compile time."""

    name: str
    """A hint for its name in the weight store."""
    array: Array


@dataclass(frozen=True)
class Lowered:
    """A launch: the kernel, and its buffers in order, without the results."""

    spec: KernelSpec
    arguments: tuple[SSAValue | Packed, ...]
