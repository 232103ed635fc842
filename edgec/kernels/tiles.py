"""Ops on tiles for kernels under construction."""

from __future__ import annotations

from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.kernels.builder import Index, KernelBuilder


class TileRegisters:
    """The tiles of the thread that runs a kernel, by number."""

    def __init__(self, builder: KernelBuilder) -> None:
        self.b = builder

    def configure(self) -> None:
        """`lane.tile_configure`, at the start of a kernel."""
        self.b.do(lane.TileConfigureOp())

    def release(self) -> None:
        """`lane.tile_release`, at its end."""
        self.b.do(lane.TileReleaseOp())

    def zero(self, tile: int) -> None:
        """`lane.tile_zero`."""
        self.b.do(lane.TileZeroOp(tile))

    def load(
        self, tile: int, buffer: SSAValue | str, at: Index, step: Index, offset: int = 0
    ) -> None:
        """`lane.tile_load`: rows that are `step` elements apart."""
        memory, index = self._place(buffer, at)
        rows = self.b.value(step)
        self.b.do(lane.TileLoadOp(tile, memory, index, rows, offset=offset))

    def store(
        self, tile: int, buffer: SSAValue | str, at: Index, step: Index, offset: int = 0
    ) -> None:
        """`lane.tile_store`: rows that are `step` elements apart."""
        memory, index = self._place(buffer, at)
        rows = self.b.value(step)
        self.b.do(lane.TileStoreOp(tile, memory, index, rows, offset=offset))

    def dot(self, acc: int, lhs: int, rhs: int) -> None:
        """`lane.tile_dot`: signed bytes of `lhs` times unsigned ones of `rhs`."""
        self.b.do(lane.TileDotOp(acc, lhs, rhs))

    def dot_pairs(self, acc: int, lhs: int, rhs: int) -> None:
        """`lane.tile_dot_pairs`: bfloat16 numbers, two in a lane; sums in float32."""
        self.b.do(lane.TileDotPairsOp(acc, lhs, rhs))

    def _place(self, buffer: SSAValue | str, at: Index) -> tuple[SSAValue, SSAValue]:
        memory = self.b[buffer] if isinstance(buffer, str) else buffer
        return memory, self.b.value(at)
