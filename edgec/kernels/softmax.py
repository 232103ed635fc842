"""Softmax and its logarithm along one axis, in three passes over each row.

    m = max(x);  s = sum(y = exp(x - m));  y = y / s      # or y = x - (m + log s)

Lanes go along the innermost dimension; where that is the axis, rows are folded.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.errors import InvalidInput
from edgec.kernels.accumulate import (
    ADD,
    CASCADE,
    MAX,
    accumulate_columns,
    accumulate_rows,
    parts_of,
)
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_all_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.sweep import UNROLL, for_units, for_vectors
from edgec.kernels.views import Affine, collapse, identity, regions, split


@dataclass(frozen=True)
class Softmax:
    """`y = softmax(x)` along `axis`, or its logarithm. Layouts have no phases.

    Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    axis: int
    log: bool

    def __post_init__(self) -> None:
        require_unphased("softmax", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        buffers = {
            "x": buffer_type(self.input.elements),
            "y": buffer_type(self.output.elements),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        zero_all_gaps(b, "y", self.output)
        return b.finish()


def require_unphased(what: str, *layouts: Layout) -> None:
    """Raise `InvalidInput` if a layout is split into phases."""
    for layout in layouts:
        if layout.is_split:
            raise InvalidInput(
                f"{what} takes layouts that are not split into phases, got "
                f"{layout.phase}; convert the layout before it"
            )


class _Build:
    """State while one kernel is built."""

    def __init__(self, b: KernelBuilder, spec: Softmax) -> None:
        self.b, self.spec = b, spec
        shape, axis = spec.input.shape, spec.axis
        views = [identity(spec.input), identity(spec.output)]
        (region,) = regions(shape, views)
        self.size = shape[axis]
        kept = [d for d in range(len(shape)) if d != axis]
        self.steps = [place.strides[axis] for place in region.places]
        self.sizes, self.places = collapse(
            tuple(shape[d] for d in kept), [p.part(kept) for p in region.places]
        )
        self.is_inner = self.steps == [1, 1]
        if not self.is_inner and any(place.strides[-1] != 1 for place in self.places):
            # No dimension has neighbouring elements: rows are done one by one.
            self.sizes = (*self.sizes, 1)
            self.places = tuple(
                Affine(place.origin, (*place.strides, 1)) for place in self.places
            )

    def build(self) -> None:
        """Rows along the axis, or blocks of rows where lanes go along another one."""
        b = self.b
        if self.is_inner:
            for_units(b, self.sizes, self.places, self._row)
            return
        last, block = len(self.sizes) - 1, UNROLL * b.lanes
        for sizes, places in split(self.sizes, self.places, last, block):
            leading = [Affine(place.origin, place.strides[:-1]) for place in places]

            def unit(_: list[Index], at: list[Index], width: int = sizes[-1]) -> None:
                self._columns(at[0], at[1], width)

            for_units(b, sizes[:-1], leading, unit)

    def _row(self, _: list[Index], at: list[Index]) -> None:
        """One row whose elements are neighbours."""
        b, (x, y) = self.b, at
        parts = parts_of((self.size,), Affine(0, (1,)), row=self.size)

        def element(i: Index, offset: int, _: int, mask: SSAValue | None) -> SSAValue:
            return b.load("x", b.plus(x, i), offset=offset, mask=mask)

        greatest = b.fold("max", accumulate_rows(b, MAX, parts, 0, element))
        shift = b.splat(greatest)

        def exponential(
            i: Index, offset: int, stride: int, mask: SSAValue | None
        ) -> SSAValue:
            value = b.binary("sub", element(i, offset, stride, mask), shift)
            value = b.unary("exp", value)
            if not self.spec.log:
                b.store(value, "y", b.plus(y, i), offset=offset, mask=mask)
            return value

        sum_ = b.fold("add", accumulate_rows(b, ADD, parts, 0, exponential))
        norm = b.splat(self._norm(greatest, sum_, 1))

        def finish(i: Index, offset: int, mask: SSAValue | None) -> None:
            self._finish(b.plus(x, i), b.plus(y, i), offset, mask, norm)

        for_vectors(b, self.size, b.lanes, finish)

    def _norm(self, greatest: SSAValue, sum_: SSAValue, lanes: int) -> SSAValue:
        """What finishes a row: a factor, or for the logarithm what is subtracted."""
        b = self.b
        if self.spec.log:
            return b.binary("add", greatest, b.unary("log", sum_))
        return b.binary("div", b.constant(1.0, lanes=lanes), sum_)

    def _finish(
        self, x: Index, y: Index, offset: int, mask: SSAValue | None, norm: SSAValue
    ) -> None:
        """The last pass over one vector."""
        b = self.b
        if self.spec.log:
            value = b.binary("sub", b.load("x", x, offset=offset, mask=mask), norm)
        else:
            value = b.binary("mul", b.load("y", y, offset=offset, mask=mask), norm)
        b.store(value, "y", y, offset=offset, mask=mask)

    def _columns(self, x: Index, y: Index, width: int) -> None:
        """`width` neighbouring rows at once, one per lane."""
        b, (x_step, y_step) = self.b, self.steps
        full, tail = divmod(width, b.lanes)
        masks = [None] * full + ([b.tail_mask(tail)] if tail else [])
        parts = parts_of((self.size,), Affine(0, (1,)), row=CASCADE)

        def elements(i: Index) -> list[SSAValue]:
            at = b.plus(x, b.times(i, x_step))
            return [
                b.load("x", at, offset=v * b.lanes, mask=mask)
                for v, mask in enumerate(masks)
            ]

        greatest = accumulate_columns(b, MAX, parts, 0, len(masks), elements)

        def exponentials(i: Index) -> list[SSAValue]:
            at = b.plus(y, b.times(i, y_step))
            values = [
                b.unary("exp", b.binary("sub", value, shift))
                for value, shift in zip(elements(i), greatest, strict=True)
            ]
            if not self.spec.log:
                for v, (value, mask) in enumerate(zip(values, masks, strict=True)):
                    b.store(value, "y", at, offset=v * b.lanes, mask=mask)
            return values

        sums = accumulate_columns(b, ADD, parts, 0, len(masks), exponentials)
        norms = [self._norm(m, s, b.lanes) for m, s in zip(greatest, sums, strict=True)]

        def finish(i: Index) -> None:
            x_at = b.plus(x, b.times(i, x_step))
            y_at = b.plus(y, b.times(i, y_step))
            for v, (mask, norm) in enumerate(zip(masks, norms, strict=True)):
                self._finish(x_at, y_at, v * b.lanes, mask, norm)

        b.repeat(self.size, finish)
