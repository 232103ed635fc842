"""Average pooling of quads, 1-D to 3-D.

As in `edgec.kernels.pool`, with a scratch row for each of the four channels:

    row[c][x] = sum over the window's input rows of q - zero point     exact
    v = sum over the window's columns of row[c] / count * scale        two roundings

Sums are whole numbers of at most 255 for each position of a window, which float32 holds
exactly. Then `v` is stored, or rounded to a byte as by `Requantize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type, vector
from edgec.dialects.sq import MOST_POSITIONS
from edgec.errors import InvalidInput
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import has_gaps, zero_gaps
from edgec.kernels.pool import Pool, PoolBuild
from edgec.kernels.pool_windows import RowTap
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors


@dataclass(frozen=True, kw_only=True)
class AverageQuads(Pool):
    """`input` is a layout of quads, and so is `output` unless it is float32.

    Raises `InvalidInput` for layouts with phases, other kinds, and huge windows.
    """

    quantized: Dequantize
    requantize: Requantize | None
    """None for a result in float32."""

    def __post_init__(self) -> None:
        require_unphased("pooling of quads", self.input, self.output)
        depth, height, width = self.windows()
        positions = depth.kernel * height.kernel * width.kernel
        if self.kind != "avg" or positions > MOST_POSITIONS:
            raise InvalidInput(
                f"an average of quads is over at most {MOST_POSITIONS} positions, "
                f"got {self.kind} of {positions}"
            )

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        element = f32 if self.requantize is None else i32
        buffers = {
            "x": buffer_type(self.input.elements, i32),
            "y": buffer_type(self.output.elements, element),
        }
        b = KernelBuilder(name, buffers, lanes=lanes)
        _Build(b, self).build()
        return b.finish()


class _Build(PoolBuild):
    """Scratch rows hold sums of one channel each."""

    scratch_rows = QUAD

    def __init__(self, b: KernelBuilder, spec: AverageQuads) -> None:
        super().__init__(b, spec)
        self.quads = spec
        self.first: Index = 0
        """Channel of the first scratch row."""

    def plane_of(self, channel: Index) -> Index:
        """Those of a result in float32 are of one channel, not of four."""
        self.first = self.b.times(channel, QUAD)
        return channel if self.quads.requantize is not None else self.first

    def gather_vectors(
        self, taps: Sequence[RowTap], columns: int, shift: int, to: int
    ) -> None:
        """Sums of the four bytes, each with a product that takes it alone."""
        b, zero = self.b, self.quads.quantized.zero_point
        start = b.splat(b.integer(-zero * len(taps)))
        takes = [b.splat(b.integer(1 << 8 * k)) for k in range(QUAD)]

        def columns_from(x: Index, offset: int, mask: SSAValue | None) -> None:
            sums = [start] * QUAD
            for tap in taps:
                at = b.plus(tap.base, x)
                found = b.load("x", at, offset=tap.offset + shift + offset, mask=mask)
                sums = [
                    b.dot_quads(acc, found, take, bounded=True)
                    for acc, take in zip(sums, takes, strict=True)
                ]
            for row, acc in zip(self.rows, sums, strict=True):
                value = b.cast(acc, vector(b.lanes))
                b.store(value, row, x, offset=to + offset, mask=mask)

        for_vectors(b, columns, b.lanes, columns_from)

    def store(
        self, values: Sequence[SSAValue], y: Index, offset: int, mask: SSAValue | None
    ) -> None:
        """Averages of four channels, the last of which may not exist."""
        b, spec = self.b, self.quads
        scale = b.constant(spec.quantized.scale)
        values = [b.binary("mul", value, scale) for value in values]
        if spec.requantize is not None:
            quads = spec.requantize.pack(b, values)
            b.store(quads, "y", y, offset=offset, mask=mask)
            return
        channels, step = spec.output.shape[1], spec.output.strides[1]
        for k, value in enumerate(values):

            def one(k: int = k, value: SSAValue = value) -> None:
                b.store(value, "y", y, offset=offset + k * step, mask=mask)

            if channels % QUAD == 0 or k == 0:
                one()
            else:
                b.when(b.less(b.plus(self.first, k), channels), one)

    def zero_gaps(self, n: Index, c: Index) -> None:
        """Of the planes of a quad."""
        b, spec = self.b, self.quads
        if spec.requantize is not None:
            zeros = b.splat(b.integer(spec.requantize.gap))
            zero_gaps(b, "y", spec.output, n, c, zeros, part=self.own_part)
        elif has_gaps(spec.output):
            end = b.smaller(b.plus(self.first, QUAD), spec.output.shape[1])

            def one(k: SSAValue) -> None:
                zero_gaps(b, "y", spec.output, n, k, part=self.own_part)

            b.loop(self.first, end, one)
