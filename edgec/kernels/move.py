"""Kernels that move elements: one family for all ops that compute nothing.

The result is cut into boxes; each box is copied from one input through an affine map of
indices, or filled with a value. A transpose is one box, a concatenation one per input,
a padding one per combination of low part, interior and high part.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32, i64
from xdsl.ir import Attribute, SSAValue

from edgec.dialects.lane import buffer_type, vector
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import Part, has_gaps, zero_all_gaps, zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.strides import common_refinement, reshaped
from edgec.kernels.sweep import Cursor, are_alike, sweep
from edgec.kernels.views import Axis, Region, Sizes, View, broadcast, identity, regions

Element = Literal["f32", "i64", "i32"]

ELEMENTS: dict[Element, Attribute] = {"f32": f32, "i64": i64, "i32": i32}
"""Element types that can be moved; i32 are quads of bytes, or pairs of bf16."""


@dataclass(frozen=True)
class Box:
    """A part of the result: element `start + p` for `p` in `sizes`.

    It is input `source` at `axes`, as functions of `p`; or `value` if there is no
    source, for quads all four bytes of it as a signed number.
    """

    start: Sizes
    sizes: Sizes
    axes: tuple[Axis, ...] = ()
    source: int | None = None
    value: float = 0.0


@dataclass(frozen=True)
class Move:
    """A result made of boxes of inputs.

    Elements are converted if those of the inputs and the result differ.
    """

    inputs: tuple[Layout, ...]
    output: Layout
    boxes: tuple[Box, ...]
    element: Element = "f32"
    result: Element = "f32"
    gap: int = 0
    """What stands in the gaps of quads, which 0 is not always a byte of."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x0, x1, …, y."""
        element, result = ELEMENTS[self.element], ELEMENTS[self.result]
        buffers = {
            f"x{k}": buffer_type(source.elements, element)
            for k, source in enumerate(self.inputs)
        }
        buffers["y"] = buffer_type(self.output.elements, result)
        b = KernelBuilder(name, buffers, lanes=lanes)
        jobs = [_Job.of(b, self, box) for box in self.boxes]
        is_by_plane = has_gaps(self.output) and all(job.is_by_plane for job in jobs)
        for job in jobs:
            job.build(zero_planes=is_by_plane)
        if not is_by_plane:
            zero_all_gaps(b, "y", self.output, self.gaps(b))
        return b.finish()

    def gaps(self, b: KernelBuilder) -> SSAValue | None:
        """A vector of what stands in gaps; None for the number 0."""
        return b.splat(b.integer(self.gap)) if self.result == "i32" else None


@dataclass(frozen=True)
class _Job:
    """The loops of one box."""

    b: KernelBuilder
    spec: Move
    box: Box
    buffers: tuple[SSAValue, ...]
    parts: tuple[Region, ...]

    @staticmethod
    def of(b: KernelBuilder, spec: Move, box: Box) -> _Job:
        """Where the box reads and writes."""
        starts = tuple(Axis(d, start) for d, start in enumerate(box.start))
        views, buffers = [View(spec.output, starts)], [b["y"]]
        if box.source is not None:
            views.insert(0, View(spec.inputs[box.source], box.axes))
            buffers.insert(0, b[f"x{box.source}"])
        return _Job(b, spec, box, tuple(buffers), tuple(regions(box.sizes, views)))

    @property
    def is_by_plane(self) -> bool:
        """Whether units can be whole planes of the result."""
        box, sizes = self.box, self.spec.output.shape[2:]
        is_whole = (box.start[2:], box.sizes[2:]) == ((0,) * len(sizes), sizes)
        return is_whole and are_alike(self.parts)

    def build(self, *, zero_planes: bool) -> None:
        """Write the box, and the gaps of the planes that it covers."""
        b, box = self.b, self.box

        def plane(n: Index, c: Index, part: Part | None) -> None:
            at = b.plus(n, box.start[0]), b.plus(c, box.start[1])
            zeros = self.spec.gaps(b)
            zero_gaps(b, "y", self.spec.output, *at, zeros, part=part)

        on_plane = plane if zero_planes else None
        sweep(b, self.parts, self.buffers, self.store, on_plane=on_plane)

    def store(self, cursor: Cursor) -> None:
        """One vector or element of the result."""
        b, spec = self.b, self.spec
        if self.box.source is None:
            cursor.store(self.value(cursor.lanes))
            return
        value = cursor.load(0)
        if spec.element != spec.result:
            value = b.cast(value, vector(cursor.lanes, ELEMENTS[spec.result]))
        cursor.store(value)

    def value(self, lanes: int) -> SSAValue:
        """What fills a box."""
        b, number = self.b, self.box.value
        if self.spec.result != "i32":
            return b.constant(number, lanes=lanes)
        quad = b.integer(int(number))
        return quad if lanes == 1 else b.splat(quad)


