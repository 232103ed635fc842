"""The bytes that stand for numbers, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, vector
from edgec.dialects.quad_ending import ByteRange
from edgec.kernels.builder import KernelBuilder


def quad_of(byte: int) -> int:
    """Four equal bytes, as a signed number."""
    return int.from_bytes(bytes([byte] * QUAD), "little", signed=True)


@dataclass(frozen=True)
class Requantize:
    """Bytes of a result: `round(v * inverse) + zero_point`, from `low` to `high`.

    Rounds half to even.
    """

    inverse: float
    """1 / scale of the result, as float32."""
    zero_point: int
    """The byte that stands for 0."""
    low: int = 0
    high: int = 255
    bounded: bool = False
    """Whether `v * inverse` is promised to fit 32 bits: then bytes are clamped, four in
    each lane, and not numbers."""

    @staticmethod
    def of(to: ByteRange) -> Requantize:
        """What `edgec.dialects.quad_ending` asks for."""
        return Requantize(to.inverse, to.zero_point, to.low, to.high, to.bounded)

    @property
    def gap(self) -> int:
        """A lane that holds four zeros, as a signed number."""
        return quad_of(self.zero_point)

    def pack(
        self,
        b: KernelBuilder,
        values: Sequence[SSAValue],
        *,
        transposed: bool = False,
    ) -> SSAValue:
        """Quads of up to four vectors; the byte of a missing one is the zero point.

        `transposed` as for `lane.pack_quads`.
        """
        parts = [self._rounded(b, value) for value in values]
        nothing = b.splat(b.integer(0))
        parts += [nothing] * (QUAD - len(parts))
        quads = b.pack_quads(parts, self.zero_point, transposed=transposed)
        if self.bounded and self.low > 0:
            quads = b.max_quads(quads, b.splat(b.integer(quad_of(self.low))))
        if self.bounded and self.high < 255:
            quads = b.min_quads(quads, b.splat(b.integer(quad_of(self.high))))
        return quads

    def _rounded(self, b: KernelBuilder, value: SSAValue) -> SSAValue:
        """As i32, without the zero point."""
        if self.inverse != 1.0:
            value = b.binary("mul", value, b.constant(self.inverse))
        if not self.bounded:
            low, high = self.low - self.zero_point, self.high - self.zero_point
            value = b.unary("clamp", value, (float(low), float(high)))
        return b.cast(b.unary("round", value), vector(b.lanes, i32))


@dataclass(frozen=True)
class Dequantize:
    """Numbers that bytes stand for: `(q - zero_point) * scale` in float32."""

    scale: float
    zero_point: int

    def apply(self, b: KernelBuilder, byte: SSAValue) -> SSAValue:
        """The number of each byte, which are lanes of i32."""
        value = b.cast(byte, vector(b.lanes))
        if self.zero_point:
            value = b.binary("sub", value, b.constant(float(self.zero_point)))
        return b.binary("mul", value, b.constant(self.scale))
