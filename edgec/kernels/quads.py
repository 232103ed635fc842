"""From float32 to quads of bytes and back.

    quantize:    q = clamp(round(x * inverse)) + zero, four channels in each lane
    dequantize:  x = (q - zero) * scale

Threads share the planes of quads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.lane_rows import check_groups, pack_kernel, unpack_kernel
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Requantize


@dataclass(frozen=True)
class QuantizeQuads:
    """`source` in float32 to `result`, a layout of quads of its channels."""

    source: Layout
    result: Layout
    requantize: Requantize

    def __post_init__(self) -> None:
        check_groups(self.source, self.result, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        places = (self.source, self.result, QUAD)
        to = self.requantize
        return pack_kernel(name, lanes, places, to.pack, to.gap)


@dataclass(frozen=True)
class DequantizeQuads:
    """`source`, a layout of quads of the channels of `result`, to float32."""

    source: Layout
    result: Layout
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        check_groups(self.result, self.source, QUAD)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, y."""
        places = (self.source, self.result, QUAD)
        return unpack_kernel(name, lanes, places, self._unpack)

    def _unpack(self, b: KernelBuilder, quads: SSAValue) -> Sequence[SSAValue]:
        """What each byte stands for."""
        numbers = (b.cast(byte, b.vector_type()) for byte in b.unpack_quads(quads))
        zero, scale = b.constant(float(self.zero_point)), b.constant(self.scale)
        moved = (b.binary("sub", number, zero) for number in numbers)
        return [b.binary("mul", number, scale) for number in moved]
