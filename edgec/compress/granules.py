"""Granules: the boxes of a weight that are kept or dropped as one.

Most schemes are a way to cut a weight `[F, C, T]` (filters, channels, taps) in boxes:

    unstructured   1 filter   x 1 channel  x 1 tap
    connectivity   1 filter   x 1 channel  x all taps
    column         OB filters x 1 channel  x 1 tap
    block-punched  OB filters x Q channels x 1 tap

At an edge that the box does not divide, the last box is shorter. A grouped convolution
has its own boxes in every group. Kept are the boxes with the largest mean square, which
for boxes of one size is the largest L2 norm. No weight of such boxes, with at most that
many weights kept, is nearer (Euclidean): boxes do not overlap, so what is lost is the
sum of the squares dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgec.compress.geometry import Bools, Doubles, Floats, Geometry, Ints


@dataclass(frozen=True)
class Granules:
    """The boxes of a weight."""

    geometry: Geometry
    filters: int
    """Filters of a box, at most those of a group."""
    channels: int
    """Input channels of a box."""
    taps: int
    """Taps of a box."""

    @cached_property
    def starts(self) -> tuple[Ints, Ints, Ints]:
        """Where boxes start along each axis."""
        each = self.geometry.filters // self.geometry.groups
        inside = np.arange(0, each, self.filters, dtype=np.int64)
        groups = np.arange(self.geometry.groups, dtype=np.int64)[:, None] * each
        return (
            (groups + inside).reshape(-1),
            np.arange(0, self.geometry.channels, self.channels, dtype=np.int64),
            np.arange(0, self.geometry.taps, self.taps, dtype=np.int64),
        )

    @property
    def lengths(self) -> tuple[Ints, Ints, Ints]:
        """Extent of the boxes along each axis."""
        f, c, t = (
            np.diff(starts, append=extent)
            for starts, extent in zip(self.starts, self.geometry.shape, strict=True)
        )
        return f, c, t

    @property
    def sizes(self) -> Ints:
        """Weights of each box, flat."""
        f, c, t = self.lengths
        return (f[:, None, None] * c[:, None] * t).reshape(-1)

    def energies(self, weight: Floats) -> Doubles:
        """Sum of squares of each box of `[F, C, T]`, flat; squares are exact."""
        sums = np.square(weight.astype(np.float64))
        for axis, (starts, lengths) in enumerate(
            zip(self.starts, self.lengths, strict=True)
        ):
            if (lengths == lengths[0]).all():  # many times as fast as `reduceat`
                shape = *sums.shape[:axis], len(starts), -1, *sums.shape[axis + 1 :]
                sums = sums.reshape(shape).sum(axis=axis + 1)
            else:
                sums = np.add.reduceat(sums, starts, axis=axis)
        return sums.reshape(-1)

    def expand(self, keep: Bools) -> Bools:
        """The mask `[F, C, T]` of the boxes to keep."""
        mask = keep.reshape([len(starts) for starts in self.starts])
        for axis, lengths in enumerate(self.lengths):
            if mask.shape[axis] < self.geometry.shape[axis]:
                mask = np.repeat(mask, lengths, axis=axis)
        return mask

    def project(self, weight: Floats, density: float) -> Bools:
        """The mask of the best boxes, as near to `density` as whole boxes come."""
        wanted = density * self.geometry.size
        return self.expand(keep_best(self.energies(weight), self.sizes, wanted))


def keep_best(energies: Doubles, sizes: Ints, wanted: float) -> Bools:
    """The boxes of largest mean square whose weights are nearest to `wanted` in number.

    At least one; of two numbers as near the smaller; ties go to the earlier box.
    """
    if (sizes == sizes[0]).all():
        return largest(energies, nearest(wanted / float(sizes[0]), len(sizes)))
    order = np.argsort(-energies / sizes, kind="stable")
    reached = np.cumsum(sizes[order])
    keep = np.zeros(len(sizes), np.bool_)
    keep[order[: 1 + int(np.argmin(np.abs(reached - wanted)))]] = True
    return keep


def nearest(wanted: float, most: int) -> int:
    """The whole number in 1..most that is nearest; of two the smaller."""
    return min(max(1, math.ceil(wanted - 0.5)), most)


def largest(values: Doubles, count: int) -> Bools:
    """True at the `count` largest values; ties go to the earlier."""
    threshold = np.partition(values, len(values) - count)[len(values) - count]
    keep = values > threshold
    ties = np.flatnonzero(values == threshold)
    keep[ties[: count - int(keep.sum())]] = True
    return keep
