"""The bytes that stand for numbers, and the numbers."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, vector
from edgec.kernels.builder import KernelBuilder


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

    @property
    def gap(self) -> int:
        """A lane that holds four zeros, as a signed number."""
        return int.from_bytes(bytes([self.zero_point] * QUAD), "little", signed=True)

    def apply(self, b: KernelBuilder, value: SSAValue) -> SSAValue:
        """The byte of each number in a vector, as i32, without the zero point."""
        if self.inverse != 1.0:
            value = b.binary("mul", value, b.constant(self.inverse))
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
