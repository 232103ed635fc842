"""How a tensor lies in its buffer, as plain numbers.

`Layout` is the meaning of `#sq.lane` and of the plain row-major order, for kernels:
strides, origin, and where the gaps are that must be kept zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import BlockArgument, SSAValue

from edgec.dialects.nn import tensor_type
from edgec.dialects.sq import LaneAttr, layout_of

SLACK = 64
"""Elements after the last one of an arena buffer that kernels may read: one widest tile
tail (4 registers of 16 lanes)."""


@dataclass(frozen=True)
class Layout:
    """A tensor's place in its buffer; all numbers count elements.

    Element `index` stands at `origin + sum(index[i] * strides[i])` (for phase (1, 1)).
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    origin: int = 0
    phase: tuple[int, int] = (1, 1)
    slack: int = 0

    @property
    def is_plain(self) -> bool:
        """Row-major without gaps."""
        return self == plain(self.shape) or self == plain(self.shape, self.slack)

    @property
    def pitch(self) -> int:
        """Elements from one row to the next (rank 4)."""
        return self.strides[2]

    @property
    def plane(self) -> int:
        """Elements from one channel (or phase of a channel) to the next (rank 4)."""
        return self.strides[1] // (self.phase[0] * self.phase[1])

    @property
    def rows(self) -> int:
        """Rows of one phase plane."""
        return -(-self.shape[2] // self.phase[0])

    @property
    def columns(self) -> int:
        """Columns of one phase plane that hold values."""
        return -(-self.shape[3] // self.phase[1])

    @property
    def row_gap(self) -> int:
        """Zero elements after each row (rank 4)."""
        return self.pitch - self.columns

    @property
    def plane_gap(self) -> int:
        """Zero elements after the last row of each plane (rank 4)."""
        return self.plane - self.rows * self.pitch

    @property
    def elements(self) -> int:
        """Size of the whole buffer, slack included."""
        if not self.shape:
            return 1 + self.slack
        if self.phase == (1, 1) and self.origin == 0 and self.is_dense:
            return math.prod(self.shape) + self.slack
        return self.origin + self.shape[0] * self.strides[0] + self.slack

    @property
    def is_dense(self) -> bool:
        """Strides are those of row-major order."""
        return self.strides == plain(self.shape).strides


def plain(shape: tuple[int, ...], slack: int = 0) -> Layout:
    """Row-major without gaps."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return Layout(shape, tuple(reversed(strides)), slack=slack)


def slack_of(value: SSAValue) -> int:
    """Elements that may be read after the tensor: none in a caller's own buffers.

    These are the arguments of `@main`, and results that nobody else uses.
    """
    if isinstance(value, BlockArgument):
        return 0
    uses = list(value.uses)
    is_result = len(uses) == 1 and isinstance(uses[0].operation, func.ReturnOp)
    return 0 if is_result else SLACK


def layout(value: SSAValue) -> Layout:
    """The layout of a tensor value of `@main`."""
    shape = tensor_type(value).get_shape()
    encoding = layout_of(value)
    if encoding is None:
        return plain(shape, slack_of(value))
    return lane_layout(shape, encoding)


def lane_layout(shape: tuple[int, ...], encoding: LaneAttr) -> Layout:
    """The layout that `#sq.lane` gives a tensor of rank 4."""
    sy, sx = encoding.phase.get_values()
    plane = encoding.plane.value.data * sy * sx
    return Layout(
        shape,
        (shape[1] * plane, plane, encoding.pitch.value.data, 1),
        encoding.origin.value.data,
        (sy, sx),
        SLACK,
    )
