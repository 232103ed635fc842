"""Where the taps of a convolution lie in a lane layout.

With rows of one pitch on both sides, output position `p = y * pitch + x` reads the
input at `p + offset` for a constant offset per tap; a stride becomes a split into
phases. So it is with depth slices that lie one number of rows apart. This file computes
the offsets and how much zero padding they reach into.

Source: the flat-position view of direct convolution is folklore; the split into phases
is the polyphase decomposition of signal processing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from edgec.dialects import nn, sq
from edgec.kernels.layout import Layout


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution, by axis: (slices, if there are any, rows, columns)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def is_strided(self) -> bool:
        """Whether neighbouring results read inputs that are not neighbours."""
        return max(self.stride) > 1

    def step(self, axis: int, tap: int) -> tuple[int, int]:
        """Phase of a tap along one axis and its distance in that phase."""
        distance = tap * self.dilation[axis] - self.low[axis]
        return distance % self.stride[axis], distance // self.stride[axis]

    def reach(self, axis: int, size: int, result: int) -> tuple[int, int]:
        """Zero positions read before and after a phase of an axis of `size`.

        `result` is the size of the output along that axis.
        """
        before, after = 0, 0
        for tap in range(self.kernel[axis]):
            phase, distance = self.step(axis, tap)
            held = max(0, -(-(size - phase) // self.stride[axis]))
            before = max(before, -distance)
            after = max(after, result - 1 + distance - (held - 1))
        return before, after

    def direct_reach(self, axis: int, size: int, result: int) -> tuple[int, int]:
        """As `reach`, for a kernel that reads the input without a split."""
        last = (result - 1) * self.stride[axis]
        span = (self.kernel[axis] - 1) * self.dilation[axis]
        after = last + span - self.low[axis] - (size - 1)
        return self.low[axis], max(0, after)

    def direct_offsets(self, source: Layout) -> tuple[int, ...]:
        """Offset of each tap from `y stride pitch + x stride`, without a split.

        Of a 2-D window.
        """
        return tuple(
            (ky * self.dilation[0] - self.low[0]) * source.pitch
            + kx * self.dilation[1]
            - self.low[1]
            for ky in range(self.kernel[0])
            for kx in range(self.kernel[1])
        )

    def tap_offsets(self, source: Layout) -> tuple[int, ...]:
        """Offset of each tap, row-major, from a channel's base plus the position."""
        offsets: list[int] = []
        for tap in itertools.product(*map(range, self.kernel)):
            phase, offset = 0, 0
            for axis, k in enumerate(tap):
                part, distance = self.step(axis, k)
                phase = phase * self.stride[axis] + part
                offset += distance * source.strides[2 + axis]
            offsets.append(phase * source.plane + offset)
        return tuple(offsets)


def window_of(op: sq.ConvOp) -> Window:
    """The geometry of a convolution of rank 4 or 5."""
    return Window(
        kernel=nn.shape_of(op.weight)[2:],
        stride=tuple(op.stride.get_values()),
        low=tuple(op.padding_low.get_values()),
        high=tuple(op.padding_high.get_values()),
        dilation=tuple(op.dilation.get_values()),
    )
