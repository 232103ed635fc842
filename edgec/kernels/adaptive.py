"""Adaptive pooling whose windows differ in size.

As in `edgec.kernels.pool`, the input rows of a window are first combined into a scratch
row (vectors along x), then columns of that (one by one). Window `i` of `O` over size
`S` is `i S / O .. ((i + 1) S + O - 1) / O`, computed where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from xdsl.dialects import func
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.pool import COMBINE, NEUTRAL, Pool
from edgec.kernels.reduce import Reduce
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors

Kind = Literal["max", "avg"]


def adaptive_pool(
    kind: Kind, source: Layout, result: Layout
) -> Pool | Reduce | AdaptivePool:
    """The cheapest kernel: one reduction, windows of one size, or any windows.

    Raises `InvalidInput` for layouts with phases whose windows differ in size.
    """
    spatial, out = source.shape[2:], result.shape[2:]
    if math.prod(out) == 1:
        axes = tuple(range(2, len(source.shape)))
        return Reduce("mean" if kind == "avg" else "max", source, result, axes)
    if any(size % o for size, o in zip(spatial, out, strict=True)):
        return AdaptivePool(kind, source, result)
    window = tuple(size // o for size, o in zip(spatial, out, strict=True))
    ones, zeros = (1,) * len(out), (0,) * len(out)
    return Pool(kind, source, result, window, window, zeros, ones)


@dataclass(frozen=True)
class AdaptivePool:
    """Max or mean over windows that share the input evenly.

    Raises `InvalidInput` for a layout with phases.
    """

    kind: Kind
    input: Layout
    output: Layout

    def __post_init__(self) -> None:
        require_unphased("adaptive pooling", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        buffers = {
            "x": buffer_type(self.input.elements),
            "y": buffer_type(self.output.elements),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        channels = self.output.shape[1]
        rows = AdaptiveRows(b, self)
        begin, end = b.share(self.output.shape[0] * channels)

        def plane(p: SSAValue) -> None:
            n, c = b.quotient(p, channels), b.remainder(p, channels)
            x, y = (
                b.plus(
                    place.origin,
                    b.times(n, place.strides[0]),
                    b.times(c, place.strides[1]),
                )
                for place in (self.input, self.output)
            )
            rows.outer(0, x, y, [])
            zero_gaps(b, "y", self.output, n, c)

        b.loop(begin, end, plane)
        return b.finish()


@dataclass(frozen=True)
class Range:
    """The positions `begin .. end` of a window along one dimension."""

    begin: Index
    end: Index


class AdaptiveRows:
    """Builds the rows of the result."""

    def __init__(self, b: KernelBuilder, spec: AdaptivePool) -> None:
        self.b, self.spec = b, spec
        self.sizes, self.out = spec.input.shape[2:], spec.output.shape[2:]
        self.combine, self.neutral = COMBINE[spec.kind], NEUTRAL[spec.kind]
        self.rows = self.scratch()
        self.group: Index = 0
        """The plane of the input that the rows belong to."""

    def scratch(self) -> list[SSAValue]:
        """Rows of what is combined."""
        return [self.b.scratch(self.sizes[-1] + self.b.lanes)]

    def window(self, d: int, o: Index) -> Range:
        """Window `o` along spatial dimension `d`."""
        b, size, out = self.b, self.sizes[d], self.out[d]
        after = b.plus(b.times(b.plus(o, 1), size), out - 1)
        return Range(b.quotient(b.times(o, size), out), b.quotient(after, out))

    def outer(self, d: int, x: Index, y: Index, windows: list[Range]) -> None:
        """Loops over the rows of the result."""
        b = self.b
        if d == len(self.out) - 1:
            self.gather(x, windows)
            self.columns(y, windows)
            return

        def position(o: Index) -> None:
            at = b.plus(y, b.times(o, self.spec.output.strides[2 + d]))
            self.outer(d + 1, x, at, [*windows, self.window(d, o)])

        b.repeat(self.out[d], position)

    def gather(self, x: Index, windows: list[Range]) -> None:
        """Combine the input rows of a window into the scratch row."""
        b = self.b

        def clear(i: Index, offset: int, mask: SSAValue | None) -> None:
            for row in self.rows:
                b.store(self.start(b.lanes), row, i, offset=offset, mask=mask)

        for_vectors(b, self.sizes[-1], b.lanes, clear)

        def rows(d: int, at: Index) -> None:
            if d == len(windows):
                self.add_row(at)
                return
            stride = self.spec.input.strides[2 + d]

            def row(i: Index) -> None:
                rows(d + 1, b.plus(at, b.times(i, stride)))

            b.loop(windows[d].begin, windows[d].end, row)

        rows(0, x)

    def start(self, lanes: int) -> SSAValue:
        """What does not change the result of a window."""
        return self.b.constant(self.neutral, lanes=lanes)

    def add_row(self, at: Index) -> None:
        """Combine one input row with the scratch row."""
        b = self.b

        def vector(i: Index, offset: int, mask: SSAValue | None) -> None:
            value = b.load("x", b.plus(at, i), offset=offset, mask=mask)
            so_far = b.load(self.rows[0], i, offset=offset, mask=mask)
            value = self.combined(so_far, value)
            b.store(value, self.rows[0], i, offset=offset, mask=mask)

        for_vectors(b, self.sizes[-1], b.lanes, vector)

    def columns(self, y: Index, windows: list[Range]) -> None:
        """A row of the result from the scratch rows."""
        b, last = self.b, len(self.out) - 1

        def column(o: Index) -> None:
            window = self.window(last, o)

            def add(i: SSAValue, *so_far: SSAValue) -> list[SSAValue]:
                return [
                    self.combined(value, b.load(row, i, lanes=1))
                    for value, row in zip(so_far, self.rows, strict=True)
                ]

            start = [self.start(1)] * len(self.rows)
            found = b.loop(window.begin, window.end, add, carried=start)
            self.store(found, b.plus(y, o), [*windows, window])

        b.repeat(self.out[last], column)

    def combined(self, one: SSAValue, other: SSAValue) -> SSAValue:
        """Two elements of a window as one."""
        return self.b.binary(self.combine, one, other)

    def store(
        self, values: Sequence[SSAValue], at: Index, windows: Sequence[Range]
    ) -> None:
        """One element of the result."""
        (value,) = values
        if self.spec.kind == "avg":
            value = self.b.binary("div", value, self.count(windows))
        self.b.store(value, "y", at)

    def count(self, windows: Sequence[Range]) -> SSAValue:
        """How many elements a window has, as f32."""
        b = self.b
        number: Index = 1
        for window in windows:
            number = b.times(number, b.minus(window.end, window.begin))
        return b.cast(b.value(number), f32)