def _one_box(source: View, output: Layout) -> Move:
    """The whole result from one input."""
    box = Box((0,) * len(output.shape), output.shape, source.axes, 0)
    return Move((source.layout,), output, (box,))


def copy(source: Layout, output: Layout) -> Move:
    """The same tensor in another layout."""
    return _one_box(identity(source), output)


def cast(source: Layout, output: Layout, element: Element, result: Element) -> Move:
    """The same numbers as elements of another type."""
    moved = copy(source, output)
    return Move(moved.inputs, output, moved.boxes, element, result)


def broadcast_to(source: Layout, output: Layout) -> Move:
    """Numpy's `broadcast_to`."""
    return _one_box(broadcast(source, output.shape), output)


def transpose(source: Layout, output: Layout, permutation: Sequence[int]) -> Move:
    """Dimension `i` of the result is dimension `permutation[i]` of the source."""
    axes = tuple(Axis(permutation.index(t)) for t in range(len(permutation)))
    return _one_box(View(source, axes), output)


def slice_(
    source: Layout, output: Layout, starts: Sequence[int], steps: Sequence[int]
) -> Move:
    """Every `steps`-th element from `starts` on."""
    axes = tuple(
        Axis(d, start, step)
        for d, (start, step) in enumerate(zip(starts, steps, strict=True))
    )
    return _one_box(View(source, axes), output)


def concat(
    sources: Sequence[Layout],
    output: Layout,
    axis: int,
    placed: Sequence[bool] | None = None,
) -> Move:
    """The sources one after the other along `axis`.

    Those that are `placed` stand there already and are no inputs.
    """
    boxes: list[Box] = []
    copied: list[Layout] = []
    position = 0
    for source, done in zip(sources, placed or [False] * len(sources), strict=True):
        start = tuple(position if d == axis else 0 for d in range(len(source.shape)))
        position += source.shape[axis]
        if not done:
            boxes.append(Box(start, source.shape, identity(source).axes, len(copied)))
            copied.append(source)
    return Move(tuple(copied), output, tuple(boxes))


def reshape(source: Layout, output: Layout) -> Move:
    """The same elements in row-major order.

    Raises `InvalidInput` if both lie unevenly and their shapes differ.
    """
    if source.shape == output.shape:
        return copy(source, output)
    pair = reshaped_pair(source, output)
    if pair is None:
        raise InvalidInput(
            f"reshape of {source.shape} to {output.shape} needs a plain layout on one "
            "side, got gaps on both"
        )
    return copy(*pair)


def reshaped_pair(source: Layout, output: Layout) -> tuple[Layout, Layout] | None:
    """Both sides of a reshape with one shape; None if there is none.

    That is the shape of either side if the other is in row-major order, else one that
    both can be split to.
    """
    for whole, shape in ((source, output.shape), (output, source.shape)):
        if not whole.is_split and not has_gaps(whole):
            moved = reshaped(whole, shape)
            if moved is not None:
                return (moved, output) if whole is source else (source, moved)
    shape = common_refinement(source.shape, output.shape)
    if shape is None or source.is_split or output.is_split or has_gaps(output):
        return None
    one, other = reshaped(source, shape), reshaped(output, shape)
    return None if one is None or other is None else (one, other)


@dataclass(frozen=True)
class _Segment:
    """A part of one dimension of a padded result and where it comes from."""

    start: int
    size: int
    axis: Axis | None


def pad(
    source: Layout,
    output: Layout,
    kind: Literal["constant", "reflect", "replicate"],
    low: Sequence[int],
    value: float = 0.0,
) -> Move:
    """`low` positions before each dimension and the rest after it; negative crop."""
    per_dim = [
        _segments(d, source.shape[d], output.shape[d], low[d], kind)
        for d in range(len(output.shape))
    ]
    boxes: list[Box] = []
    for parts in itertools.product(*per_dim):
        start = tuple(part.start for part in parts)
        sizes = tuple(part.size for part in parts)
        axes = tuple(part.axis for part in parts if part.axis is not None)
        is_copy = len(axes) == len(parts)
        boxes.append(
            Box(start, sizes, axes, 0) if is_copy else Box(start, sizes, value=value)
        )
    return Move((source,), output, tuple(boxes))


def _segments(d: int, size: int, padded: int, low: int, kind: str) -> list[_Segment]:
    """The parts of dimension `d`: before, inside and after the source."""
    before, inside = max(low, 0), max(0, min(padded, low + size) - max(low, 0))
    after, last = padded - before - inside, 2 * (size - 1) + low - before - inside
    axes: dict[str, tuple[Axis | None, Axis | None]] = {
        "constant": (None, None),
        "replicate": (Axis(None, 0), Axis(None, size - 1)),
        "reflect": (Axis(d, low, -1), Axis(d, last, -1)),
    }
    first, end = axes[kind]
    segments = [
        _Segment(0, before, first),
        _Segment(before, inside, Axis(d, before - low)),
        _Segment(before + inside, after, end),
    ]
    return [segment for segment in segments if segment.size > 0]
