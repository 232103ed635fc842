"""Deterministic reductions over boxes, with small rounding errors.

Every loop starts from neutral accumulators of its own and adds its result to those of
the loop around it; no loop is longer than `CASCADE`. The error of a sum grows with the
number of loops and the root of their lengths, not with the number of elements. The
order depends on shapes only, never on threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.sweep import UNROLL
from edgec.kernels.views import Affine, Sizes, collapse, split

CASCADE = 128
"""Most iterations of one accumulating loop."""


@dataclass(frozen=True)
class Monoid:
    """How elements are combined: a kind of `lane.binary` and its neutral element."""

    kind: str
    neutral: float

    def combine(self, b: KernelBuilder, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """Both as one."""
        return b.binary(self.kind, lhs, rhs)

    def tree(self, b: KernelBuilder, values: Sequence[SSAValue]) -> SSAValue:
        """All values as one, pairwise."""
        while len(values) > 1:
            pairs = [
                self.combine(b, values[k], values[k + 1])
                for k in range(0, len(values) - 1, 2)
            ]
            values = pairs + list(values[len(pairs) * 2 :])
        return values[0]

    def masked(
        self, b: KernelBuilder, value: SSAValue, mask: SSAValue | None
    ) -> SSAValue:
        """`value` with neutral elements in lanes that are off."""
        if mask is None:
            return value
        return b.select(mask, value, b.constant(self.neutral))


ADD = Monoid("add", 0.0)
MUL = Monoid("mul", 1.0)
MAX = Monoid("max", float("-inf"))
MIN = Monoid("min", float("inf"))


@dataclass(frozen=True)
class Part:
    """A box without long loops; the last dimension is a row."""

    sizes: Sizes
    place: Affine


def parts_of(sizes: Sizes, place: Affine, *, row: int) -> list[Part]:
    """Cut a box so that loops have at most `CASCADE` steps and rows `row` elements."""
    sizes, (place,) = collapse(sizes, [place])
    parts = [Part(sizes, place)]
    done: list[Part] = []
    while parts:
        part = parts.pop(0)
        last = len(part.sizes) - 1
        limits = [CASCADE] * last + [row]
        long = [
            d
            for d, (size, limit) in enumerate(zip(part.sizes, limits, strict=True))
            if size > limit
        ]
        if not long:
            done.append(part)
            continue
        cut = split(part.sizes, [part.place], long[0], limits[long[0]])
        parts = [Part(sizes, place) for sizes, (place,) in cut] + parts
    return done


Load = Callable[[Index, int, int, SSAValue | None], SSAValue]
"""`load(at, offset, stride, mask)`: a vector to accumulate, anything in off lanes."""


def accumulate_rows(
    b: KernelBuilder, monoid: Monoid, parts: Sequence[Part], base: Index, load: Load
) -> SSAValue:
    """All elements of some boxes as one vector; lanes go along the last dimension."""
    totals = [
        _rows(b, monoid, part, 0, b.plus(base, part.place.origin), load)
        for part in parts
    ]
    return monoid.tree(b, totals)


def _rows(
    b: KernelBuilder, monoid: Monoid, part: Part, depth: int, base: Index, load: Load
) -> SSAValue:
    stride, size = part.place.strides[depth], part.sizes[depth]
    if depth == len(part.sizes) - 1:
        return _row(b, monoid, size, stride, base, load)

    def iteration(i: Index, total: SSAValue) -> list[SSAValue]:
        at = b.plus(base, b.times(i, stride))
        return [monoid.combine(b, total, _rows(b, monoid, part, depth + 1, at, load))]

    return b.loop(0, size, iteration, carried=[b.constant(monoid.neutral)])[0]


def _row(
    b: KernelBuilder, monoid: Monoid, size: int, stride: int, base: Index, load: Load
) -> SSAValue:
    """One row; whole vectors go to `UNROLL` accumulators in turn."""
    full, tail = divmod(size, b.lanes)
    blocks = full // UNROLL if full >= 2 * UNROLL else 0
    values: list[SSAValue] = []
    if blocks:

        def block(x: Index, *totals: SSAValue) -> list[SSAValue]:
            at = b.plus(base, b.times(x, stride))
            loaded = [
                load(at, v * b.lanes * stride, stride, None) for v in range(UNROLL)
            ]
            return [
                monoid.combine(b, total, value)
                for total, value in zip(totals, loaded, strict=True)
            ]

        step = UNROLL * b.lanes
        start = [b.constant(monoid.neutral)] * UNROLL
        values += b.loop(0, blocks * step, block, step=step, carried=start)
    for v in range(blocks * UNROLL, full):
        values.append(load(base, v * b.lanes * stride, stride, None))
    if tail:
        mask = b.tail_mask(tail)
        value = load(base, full * b.lanes * stride, stride, mask)
        values.append(monoid.masked(b, value, mask))
    return monoid.tree(b, values)


LoadColumns = Callable[[Index], list[SSAValue]]


def accumulate_columns(
    b: KernelBuilder,
    monoid: Monoid,
    parts: Sequence[Part],
    base: Index,
    vectors: int,
    load: LoadColumns,
) -> list[SSAValue]:
    """All points of some boxes; `load(at)` gives the `vectors` vectors of one point."""
    totals: list[SSAValue] = []
    for part in parts:
        found = _columns(
            b, monoid, part, 0, b.plus(base, part.place.origin), vectors, load
        )
        totals = (
            [monoid.combine(b, t, f) for t, f in zip(totals, found, strict=True)]
            if totals
            else found
        )
    return totals


def _columns(
    b: KernelBuilder,
    monoid: Monoid,
    part: Part,
    depth: int,
    base: Index,
    vectors: int,
    load: LoadColumns,
) -> list[SSAValue]:
    if depth == len(part.sizes):
        return load(base)
    stride, size = part.place.strides[depth], part.sizes[depth]

    def iteration(i: Index) -> list[SSAValue]:
        at = b.plus(base, b.times(i, stride))
        return _columns(b, monoid, part, depth + 1, at, vectors, load)

    if size == 1:
        return iteration(0)

    def step(i: Index, *totals: SSAValue) -> list[SSAValue]:
        found = iteration(i)
        return [monoid.combine(b, t, f) for t, f in zip(totals, found, strict=True)]

    start = [b.constant(monoid.neutral)] * vectors
    return list(b.loop(0, size, step, carried=start))
