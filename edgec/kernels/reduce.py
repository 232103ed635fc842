"""Sums, means, products and extremes over axes.

Lanes go along the innermost kept dimension if it is contiguous, else along the
innermost reduced one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xdsl.dialects import func
from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.accumulate import (
    ADD,
    CASCADE,
    MAX,
    MIN,
    MUL,
    Part,
    accumulate_columns,
    accumulate_rows,
    parts_of,
)
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.sweep import UNROLL, for_units
from edgec.kernels.views import (
    Affine,
    Axis,
    Region,
    Sizes,
    View,
    collapse,
    identity,
    regions,
    split,
)

Kind = Literal["sum", "mean", "max", "min", "prod", "argmax", "argmin"]

MONOIDS = {"sum": ADD, "mean": ADD, "max": MAX, "min": MIN, "prod": MUL}
"""How a kind combines elements."""


@dataclass(frozen=True)
class Reduce:
    """A reduction over `axes`, which the result keeps with size 1 or not at all.

    `argmax` and `argmin` give the first extreme along one axis as i64; as in torch, a
    NaN counts as the extreme.
    """

    kind: Kind
    input: Layout
    output: Layout
    axes: tuple[int, ...]

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        is_position = self.kind in ("argmax", "argmin")
        elements = self.output.elements
        buffers = {
            "x": buffer_type(self.input.elements),
            "y": buffer_type(elements, i64) if is_position else buffer_type(elements),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        for group in self._groups():
            if is_position:
                _Positions(b, self, group).build()
            else:
                _Values(b, self, group).build()
        if not is_position:
            zero_all_gaps(b, "y", self.output)
        return b.finish()

    def kept(self) -> list[int]:
        """The dimensions that are not reduced."""
        return [d for d in range(len(self.input.shape)) if d not in self.axes]

    def count(self) -> int:
        """Elements of the input per element of the result."""
        return math.prod(self.input.shape[d] for d in self.axes)

    def _groups(self) -> list[list[Region]]:
        """Parts of the input; those of one group reduce to the same results."""
        kept = self.kept()
        if len(self.output.shape) == len(self.input.shape):
            axes = tuple(
                Axis(d if d in kept else None) for d in range(len(self.input.shape))
            )
        else:
            axes = tuple(Axis(d) for d in kept)
        views = [identity(self.input), View(self.output, axes)]
        groups: dict[Sizes, list[Region]] = {}
        for region in regions(self.input.shape, views):
            key = tuple(region.residues[d] for d in kept)
            groups.setdefault(key, []).append(region)
        return list(groups.values())


class _Values:
    """Builds a reduction to values over one group of regions."""

    def __init__(self, b: KernelBuilder, spec: Reduce, group: Sequence[Region]) -> None:
        self.b, self.spec, self.group = b, spec, group
        self.monoid = MONOIDS[spec.kind]
        kept = spec.kept()
        source, target = group[0].places
        sizes = tuple(group[0].sizes[d] for d in kept)
        self.sizes, places = collapse(
            sizes, [Affine(0, source.part(kept).strides), target.part(kept)]
        )
        self.source, self.target = places

    def build(self) -> None:
        """One unit per result, or per block of neighbouring results."""
        b, last = self.b, len(self.sizes) - 1
        if self.source.strides[-1] != 1 or self.target.strides[-1] != 1:
            self._by_rows()
            return
        block = UNROLL * b.lanes
        for sizes, places in split(self.sizes, [self.source, self.target], last, block):
            self._by_columns(sizes, places)

    def _parts(self, row: int) -> list[Part]:
        """The reduced dimensions of all regions of the group."""
        reduced, parts = self.spec.axes, list[Part]()
        for region in self.group:
            sizes = tuple(region.sizes[d] for d in reduced)
            parts += parts_of(sizes, region.places[0].part(reduced), row=row)
        return parts

    def _by_rows(self) -> None:
        """Lanes along the innermost reduced dimension."""
        b = self.b
        parts = self._parts(CASCADE * UNROLL * b.lanes)

        def load(
            at: Index, offset: int, stride: int, mask: SSAValue | None
        ) -> SSAValue:
            return b.load("x", at, offset=offset, stride=stride, mask=mask)

        def unit(_: list[Index], at: list[Index]) -> None:
            total = accumulate_rows(b, self.monoid, parts, at[0], load)
            b.store(self._finished(b.fold(self.monoid.kind, total), 1), "y", at[1])

        for_units(b, self.sizes, [self.source, self.target], unit)

    def _by_columns(self, sizes: Sizes, places: Sequence[Affine]) -> None:
        """Lanes along the innermost kept dimension, in blocks of its size."""
        b, parts = self.b, self._parts(CASCADE)
        full, tail = divmod(sizes[-1], b.lanes)
        masks: list[int] = [0] * full + ([tail] if tail else [])

        def unit(_: list[Index], at: list[Index]) -> None:
            on = [b.tail_mask(count) if count else None for count in masks]

            def load(here: Index) -> list[SSAValue]:
                return [
                    b.load("x", here, offset=v * b.lanes, mask=mask)
                    for v, mask in enumerate(on)
                ]

            totals = accumulate_columns(b, self.monoid, parts, at[0], len(masks), load)
            for v, (total, mask) in enumerate(zip(totals, on, strict=True)):
                value = self._finished(total, b.lanes)
                b.store(value, "y", at[1], offset=v * b.lanes, mask=mask)

        leading = [Affine(place.origin, place.strides[:-1]) for place in places]
        for_units(b, sizes[:-1], leading, unit)

    def _finished(self, total: SSAValue, lanes: int) -> SSAValue:
        if self.spec.kind != "mean":
            return total
        count = self.b.constant(float(self.spec.count()), lanes=lanes)
        return self.b.binary("div", total, count)


class _Positions:
    """Builds `argmax` or `argmin`, element by element."""

    def __init__(self, b: KernelBuilder, spec: Reduce, group: Sequence[Region]) -> None:
        self.b, self.spec, self.group = b, spec, group
        self.order = "gt" if spec.kind == "argmax" else "lt"
        (self.axis,) = spec.axes

    def build(self) -> None:
        """One unit per result."""
        b, kept = self.b, self.spec.kept()
        sizes = tuple(self.group[0].sizes[d] for d in kept)
        source, target = self.group[0].places
        outer = [Affine(0, source.part(kept).strides), target.part(kept)]

        def unit(_: list[Index], at: list[Index]) -> None:
            first = b.load("x", b.plus(at[0], source.origin), lanes=1)
            carried = [first, b.value(0)]
            for region in self.group:
                carried = self._along(region, at[0], carried)
            b.store(b.cast(carried[1], i64), "y", at[1])

        for_units(b, sizes, outer, unit)

    def _along(
        self, region: Region, base: Index, carried: Sequence[SSAValue]
    ) -> list[SSAValue]:
        """The extreme so far and its position, after one region."""
        b, place = self.b, region.places[0]
        period = len(self.group)
        stride, start = place.strides[self.axis], region.residues[self.axis]

        def step(i: SSAValue, best: SSAValue, at: SSAValue) -> list[SSAValue]:
            where = b.plus(base, b.times(i, stride), place.origin)
            value = b.load("x", where, lanes=1)
            position = b.value(b.plus(b.times(i, period), start))
            is_more = b.compare(self.order, value, best)
            if period > 1:
                # Regions are visited one after the other, positions are not.
                is_same = b.compare("eq", value, best)
                is_earlier = b.less(position, at)
                is_more = b.select(is_same, is_earlier, is_more)
            is_nan = b.compare("ne", value, value)
            is_better = b.select(is_nan, b.compare("eq", best, best), is_more)
            return [b.select(is_better, value, best), b.select(is_better, position, at)]

        size = region.sizes[self.axis]
        return list(b.loop(0, size, step, carried=list(carried)))
