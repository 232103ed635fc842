"""Adaptive pooling of quads whose windows differ in size.

As in `edgec.kernels.adaptive`, with the largest bytes in a scratch row, or sums
in a row for each of four channels, which end as in `edgec.kernels.mean_quads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, vector
from edgec.kernels.adaptive import AdaptivePool, AdaptiveRows, Kind, Range
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.layout import Layout
from edgec.kernels.mean_quads import Ending
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_vectors


@dataclass(frozen=True)
class AdaptiveQuads:
    """Max or mean over windows that share the input, a layout of quads, evenly.

    For max `ending` says how to fill gaps; it neither scales nor rounds. Raises
    `InvalidInput` for a layout with phases.
    """

    kind: Kind
    input: Layout
    ending: Ending

    def __post_init__(self) -> None:
        require_unphased("adaptive pooling", self.input, self.ending.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y. Threads share the planes."""
        ending, groups = self.ending, self.input.shape[1]
        b = KernelBuilder(name, ending.buffers(self.input), lanes=lanes)
        rows = (_Largest if self.kind == "max" else _Means)(b, self)

        def unit(number: SSAValue) -> None:
            n, group = b.quotient(number, groups), b.remainder(number, groups)
            x = b.plus(
                self.input.origin,
                b.times(n, self.input.strides[0]),
                b.times(group, self.input.strides[1]),
            )
            rows.group = group
            rows.outer(0, x, ending.plane(b, n, group), [])
            ending.zero_gaps(b, n, group)

        b.units(self.input.shape[0] * groups, unit)
        return b.finish()


class _Largest(AdaptiveRows):
    """The largest byte of each of four channels."""

    def __init__(self, b: KernelBuilder, spec: AdaptiveQuads) -> None:
        super().__init__(b, AdaptivePool("max", spec.input, spec.ending.output))

    def scratch(self) -> list[SSAValue]:
        """One row of quads."""
        return [self.b.scratch(self.sizes[-1] + self.b.lanes, element=i32)]

    def start(self, lanes: int) -> SSAValue:
        """No byte is less than 0."""
        zero = self.b.integer(0)
        return zero if lanes == 1 else self.b.splat(zero)

    def combined(self, one: SSAValue, other: SSAValue) -> SSAValue:
        """Byte by byte."""
        return self.b.max_quads(one, other)


class _Means(AdaptiveRows):
    """Sums of four channels, which float32 holds exactly."""

    def __init__(self, b: KernelBuilder, spec: AdaptiveQuads) -> None:
        self.ending = spec.ending
        super().__init__(b, AdaptivePool("avg", spec.input, spec.ending.output))

    def scratch(self) -> list[SSAValue]:
        """A row for each channel."""
        size = -(-(self.sizes[-1] + self.b.lanes) // 16) * 16
        return [self.b.scratch(size, 4 * k * size) for k in range(QUAD)]

    def add_row(self, at: Index) -> None:
        """Bytes as numbers."""
        b = self.b

        def add(i: Index, offset: int, mask: SSAValue | None) -> None:
            quads = b.load("x", b.plus(at, i), offset=offset, mask=mask)
            for row, byte in zip(self.rows, b.unpack_quads(quads), strict=True):
                so_far = b.load(row, i, offset=offset, mask=mask)
                value = b.binary("add", so_far, b.cast(byte, vector(b.lanes)))
                b.store(value, row, i, offset=offset, mask=mask)

        for_vectors(b, self.sizes[-1], b.lanes, add)

    def store(
        self, values: Sequence[SSAValue], at: Index, windows: Sequence[Range]
    ) -> None:
        """The means of four channels."""
        b, count = self.b, self.count(windows)
        zero = b.constant(float(self.ending.quantized.zero_point), lanes=1)
        below = b.binary("mul", count, zero)
        means = [
            b.binary("div", b.binary("sub", value, below), count) for value in values
        ]
        self.ending.store(b, means, self.group, at)
