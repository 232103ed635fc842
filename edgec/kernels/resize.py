"""Nearest and bilinear resizing by tables of positions.

Positions depend on shapes and scales only, so they are computed at compile time, in
float32 as torch does. A row of the result is made in two steps: the input rows that it
needs are combined into a scratch row (vectors), whose elements are then picked by table
into a second one. Rows of the result that read the same input rows are made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from xdsl.dialects import func
from xdsl.dialects.builtin import Float32Type, IntegerType, f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type, lanes_of
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import quad_of
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


def nearest_table(size: int, out: int, scale: float) -> Ints:
    """`min(floor(o * scale), size - 1)` for each `o`."""
    positions = np.arange(out, dtype=np.float32) * np.float32(scale)
    return np.minimum(np.floor(positions), size - 1).astype(np.int32)


def linear_tables(
    size: int, out: int, scale: float, *, align_corners: bool
) -> tuple[Ints, Ints, Floats]:
    """The lower and upper neighbour of each position and the share of the upper one."""
    steps, step, half = np.arange(out, dtype=np.float32), np.float32(scale), 0.5
    if align_corners:
        positions = steps * step
    else:
        shifted = (steps + np.float32(half)) * step - np.float32(half)
        positions = np.maximum(shifted, np.float32(0))
    lower = np.minimum(positions.astype(np.int32), size - 1)
    upper = np.minimum(lower + 1, size - 1).astype(np.int32)
    share = np.clip(positions - lower.astype(np.float32), 0, 1).astype(np.float32)
    return lower.astype(np.int32), upper, share


@dataclass(frozen=True)
class Resize:
    """Resizing of `[N, C, *S]`; where the result reads is in the tables.

    Raises `InvalidInput` for a layout with phases.
    """

    kind: Literal["nearest", "bilinear"]
    input: Layout
    output: Layout
    zero_point: int | None = None
    """If layouts are of quads: the byte that stands for 0. For `nearest`."""

    def __post_init__(self) -> None:
        require_unphased("resize", self.input, self.output)
        if self.zero_point is not None and self.kind != "nearest":
            raise InvalidInput(f"quads can be resized by nearest, got {self.kind}")

    @property
    def element(self) -> Float32Type | IntegerType:
        """Of both buffers: numbers, or four bytes."""
        return f32 if self.zero_point is None else i32

    def tables(
        self, scales: Sequence[float], *, align_corners: bool
    ) -> tuple[Ints, Floats]:
        """The buffers `index` and `share`, dimension after dimension.

        Nearest has one index per position and no shares (a single 0 stands there);
        bilinear has all lower neighbours of a dimension, then all upper ones.
        """
        indices: list[Ints] = []
        shares: list[Floats] = []
        sizes = zip(self.input.shape[2:], self.output.shape[2:], scales, strict=True)
        for size, out, scale in sizes:
            if self.kind == "nearest":
                indices.append(nearest_table(size, out, scale))
                continue
            lower, upper, share = linear_tables(
                size, out, scale, align_corners=align_corners
            )
            indices += [lower, upper]
            shares.append(share)
        zero = np.zeros(1, np.float32)
        return np.concatenate(indices), np.concatenate(shares) if shares else zero

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, index, share, y."""
        positions = sum(self.output.shape[2:])
        is_linear = self.kind == "bilinear"
        types = {
            "x": buffer_type(self.input.elements, self.element),
            "index": buffer_type(positions * (2 if is_linear else 1), i32),
            "share": buffer_type(positions if is_linear else 1),
            "y": buffer_type(self.output.elements, self.element),
        }
        b = KernelBuilder(name, types, lanes=lanes)
        make = _Bilinear if is_linear else _Nearest
        make(b, self).build()
        return b.finish()


class _Rows:
    """Planes and rows of the result, shared among the threads by planes."""

    def __init__(self, b: KernelBuilder, spec: Resize) -> None:
        self.b, self.spec = b, spec
        self.width, self.out_width = spec.input.shape[-1], spec.output.shape[-1]

    def build(self) -> None:
        """All planes."""
        b, spec = self.b, self.spec
        channels = spec.output.shape[1]
        begin, end = b.share(spec.output.shape[0] * channels)

        def plane(p: SSAValue) -> None:
            n, c = b.quotient(p, channels), b.remainder(p, channels)
            x, y = (
                b.plus(
                    place.origin,
                    b.times(n, place.strides[0]),
                    b.times(c, place.strides[1]),
                )
                for place in (spec.input, spec.output)
            )
            self.plane(x, y)
            zero_gaps(b, "y", spec.output, n, c, zeros)

        zero = spec.zero_point
        zeros = None if zero is None else b.splat(b.integer(quad_of(zero)))
        b.loop(begin, end, plane)

    def plane(self, x: Index, y: Index) -> None:
        """All rows of one plane."""
        raise AssertionError(f"{type(self).__name__} must define plane")


