"""Loops between a tensor of numbers and one with several channels in each lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout


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


def for_rows(
    b: KernelBuilder,
    numbers: Layout,
    groups: Layout,
    held: int,
    row: Callable[[Row], None],
    gaps: Callable[[Index, Index], None],
) -> None:
    """`row` for each row of this thread's groups, then `gaps` of their planes."""
    count, channels = groups.shape[1], numbers.shape[1]
    deep = numbers.shape[2] if len(numbers.shape) == 5 else 1

    def plane(n: Index, group: Index, parts: int) -> None:
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
            found = tuple(b.plus(starts[1], k * step) for k in range(parts))
            row(Row(starts[0], found))

        rows = numbers.shape[-2]
        b.repeat(deep * rows, one)
        gaps(n, group)

    def unit(number: SSAValue) -> None:
        n, group = b.quotient(number, count), b.remainder(number, count)
        last = channels - (count - 1) * held
        if last == held:
            plane(n, group, held)
        elif count == 1:
            plane(n, group, last)
        else:
            b.when(
                b.equal(b.value(group), count - 1),
                lambda: plane(n, group, last),
                lambda: plane(n, group, held),
            )

    b.units(numbers.shape[0] * count, unit)
