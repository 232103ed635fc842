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
from xdsl.dialects.builtin import f32, i64
from xdsl.ir import Attribute

from edgec.dialects.lane import buffer_type, vector
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import has_gaps, zero_all_gaps, zero_gaps
from edgec.kernels.layout import Layout, plain
from edgec.kernels.sweep import Cursor, sweep
from edgec.kernels.views import Axis, Sizes, View, broadcast, identity, regions

Element = Literal["f32", "i64"]

ELEMENTS: dict[Element, Attribute] = {"f32": f32, "i64": i64}
"""Element types that can be moved."""


@dataclass(frozen=True)
class Box:
    """A part of the result: element `start + p` for `p` in `sizes`.

    It is input `source` at `axes`, as functions of `p`; or `value` if there is no
    source.
    """

    start: Sizes
    sizes: Sizes
    axes: tuple[Axis, ...] = ()
    source: int | None = None
    value: float = 0.0


@dataclass(frozen=True)
class Move:
    """A result made of boxes of inputs; elements are converted if their types differ."""

    inputs: tuple[Layout, ...]
    output: Layout
    boxes: tuple[Box, ...]
    element: Element = "f32"
    result: Element = "f32"

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x0, x1, …, y."""
        element, result = ELEMENTS[self.element], ELEMENTS[self.result]
        buffers = {
            f"x{k}": buffer_type(source.elements, element)
            for k, source in enumerate(self.inputs)
        }
        buffers["y"] = buffer_type(self.output.elements, result)
        b = KernelBuilder(name, buffers, lanes=lanes)
        whole = [self._covers_planes(box) for box in self.boxes]
        is_by_plane = has_gaps(self.output) and all(whole)
        for box in self.boxes:
            self._box(b, box, is_by_plane=is_by_plane)
        if not is_by_plane:
            zero_all_gaps(b, "y", self.output)
        return b.finish()

    def _covers_planes(self, box: Box) -> bool:
        """Whether the box covers the whole of each plane that it touches."""
        sizes = self.output.shape[2:]
        return len(sizes) == 2 and (box.start[2:], box.sizes[2:]) == ((0, 0), sizes)

    def _box(self, b: KernelBuilder, box: Box, *, is_by_plane: bool) -> None:
        target = View(
            self.output, tuple(Axis(d, start) for d, start in enumerate(box.start))
        )
        views, buffers = [target], [b["y"]]
        if box.source is not None:
            views.insert(0, View(self.inputs[box.source], box.axes))
            buffers.insert(0, b[f"x{box.source}"])

        def plane(n: Index, c: Index) -> None:
            at = b.plus(n, box.start[0]), b.plus(c, box.start[1])
            zero_gaps(b, "y", self.output, *at)

        def body(cursor: Cursor) -> None:
            if box.source is None:
                cursor.store(b.constant(box.value, lanes=cursor.lanes))
                return
            value = cursor.load(0)
            if self.element != self.result:
                to = vector(cursor.lanes, ELEMENTS[self.result])
                value = b.cast(value, to)
            cursor.store(value)

        for number, region in enumerate(regions(box.sizes, views)):
            on_plane = plane if is_by_plane and number == 0 else None
            sweep(b, region.sizes, buffers, region.places, body, on_plane=on_plane)


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


def concat(sources: Sequence[Layout], output: Layout, axis: int) -> Move:
    """The sources one after the other along `axis`."""
    boxes: list[Box] = []
    position = 0
    for number, source in enumerate(sources):
        start = tuple(position if d == axis else 0 for d in range(len(source.shape)))
        boxes.append(Box(start, source.shape, identity(source).axes, number))
        position += source.shape[axis]
    return Move(tuple(sources), output, tuple(boxes))


def reshape(source: Layout, output: Layout) -> Move:
    """The same elements in row-major order; one of both must be without gaps.

    Raises `InvalidInput` if both have gaps and their shapes differ.
    """
    if source.shape == output.shape:
        return copy(source, output)
    if not has_gaps(source):
        return copy(plain(output.shape, source.slack), output)
    if not has_gaps(output):
        return copy(source, plain(source.shape, output.slack))
    raise InvalidInput(
        f"reshape of {source.shape} to {output.shape} needs a plain layout on one "
        "side, got gaps on both"
    )


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
