"""A function of a byte, applied to each byte of a tensor, by a table of 256 bytes.

Bytes of quads that belong to no channel become what the table says, too: nothing reads
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import i32

from edgec.dialects.lane import BYTE_TABLE_LANES, buffer_type
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import quad_of
from edgec.kernels.sweep import Cursor, cover
from edgec.kernels.views import identity


@dataclass(frozen=True)
class LookUpBytes:
    """`y = table[x]`, both of quads of one shape."""

    input: Layout
    output: Layout
    zero_point: int
    """Of the result: what its gaps hold."""

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, table, y."""
        sizes = {
            "x": self.input.elements,
            "table": BYTE_TABLE_LANES,
            "y": self.output.elements,
        }
        types = {key: buffer_type(size, i32) for key, size in sizes.items()}
        b = KernelBuilder(name, types, lanes=lanes)

        def body(cursor: Cursor) -> None:
            cursor.store(b.look_up_bytes(cursor.load(0), "table"))

        views = identity(self.input), identity(self.output)
        zeros = b.splat(b.integer(quad_of(self.zero_point)))
        cover(b, self.output.shape, (b["x"], b["y"]), views, body, zeros)
        return b.finish()
