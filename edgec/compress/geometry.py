"""What a scheme needs to know of a layer, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Kind = Literal["convolution", "linear", "recurrent"]


@dataclass(frozen=True)
class Geometry:
    """The shape of a weight `[filters, channels, *window]`."""

    kind: Kind
    filters: int
    """Output channels, of all groups; rows of a matrix."""
    channels: int
    """Input channels of one group; columns of a matrix."""
    window: tuple[int, ...] = ()
    """Extent of a kernel; empty for a matrix."""
    groups: int = 1

    @property
    def taps(self) -> int:
        """Positions of a kernel; 1 for a matrix."""
        return math.prod(self.window)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Filters, channels, taps: the shape in which schemes see the weight."""
        return self.filters, self.channels, self.taps

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def is_depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.groups > 1 and self.channels == 1
