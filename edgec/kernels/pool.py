"""Max and average pooling, 1-D to 3-D.

Per plane and row of the result, in two steps through a row in the thread's scratch:

    row[x] = combine over the window's input rows that exist       # vectors along x
    y[o]   = combine over the window's columns of row              # strided loads

The scratch row starts and ends with neutral elements as wide as the padding, so columns
have no borders. Rows at the border are groups of their own, each with its list of
window rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import Part, zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.pool_windows import RowTap, Window
from edgec.kernels.requantize import quad_of
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import LARGE_PLANE, for_vectors

NEUTRAL = {"max": float("-inf"), "avg": 0.0}
"""What does not change the result of a window."""

COMBINE = {"max": "max", "avg": "add"}
"""How two elements of a window become one, as a kind of `lane.binary`."""


@dataclass(frozen=True)
class Pool:
    """Pooling as `nn.pool` defines it; the shape of the result says where it ends.

    Raises `InvalidInput` for a volume in a layout with phases.
    """

    kind: Literal["max", "avg"]
    input: Layout
    output: Layout
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    count_include_pad: bool = True
    divisor: int = 0
    zero_point: int | None = None
    """If layouts are of quads: the byte that stands for 0. For `max`."""

    def __post_init__(self) -> None:
        if self.zero_point is not None:
            require_unphased("pooling of quads", self.input, self.output)
        if len(self.kernel) == 3:
            require_unphased("3-D pooling", self.input, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        element = f32 if self.zero_point is None else i32
        buffers = {
            "x": buffer_type(self.input.elements, element),
            "y": buffer_type(self.output.elements, element),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        PoolBuild(b, self).build()
        return b.finish()

    def windows(self) -> tuple[Window, Window, Window]:
        """The windows along depth, height and width; missing dimensions have size 1."""
        lead = 3 - len(self.kernel)
        real = [
            Window(*sizes)
            for sizes in zip(
                self.input.shape[2:],
                self.output.shape[2:],
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        ]
        depth, height, width = [Window(1, 1, 1, 1, 0, 1)] * lead + real
        return depth, height, width


class PoolBuild:
    """Builds the loops of one pooling kernel."""

    scratch_rows = 1

    def __init__(self, b: KernelBuilder, spec: Pool) -> None:
        self.b, self.spec = b, spec
        self.depth, self.height, self.width = spec.windows()
        self.in_phase, self.out_phase = (
            (place.phases[-2], place.phases[-1]) for place in (spec.input, spec.output)
        )
        self.combine = COMBINE[spec.kind]
        # A phase of the input that divides the stride stays split in scratch.
        self.is_split = self.width.stride % self.in_phase[1] == 0
        self.parts = self.in_phase[1] if self.is_split else 1
        self.left = -(-self.width.padding // self.parts)
        reach = (self.width.out - 1) * self.width.stride - self.width.padding
        reach += (self.width.kernel - 1) * self.width.dilation
        held = -(-self.width.size // self.parts)
        self.held = self.left + max(held, reach // self.parts + 1)
        overrun = b.lanes * self.width.stride * self.out_phase[1] + b.lanes
        self.part = -(-(self.held + overrun) // 16) * 16
        size = self.parts * self.part
        element = f32 if spec.zero_point is None else i32
        self.rows = [
            b.scratch(size, 4 * k * size, element) for k in range(self.scratch_rows)
        ]
        self.count_part = 0
        self.counts = self._store_counts()

    @property
    def shares_rows(self) -> bool:
        """As `sweep.shares_rows`."""
        images, _, *size = self.spec.output.shape
        return images == 1 and len(size) > 1 and math.prod(size) >= LARGE_PLANE

    @property
    def own_part(self) -> Part | None:
        """Of each plane, if the threads share its rows."""
        b = self.b
        return (b.thread, b.threads) if self.shares_rows else None

    def build(self) -> None:
        """Threads share the planes, or the rows (or slices) of large ones."""
        b, spec = self.b, self.spec
        images, channels = spec.input.shape[:2]
        neutral = self._neutral(b.lanes)
        for row in self.rows:
            for start in range(0, self.parts * self.part, b.lanes):
                b.store(neutral, row, start)
        planes = images * channels
        begin, end = (0, planes) if self.shares_rows else b.share(planes)

        def plane(p: SSAValue) -> None:
            n, c = b.quotient(p, channels), b.remainder(p, channels)
            x, y = (
                b.plus(
                    place.origin,
                    b.times(n, place.strides[0]),
                    b.times(number, place.strides[1]),
                )
                for place, number in ((spec.input, c), (spec.output, self.plane_of(c)))
            )
            for deep in self.depth.groups():
                for high in self.height.groups():
                    self._rows(x, y, deep, high)
            self.zero_gaps(n, c)

        b.loop(begin, end, plane)

    def plane_of(self, channel: Index) -> Index:
        """The plane of the result for a plane of the input."""
        return channel

    def zero_gaps(self, n: Index, c: Index) -> None:
        """Of one plane of the result."""
        b, zero = self.b, self.spec.zero_point
        zeros = None if zero is None else b.splat(b.integer(quad_of(zero)))
        zero_gaps(b, "y", self.spec.output, n, c, zeros, part=self.own_part)

    def _neutral(self, lanes: int) -> SSAValue:
        """What does not change the result of a window; no byte is less than 0."""
        b = self.b
        if self.spec.zero_point is None:
            return b.constant(NEUTRAL[self.spec.kind], lanes=lanes)
        return b.splat(b.integer(0))

    def _rows(
        self,
        x: Index,
        y: Index,
        deep: tuple[int, int, tuple[int, ...]],
        high: tuple[int, int, tuple[int, ...]],
    ) -> None:
        """The result rows of one group of depths and one of heights."""
        counted = self._count_of(self.depth, deep[0])
        counted *= self._count_of(self.height, high[0])

        def row(od: Index, oy: Index) -> None:
            taps = [self._tap(x, od, kd, oy, ky) for kd in deep[2] for ky in high[2]]
            self._gather(taps)
            self._scatter(self._out_row(y, od, oy), counted)

        is_deep = len(self.spec.output.shape) == 5

        def layer(od: Index) -> None:
            self._repeat(self.height, high, lambda oy: row(od, oy), outer=not is_deep)

        self._repeat(self.depth, deep, layer, outer=is_deep)

    def _repeat(
        self,
        window: Window,
        group: tuple[int, int, tuple[int, ...]],
        body: Callable[[Index], None],
        *,
        outer: bool,
    ) -> None:
        """`body` for each of a group; of the dimension that is shared, for a part."""
        b, (begin, end, _) = self.b, group
        if not (outer and self.shares_rows):
            b.repeat(end - begin, lambda o: body(b.plus(o, begin)))
            return
        first, last = b.share(window.out)
        b.loop(b.larger(first, begin), b.smaller(last, end), body)

    def _tap(self, x: Index, od: Index, kd: int, oy: Index, ky: int) -> RowTap:
        """Where the input row of one window position starts."""
        b, place = self.b, self.spec.input
        rank = len(place.shape)
        if rank == 3:
            return RowTap(x, 0)
        if rank == 5:
            z_from = kd * self.depth.dilation - self.depth.padding
            y_from = ky * self.height.dilation - self.height.padding
            at = b.plus(
                x,
                b.times(b.times(od, self.depth.stride), place.strides[2]),
                b.times(b.times(oy, self.height.stride), place.strides[3]),
            )
            offset = z_from * place.strides[2] + y_from * place.strides[3]
            return RowTap(at, offset)
        return self._tap_2d(x, oy, ky * self.height.dilation - self.height.padding)

    def _tap_2d(self, x: Index, oy: Index, distance: int) -> RowTap:
        """Row `oy * stride + distance` of a plane, which may be split into phases."""
        b, place, (sy, sx) = self.b, self.spec.input, self.in_phase
        stride = self.height.stride
        if stride % sy == 0:
            at = b.plus(x, b.times(b.times(oy, stride // sy), place.pitch))
            spread = distance % sy * sx * place.plane
            return RowTap(at, spread + distance // sy * place.pitch)
        return RowTap(self._row_at(place, x, b.plus(b.times(oy, stride), distance)), 0)

    def _row_at(self, place: Layout, plane: Index, y: Index) -> Index:
        """Start of row `y` of a plane that may be split into phases."""
        b, (sy, sx) = self.b, place.phase[-2:]
        return b.plus(
            plane,
            b.times(b.quotient(y, sy), place.pitch),
            b.times(b.remainder(y, sy), sx * place.plane),
        )

    def _out_row(self, y: Index, od: Index, oy: Index) -> Index:
        """Start of a row of the result."""
        b, place = self.b, self.spec.output
        if len(place.shape) == 4:
            return self._row_at(place, y, oy)
        if len(place.shape) == 3:
            return y
        return b.plus(y, b.times(od, place.strides[2]), b.times(oy, place.strides[3]))

    def _gather(self, taps: Sequence[RowTap]) -> None:
        """Combine input rows into the scratch row; no rows give neutral elements."""
        for px in range(self.in_phase[1]):
            columns = max(0, -((px - self.width.size) // self.in_phase[1]))
            shift = px * self.spec.input.plane if px else 0
            if self.is_split:
                self.gather_vectors(taps, columns, shift, px * self.part + self.left)
            else:
                self._gather_columns(taps, columns, shift, px + self.left)

    def gather_vectors(
        self, taps: Sequence[RowTap], columns: int, shift: int, to: int
    ) -> None:
        """Neighbours of the input become neighbours in scratch, from `to` on."""
        b = self.b

        def vector(x: Index, offset: int, mask: SSAValue | None) -> None:
            value = self.combined(
                [
                    b.load(
                        "x",
                        b.plus(tap.base, x),
                        offset=tap.offset + shift + offset,
                        mask=mask,
                    )
                    for tap in taps
                ],
                b.lanes,
            )
            b.store(value, self.rows[0], x, offset=to + offset, mask=mask)

        for_vectors(b, columns, b.lanes, vector)

    def _gather_columns(
        self, taps: Sequence[RowTap], columns: int, shift: int, to: int
    ) -> None:
        """Neighbours in one phase of the input stand apart in scratch."""
        b = self.b

        def column(x: Index) -> None:
            value = self.combined(
                [
                    b.load("x", b.plus(tap.base, x), lanes=1, offset=tap.offset + shift)
                    for tap in taps
                ],
                1,
            )
            b.store(value, self.rows[0], b.times(x, self.in_phase[1]), offset=to)

        b.repeat(columns, column)

    def combined(self, values: Sequence[SSAValue], lanes: int) -> SSAValue:
        """All values as one; neutral elements if there are none."""
        if not values:
            return self._neutral(lanes)
        b, result = self.b, values[0]
        for value in values[1:]:
            if self.spec.zero_point is None:
                result = b.binary(self.combine, result, value)
            else:
                result = b.max_quads(result, value)
        return result

    def _scatter(self, y: Index, counted: int) -> None:
        """Combine columns of the scratch row into a row of the result."""
        b, width, phases = self.b, self.width, self.out_phase[1]
        stride = phases * width.stride // self.parts
        for px in range(phases):
            columns = max(0, -((px - width.out) // phases))
            shift = px * self.spec.output.plane if px else 0

            def vector(
                o: Index,
                offset: int,
                mask: SSAValue | None,
                px: int = px,
                shift: int = shift,
            ) -> None:
                at = b.times(o, stride), offset * stride
                values = [
                    self._window(row, px, at, stride, (b.plus(o, offset), counted))
                    for row in self.rows
                ]
                self.store(values, b.plus(y, o), offset + shift, mask)

            for_vectors(b, columns, b.lanes, vector)

    def _window(
        self,
        row: SSAValue,
        px: int,
        at: tuple[Index, int],
        stride: int,
        average: tuple[Index, int],
    ) -> SSAValue:
        """Windows of a scratch row from `at` on; `average` as for `_counts_at`."""
        b, width = self.b, self.width
        taps: list[SSAValue] = []
        for k in range(width.kernel):
            x = px * width.stride + k * width.dilation - width.padding
            first = x % self.parts * self.part + self.left + x // self.parts
            taps.append(b.load(row, at[0], offset=first + at[1], stride=stride))
        value = self.combined(taps, b.lanes)
        if self.spec.kind == "avg":
            value = b.binary("div", value, self._counts_at(px, *average))
        return value

    def store(
        self, values: Sequence[SSAValue], y: Index, offset: int, mask: SSAValue | None
    ) -> None:
        """Results of all scratch rows."""
        (value,) = values
        self.b.store(value, "y", y, offset=offset, mask=mask)

    def _count_of(self, window: Window, o: int) -> int:
        """The factor of one dimension in the number that an average divides by."""
        if self.spec.divisor:
            return 1
        return window.count(o, include_pad=self.spec.count_include_pad)

    def _column_counts(self) -> list[list[int]]:
        """`_count_of` for the columns of each phase of the result."""
        phases = self.out_phase[1]
        return [
            [self._count_of(self.width, o) for o in range(px, self.width.out, phases)]
            for px in range(phases)
        ]

    def _store_counts(self) -> SSAValue | None:
        """The columns' counts in scratch, where they differ from one another."""
        columns = self._column_counts()
        if self.spec.kind == "max" or len(set(itertools.chain(*columns))) == 1:
            return None
        b, first = self.b, 4 * self.parts * self.part * self.scratch_rows
        self.count_part = -(-(len(columns[0]) + b.lanes) // 16) * 16
        memory = b.scratch(len(columns) * self.count_part, first)
        for px, counts in enumerate(columns):
            for o, count in enumerate(counts):
                value = b.constant(float(count), lanes=1)
                b.store(value, memory, px * self.count_part + o)
        return memory

    def _counts_at(self, px: int, o: Index, counted: int) -> SSAValue:
        """What the averages at columns from `o` on divide by."""
        b = self.b
        if self.spec.divisor:
            return b.constant(float(self.spec.divisor))
        if self.counts is None:
            return b.constant(float(counted * self._column_counts()[0][0]))
        along = b.load(self.counts, o, offset=px * self.count_part)
        return b.binary("mul", along, b.constant(float(counted)))
