"""Addresses of tensors as affine functions of the points of a loop nest.

A kernel iterates over the points of a box, for example over all elements of its result.
A `View` says which element of a tensor belongs to a point. Layouts with phases are not
affine in the point, so `regions` splits the box: in each region all addresses are
`origin + sum(stride[d] * point[d])`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgec.kernels.layout import Layout

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Affine:
    """The address `origin + sum(strides[d] * point[d])`, in elements."""

    origin: int
    strides: tuple[int, ...]

    def part(self, dims: Sequence[int]) -> Affine:
        """The address as a function of some dimensions, the others at 0."""
        return Affine(self.origin, tuple(self.strides[d] for d in dims))


@dataclass(frozen=True)
class Axis:
    """One index of a tensor: `start + step * point[dim]`; `start` if `dim` is None."""

    dim: int | None
    start: int = 0
    step: int = 1


@dataclass(frozen=True)
class View:
    """Which element of a tensor belongs to a point: one `Axis` per dimension."""

    layout: Layout
    axes: tuple[Axis, ...]

    def period(self, dim: int) -> int:
        """The least distance along `dim` at which the address repeats its phase."""
        return math.lcm(
            *(
                phase // math.gcd(phase, axis.step)
                for axis, phase in zip(self.axes, self.layout.phases, strict=True)
                if axis.dim == dim
            )
        )

    def affine(self, periods: Sizes, residues: Sizes) -> Affine:
        """The address at the points `periods[d] * q[d] + residues[d]` as one of `q`."""
        origin, strides = self.layout.origin, [0] * len(periods)
        spread, phases = self.layout.phase_strides, self.layout.phases
        for t, (axis, phase) in enumerate(zip(self.axes, phases, strict=True)):
            stride, index = self.layout.strides[t], axis.start
            if axis.dim is not None:
                index += axis.step * residues[axis.dim]
                step = axis.step * periods[axis.dim]
                strides[axis.dim] += step // phase * stride
            origin += index % phase * spread[t] + index // phase * stride
        return Affine(origin, tuple(strides))


def identity(layout: Layout) -> View:
    """The view in which points are indices of the tensor."""
    return View(layout, tuple(Axis(d) for d in range(len(layout.shape))))


def broadcast(layout: Layout, sizes: Sizes) -> View:
    """The view of a tensor that is broadcast to `sizes`, as in numpy."""
    skip = len(sizes) - len(layout.shape)
    axes = (
        Axis(None if size == 1 else d + skip) for d, size in enumerate(layout.shape)
    )
    return View(layout, tuple(axes))


@dataclass(frozen=True)
class Region:
    """Points `periods * q + residues` of a box, and the views' addresses in `q`."""

    sizes: Sizes
    residues: Sizes
    places: tuple[Affine, ...]


def regions(sizes: Sizes, views: Sequence[View]) -> list[Region]:
    """Parts of a box in each of which every view is affine; none is empty."""
    periods = tuple(
        math.lcm(*(view.period(d) for view in views)) for d in range(len(sizes))
    )
    result: list[Region] = []
    for residues in itertools.product(*map(range, periods)):
        part = tuple(
            max(0, -((r - size) // period))
            for size, period, r in zip(sizes, periods, residues, strict=True)
        )
        if 0 not in part:
            places = tuple(view.affine(periods, residues) for view in views)
            result.append(Region(part, residues, places))
    return result


def collapse(
    sizes: Sizes, places: Sequence[Affine]
) -> tuple[Sizes, tuple[Affine, ...]]:
    """Drop dimensions of size 1 and merge neighbours that lie end to end everywhere.

    At least one dimension remains.
    """
    kept: list[int] = []
    columns: list[list[int]] = []
    for d, size in enumerate(sizes):
        column = [place.strides[d] for place in places]
        if size == 1:
            continue
        if kept and all(
            outer == inner * size
            for outer, inner in zip(columns[-1], column, strict=True)
        ):
            kept[-1] *= size
            columns[-1] = column
        else:
            kept.append(size)
            columns.append(column)
    if not kept:
        kept, columns = [1], [[1] * len(places)]
    return tuple(kept), tuple(
        Affine(place.origin, tuple(column[k] for column in columns))
        for k, place in enumerate(places)
    )


def split(
    sizes: Sizes, places: Sequence[Affine], dim: int, chunk: int
) -> list[tuple[Sizes, tuple[Affine, ...]]]:
    """Split dimension `dim` into whole chunks (one more dimension) and a remainder."""
    full, rest = divmod(sizes[dim], chunk)
    parts: list[tuple[Sizes, tuple[Affine, ...]]] = []
    before, after = sizes[:dim], sizes[dim + 1 :]
    if full:
        whole = tuple(
            Affine(
                p.origin,
                (*p.strides[:dim], p.strides[dim] * chunk, *p.strides[dim:]),
            )
            for p in places
        )
        parts.append(((*before, full, chunk, *after), whole))
    if rest:
        moved = tuple(
            Affine(p.origin + full * chunk * p.strides[dim], p.strides) for p in places
        )
        parts.append(((*before, rest, *after), moved))
    return parts