class _Nearest(_Rows):
    def plane(self, x: Index, y: Index) -> None:
        """Rows of depth x height; the table of columns comes last."""
        b, spec = self.b, self.spec
        *outer, _ = spec.output.shape[2:]
        tables = [sum(outer[:d]) for d in range(len(outer) + 1)]
        row = b.scratch(self.out_width + b.lanes, 0, spec.element)

        def dim(d: int, x: Index, y: Index) -> None:
            if d == len(outer):
                self._copy(row, y)
                return

            def position(o: Index, before: SSAValue) -> list[SSAValue]:
                index = b.load_index("index", o, offset=tables[d])
                at = b.plus(x, b.times(index, spec.input.strides[2 + d]))
                to = b.plus(y, b.times(o, spec.output.strides[2 + d]))
                if d == len(outer) - 1:
                    is_same = b.equal(index, before)
                    b.when(is_same, lambda: None, lambda: self._pick(row, at, tables))
                dim(d + 1, at, to)
                return [index]

            # No index is as large as this, so that the first row is always made.
            never = b.value(spec.input.shape[2 + d])
            b.loop(0, outer[d], position, carried=[never])

        if not outer:
            self._pick(row, x, tables)
        dim(0, x, y)

    def _pick(self, row: SSAValue, x: Index, tables: Sequence[int]) -> None:
        """The elements of an input row that the result has, to scratch."""
        b = self.b

        def column(o: Index) -> None:
            index = b.load_index("index", o, offset=tables[-1])
            b.store(b.load("x", b.plus(x, index), lanes=1), row, o)

        b.repeat(self.out_width, column)

    def _copy(self, row: SSAValue, y: Index) -> None:
        """The scratch row to the result."""
        b = self.b

        def vector(o: Index, offset: int, mask: SSAValue | None) -> None:
            value = b.load(row, o, offset=offset, mask=mask)
            b.store(value, "y", b.plus(y, o), offset=offset, mask=mask)

        for_vectors(b, self.out_width, b.lanes, vector)


class _Bilinear(_Rows):
    def plane(self, x: Index, y: Index) -> None:
        """Blend two input rows, then neighbours in the blended row."""
        b, spec = self.b, self.spec
        height = spec.output.shape[2]
        row = b.scratch(self.width + b.lanes)

        def line(o: Index) -> None:
            at = [
                b.plus(
                    x,
                    b.times(b.load_index("index", o, offset=k), spec.input.strides[2]),
                )
                for k in (0, height)
            ]
            share = b.splat(b.load("share", o, lanes=1))

            def vector(i: Index, offset: int, mask: SSAValue | None) -> None:
                low, high = (
                    b.load("x", b.plus(a, i), offset=offset, mask=mask) for a in at
                )
                b.store(self._blend(low, high, share), row, i, offset=offset, mask=mask)

            for_vectors(b, self.width, b.lanes, vector)
            self._columns(row, b.plus(y, b.times(o, spec.output.strides[2])))

        b.repeat(height, line)

    def _columns(self, row: SSAValue, y: Index) -> None:
        """One row of the result from the blended row."""
        b, height = self.b, self.spec.output.shape[2]
        first = 2 * height

        def column(o: Index) -> None:
            low, high = (
                b.load(row, b.load_index("index", o, offset=k), lanes=1)
                for k in (first, first + self.out_width)
            )
            share = b.load("share", o, lanes=1, offset=height)
            b.store(self._blend(low, high, share), "y", b.plus(y, o))

        b.repeat(self.out_width, column)

    def _blend(self, low: SSAValue, high: SSAValue, share: SSAValue) -> SSAValue:
        """`low * (1 - share) + high * share`."""
        b = self.b
        rest = b.binary("sub", b.constant(1.0, lanes=lanes_of(share.type)), share)
        return b.dot(b.binary("mul", low, rest), high, share)
