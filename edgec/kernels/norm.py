"""Layer norm, group norm, and batch norm with statistics that are not constants.

    mean = sum(x) / n;  var = sum((x - mean)²) / n
    y = (x - mean) / sqrt(var + eps) * scale + shift

Two passes over a group that is still in cache, then one that writes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.accumulate import ADD, CASCADE, Load, accumulate_rows, parts_of
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_all_gaps, zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import UNROLL, Cursor, for_units, walk
from edgec.kernels.views import Affine, Region, Sizes, identity, regions


@dataclass(frozen=True)
class _Space:
    """Groups that are normalized, the points of one, and where operands lie.

    Places are those of x, scale, shift and y, as functions of all dimensions; the
    first `groups` of them number the groups.
    """

    sizes: Sizes
    groups: int
    places: tuple[Affine, ...]


@dataclass(frozen=True)
class LayerNorm:
    """Normalization over the last `rank` dimensions; scale and shift have their shape.

    Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    rank: int
    eps: float

    def __post_init__(self) -> None:
        require_unphased("layer norm", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, scale, shift, y."""
        shape = self.input.shape
        kept = len(shape) - self.rank
        inner = shape[kept:]
        dense = [math.prod(inner[d + 1 :]) for d in range(self.rank)]
        param = Affine(0, (*(0,) * kept, *dense))
        places = (_place(self.input), param, param, _place(self.output))
        space = _Space(shape, kept, places)
        return _normalize(
            self.input, self.output, math.prod(inner), space, self.eps, name, lanes
        )


@dataclass(frozen=True)
class GroupNorm:
    """Normalization over groups of channels; scale and shift are per channel.

    Raises `InvalidInput` for a layout with phases.
    """

    input: Layout
    output: Layout
    groups: int
    eps: float

    def __post_init__(self) -> None:
        require_unphased("group norm", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, scale, shift, y."""
        images, channels, *spatial = self.input.shape
        each = channels // self.groups
        param = Affine(0, (0, each, 1, *(0 for _ in spatial)))
        x, y = (self._place(layout, each) for layout in (self.input, self.output))
        sizes = (images, self.groups, each, *spatial)
        space = _Space(sizes, 2, (x, param, param, y))
        return _normalize(
            self.input, self.output, channels, space, self.eps, name, lanes
        )

    def _place(self, layout: Layout, each: int) -> Affine:
        """Channels as groups of `each`."""
        image, channel, *rest = layout.strides
        return Affine(layout.origin, (image, each * channel, channel, *rest))


def _place(layout: Layout) -> Affine:
    return Affine(layout.origin, layout.strides)


def _normalize(
    source: Layout,
    result: Layout,
    params: int,
    space: _Space,
    eps: float,
    name: str,
    lanes: int,
) -> func.FuncOp:
    """The kernel that normalizes each group of `space`."""
    elements = (source.elements, params, params, result.elements)
    types = {key: buffer_type(n) for key, n in zip(_NAMES, elements, strict=True)}
    b = KernelBuilder(name, types, lanes=lanes)
    group = _Group(b, space, eps)
    leading = [place.part(range(space.groups)) for place in space.places]
    for_units(b, space.sizes[: space.groups], leading, group.build)
    zero_all_gaps(b, "y", result)
    return b.finish()


_NAMES = ("x", "scale", "shift", "y")


class _Group:
    """Builds the work on one group."""

    def __init__(self, b: KernelBuilder, space: _Space, eps: float) -> None:
        self.b, self.eps = b, eps
        inner = range(space.groups, len(space.sizes))
        self.sizes = tuple(space.sizes[d] for d in inner)
        self.places = [Affine(0, place.part(inner).strides) for place in space.places]
        row = CASCADE * UNROLL * b.lanes
        self.parts = parts_of(self.sizes, self.places[0], row=row)
        self.count = b.constant(float(math.prod(self.sizes)), lanes=1)

    def build(self, _: list[Index], bases: list[Index]) -> None:
        """Mean, variance, then the results."""
        b = self.b

        def load(
            at: Index, offset: int, stride: int, mask: SSAValue | None
        ) -> SSAValue:
            return b.load("x", at, offset=offset, stride=stride, mask=mask)

        mean = _both(b, self.average(bases[0], load))

        def square(
            at: Index, offset: int, stride: int, mask: SSAValue | None
        ) -> SSAValue:
            value = b.binary("sub", load(at, offset, stride, mask), mean[b.lanes])
            return b.binary("mul", value, value)

        variance = self.average(bases[0], square)
        factor = _both(b, _reciprocal_deviation(b, variance, self.eps))

        def finish(cursor: Cursor) -> None:
            value = b.binary("sub", cursor.load(0), mean[cursor.lanes])
            value = b.binary("mul", value, factor[cursor.lanes])
            cursor.store(b.dot(cursor.load(2), value, cursor.load(1)))

        walk(b, self.sizes, [b[key] for key in _NAMES], self.places, bases, finish)

    def average(self, base: Index, load: Load) -> SSAValue:
        """The mean of what `load` gives, as a scalar."""
        b = self.b
        total = accumulate_rows(b, ADD, self.parts, base, load)
        return b.binary("div", b.fold("add", total), self.count)


def _both(b: KernelBuilder, scalar: SSAValue) -> dict[int, SSAValue]:
    """A number for one lane and for all."""
    return {1: scalar, b.lanes: b.splat(scalar)}


def _reciprocal_deviation(b: KernelBuilder, variance: SSAValue, eps: float) -> SSAValue:
    """`1 / sqrt(variance + eps)` of a scalar."""
    shifted = b.binary("add", variance, b.constant(eps, lanes=1))
    return b.binary("div", b.constant(1.0, lanes=1), b.unary("sqrt", shifted))


@dataclass(frozen=True)
class BatchNorm:
    """`(x - mean) / sqrt(variance + eps) * scale + shift` per channel.

    For statistics that are not constants; constant ones are folded into two numbers
    per channel, which is an `Elementwise`.
    """

    input: Layout
    output: Layout
    eps: float

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, scale, shift, mean, variance, y."""
        images, channels = self.input.shape[:2]
        params = ("scale", "shift", "mean", "variance")
        types = {
            "x": buffer_type(self.input.elements),
            **{key: buffer_type(channels) for key in params},
            "y": buffer_type(self.output.elements),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        views = [identity(self.input), identity(self.output)]
        for number, region in enumerate(regions(self.input.shape, views)):
            inner = [Affine(0, place.strides[2:]) for place in region.places]
            leading = [Affine(p.origin, p.strides[:2]) for p in region.places]

            def plane(
                point: list[Index],
                bases: list[Index],
                region: Region = region,
                inner: list[Affine] = inner,
                number: int = number,
            ) -> None:
                self._plane(b, region.sizes[2:], inner, bases, point[1])
                if number == 0:
                    zero_gaps(b, "y", self.output, point[0], point[1])

            for_units(b, (images, channels), leading, plane)
        return b.finish()

    def _plane(
        self,
        b: KernelBuilder,
        sizes: Sizes,
        places: list[Affine],
        bases: list[Index],
        channel: Index,
    ) -> None:
        """All points of one channel."""
        variance = b.load("variance", channel, lanes=1)
        factor = _reciprocal_deviation(b, variance, self.eps)
        factor = b.binary("mul", factor, b.load("scale", channel, lanes=1))
        factors = _both(b, factor)
        means = _both(b, b.load("mean", channel, lanes=1))
        shifts = _both(b, b.load("shift", channel, lanes=1))

        def finish(cursor: Cursor) -> None:
            value = b.binary("sub", cursor.load(0), means[cursor.lanes])
            cursor.store(b.dot(shifts[cursor.lanes], value, factors[cursor.lanes]))

        walk(b, sizes, [b["x"], b["y"]], places, bases, finish)
