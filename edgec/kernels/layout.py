"""How a tensor lies in its buffer, as plain numbers.

`Layout` is the meaning of `#sq.lane` and of the plain row-major order, for kernels:
strides, origin, and where the gaps are that must be kept zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from xdsl.dialects import func
from xdsl.ir import BlockArgument, SSAValue

from edgec.dialects.bf16 import PAIR
from edgec.dialects.lane import QUAD
from edgec.dialects.nn import shape_of, tensor_type
from edgec.dialects.sq import (
    LaneAttr,
    StridedAttr,
    has_bf16,
    layout_of,
    quant_type,
)

SLACK = 64
"""Elements after the last one of an arena buffer that kernels may read: one widest tile
tail (4 registers of 16 lanes)."""


@dataclass(frozen=True)
class Layout:
    """A tensor's place in its buffer; all numbers count elements.

    Element `index` stands at `origin + sum(index[i] * strides[i])` (without phases).
    Planes are what follows images and channels: rows, of slices if the rank is 5.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    origin: int = 0
    phase: tuple[int, ...] = (1, 1)
    """Of the last dimensions; the others are not split."""
    slack: int = 0
    size: int | None = None
    """Elements of the buffer, if the tensor is not alone in it or lies in another
    order: `#sq.strided`."""

    @property
    def is_plain(self) -> bool:
        """Row-major without gaps."""
        return self == plain(self.shape) or self == plain(self.shape, self.slack)

    @property
    def is_split(self) -> bool:
        """Whether planes are split into phases."""
        return math.prod(self.phase) > 1

    @property
    def phases(self) -> tuple[int, ...]:
        """Into how many phases each dimension is split."""
        return ((1,) * len(self.shape) + self.phase)[len(self.phase) :]

    @property
    def phase_strides(self) -> tuple[int, ...]:
        """Elements from one phase of each dimension to the next."""
        if not self.is_split:
            return (0,) * len(self.shape)
        after = (math.prod(self.phases[d + 1 :]) for d in range(len(self.shape)))
        return tuple(count * self.plane for count in after)

    @property
    def pitch(self) -> int:
        """Elements from one row to the next."""
        return self.strides[-2]

    @property
    def plane(self) -> int:
        """Elements from one channel (or phase of a channel) to the next."""
        return self.strides[1] // math.prod(self.phase)

    @property
    def slices(self) -> int:
        """Depth slices of one phase plane; 1 if there is no depth."""
        return 1 if len(self.shape) == 4 else -(-self.shape[2] // self.phases[2])

    @property
    def slab(self) -> int:
        """Rows from one depth slice to the next."""
        return self.height if len(self.shape) == 4 else self.strides[2] // self.pitch

    @property
    def height(self) -> int:
        """Rows of one slice of a phase plane that hold values."""
        return -(-self.shape[-2] // self.phases[-2])

    @property
    def rows(self) -> int:
        """Rows of one phase plane, from the first to the last that holds values."""
        return (self.slices - 1) * self.slab + self.height

    @property
    def columns(self) -> int:
        """Columns of one phase plane that hold values."""
        return -(-self.shape[-1] // self.phases[-1])

    @property
    def row_gap(self) -> int:
        """Zero elements after each row."""
        return self.pitch - self.columns

    @property
    def has_gaps_inside(self) -> bool:
        """Whether positions between the first and the last row hold no values."""
        return self.rows * self.pitch > self.slices * self.height * self.columns

    @property
    def plane_gap(self) -> int:
        """Zero elements after the last row of each plane."""
        return self.plane - self.rows * self.pitch

    @property
    def elements(self) -> int:
        """Size of the whole buffer, slack included."""
        if self.size is not None:
            return self.size
        if not self.shape:
            return 1 + self.slack
        if not self.is_split and self.origin == 0 and self.is_dense:
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


def in_planes(place: Layout) -> Layout:
    """A tensor of rank 2 or 3 as one of rank 4, whose planes have one row."""
    size = place.shape[2:]
    if len(size) > 1:
        return place
    batch, channels = place.shape[:2]
    length, step = (size[0], place.strides[2]) if size else (1, 1)
    return replace(
        place,
        shape=(batch, channels, 1, length),
        strides=(*place.strides[:2], length, step),
    )


def slack_of(value: SSAValue) -> int:
    """Elements that may be read after the tensor: none in a caller's own buffers.

    These are the arguments of `@main`, and results that nobody else uses.
    """
    if isinstance(value, BlockArgument):
        return 0
    uses = list(value.uses)
    is_result = len(uses) == 1 and isinstance(uses[0].operation, func.ReturnOp)
    return 0 if is_result else SLACK


def channels_of_lane(value: SSAValue) -> int:
    """How many channels of one position share 32 bits of a tensor's buffer.

    Four in the quads of a quantized tensor, two in the pairs of a bf16 one, if it has
    channels.
    """
    if len(shape_of(value)) < 2:
        return 1
    return QUAD if quant_type(value) is not None else PAIR if has_bf16(value) else 1


def is_in_lanes(value: SSAValue) -> bool:
    """Whether several channels share an i32 of the buffer."""
    return channels_of_lane(value) > 1


def stored_shape(value: SSAValue) -> tuple[int, ...]:
    """The shape of what the buffer of a tensor holds: quads, pairs or elements."""
    shape, held = shape_of(value), channels_of_lane(value)
    return shape if held == 1 else (shape[0], -(-shape[1] // held), *shape[2:])


def layout(value: SSAValue) -> Layout:
    """The layout of a tensor value of `@main`; of its quads or pairs, if it has any."""
    type_ = tensor_type(value)
    shape = stored_shape(value)
    if isinstance(type_.encoding, StridedAttr):
        return strided_layout(shape, type_.encoding)
    encoding = layout_of(value)
    if encoding is None:
        return plain(shape, slack_of(value))
    return lane_layout(shape, encoding)


def strided_layout(shape: tuple[int, ...], encoding: StridedAttr) -> Layout:
    """The layout that `#sq.strided` gives a tensor."""
    strides, origin = tuple(encoding.strides.get_values()), encoding.origin.value.data
    return Layout(shape, strides, origin, size=encoding.elements.value.data)


def lane_layout(shape: tuple[int, ...], encoding: LaneAttr) -> Layout:
    """The layout that `#sq.lane` gives a tensor of rank 4 or, with a slab, 5."""
    phase = tuple(encoding.phase.get_values())
    plane = encoding.plane.value.data * math.prod(phase)
    pitch, slab = encoding.pitch.value.data, encoding.slab_rows
    slice_ = () if slab is None else (slab * pitch,)
    strides = (shape[1] * plane, plane, *slice_, pitch, 1)
    return Layout(shape, strides, encoding.origin.value.data, phase, SLACK)
