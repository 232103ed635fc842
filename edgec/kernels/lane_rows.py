"""Kernels between a tensor of numbers and one with several channels in each lane."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import Part, has_gaps, zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.sweep import ENOUGH_UNITS, ROW_VECTORS, for_vectors

Pack = Callable[[KernelBuilder, Sequence[SSAValue]], SSAValue]
"""The lanes of some channels, fewer than fit at the end of a tensor."""
Unpack = Callable[[KernelBuilder, SSAValue], Sequence[SSAValue]]
"""The channels of lanes."""


@dataclass(frozen=True)
class Row:
    """Where a row begins."""

    group: Index
    """Of the channels that share lanes."""
    channels: tuple[Index, ...]
    """Of each channel of the group; the last group may have fewer."""


def check_groups(numbers: Layout, groups: Layout, held: int) -> None:
    """Raise `InvalidInput` unless both are the same tensor, `held` channels a lane."""
    batch, channels, *size = numbers.shape
    expected = (batch, -(-channels // held), *size)
    if groups.shape != expected:
        names = {2: "pairs", 4: "quads"}
        raise InvalidInput(
            f"{names[held]} of {numbers.shape} must have the shape {expected}, "
            f"got {groups.shape}"
        )
    if numbers.is_split or groups.is_split:
        raise InvalidInput(f"layouts must have no phases, got {numbers} and {groups}")


def parts_of(groups: Layout, lanes: int) -> int:
    """Into how many parts rows of a plane are cut: an image may have but one plane.

    Then as many as make enough units of work. None has less than `ROW_VECTORS` vectors,
    but for what is left.
    """
    images, count, *size = groups.shape
    if images * count >= ENOUGH_UNITS // 8:
        return 1
    rows = math.prod(size[:-1])
    vectors = rows * -(-size[-1] // lanes)
    wanted = -(-ENOUGH_UNITS // (images * count))
    return max(1, min(wanted, rows, vectors // ROW_VECTORS))


def for_rows(
    b: KernelBuilder,
    numbers: Layout,
    groups: Layout,
    held: int,
    row: Callable[[Row], None],
    gaps: Callable[[Index, Index, Part | None], None],
) -> None:
    """`row` for each row of a unit, then `gaps` of its plane.

    A unit is a plane of groups, or a part of its rows. Parts that lie side by side go
    to one thread, of all planes of an image: so convolutions share out positions.
    """
    count, channels = groups.shape[1], numbers.shape[1]
    deep = numbers.shape[2] if len(numbers.shape) == 5 else 1
    rows, parts = numbers.shape[-2], parts_of(groups, b.lanes)

    def plane(n: Index, group: Index, part: Part | None, held_here: int) -> None:
        def one(number: Index) -> None:
            y, z = b.remainder(number, rows), b.quotient(number, rows)
            starts = [
                b.plus(
                    place.origin,
                    b.times(n, place.strides[0]),
                    b.times(first, place.strides[1]),
                    b.times(z, place.strides[2] if deep > 1 else 0),
                    b.times(y, place.pitch),
                )
                for place, first in ((groups, group), (numbers, b.times(group, held)))
            ]
            step = numbers.strides[1]
            found = tuple(b.plus(starts[1], k * step) for k in range(held_here))
            row(Row(starts[0], found))

        if part is None:
            b.repeat(deep * rows, one)
        else:
            b.loop(*b.share(deep * rows, part), one)
        gaps(n, group, part)

    def unit(number: SSAValue) -> None:
        n, rest = b.quotient(number, parts * count), b.remainder(number, parts * count)
        group = b.remainder(rest, count)
        part = None if parts == 1 else (b.quotient(rest, count), parts)
        last = channels - (count - 1) * held
        if last == held:
            plane(n, group, part, held)
        elif count == 1:
            plane(n, group, part, last)
        else:
            b.when(
                b.equal(group, count - 1),
                lambda: plane(n, group, part, last),
                lambda: plane(n, group, part, held),
            )

    b.units(numbers.shape[0] * parts * count, unit)


def pack_kernel(
    name: str, lanes: int, places: tuple[Layout, Layout, int], pack: Pack, gap: int
) -> func.FuncOp:
    """A kernel from `x`, numbers, to `y`, so many channels in each lane.

    Args:
        name: symbol of the function.
        lanes: of a register.
        places: of `x` and `y`, and how many channels a lane holds.
        pack: what makes lanes.
        gap: what stands in the gaps of `y`.
    """
    source, result, held = places
    types = {
        "x": buffer_type(source.elements),
        "y": buffer_type(result.elements, i32),
    }
    b = KernelBuilder(name, types, lanes=lanes)

    def row(planes: Row) -> None:
        def one(x: Index, offset: int, mask: SSAValue | None) -> None:
            values = [
                b.load("x", b.plus(at, x), offset=offset, mask=mask)
                for at in planes.channels
            ]
            at = b.plus(planes.group, x)
            b.store(pack(b, values), "y", at, offset=offset, mask=mask)

        for_vectors(b, source.shape[-1], lanes, one)

    def gaps(n: Index, group: Index, part: Part | None) -> None:
        if has_gaps(result):
            zeros = b.splat(b.integer(gap))
            zero_gaps(b, "y", result, n, group, zeros, part=part)

    for_rows(b, source, result, held, row, gaps)
    return b.finish()


def unpack_kernel(
    name: str, lanes: int, places: tuple[Layout, Layout, int], unpack: Unpack
) -> func.FuncOp:
    """The way back: `places` are those of lanes and of numbers; gaps become zero."""
    source, result, held = places
    types = {
        "x": buffer_type(source.elements, i32),
        "y": buffer_type(result.elements),
    }
    b = KernelBuilder(name, types, lanes=lanes)

    def row(planes: Row) -> None:
        def one(x: Index, offset: int, mask: SSAValue | None) -> None:
            packed = b.load("x", b.plus(planes.group, x), offset=offset, mask=mask)
            for at, value in zip(planes.channels, unpack(b, packed), strict=False):
                b.store(value, "y", b.plus(at, x), offset=offset, mask=mask)

        for_vectors(b, result.shape[-1], lanes, one)

    def gaps(n: Index, group: Index, part: Part | None) -> None:
        def channel(number: Index) -> None:
            zero_gaps(b, "y", result, n, number, part=part)

        if has_gaps(result):
            first = b.times(group, held)
            end = b.smaller(b.plus(first, held), result.shape[1])
            b.loop(first, end, channel)

    for_rows(b, result, source, held, row, gaps)
    return b.finish()
