"""Chains of elementwise steps in one pass over memory."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func

from edgec.dialects.lane import buffer_type
from edgec.dialects.sq import Step
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.epilogue import apply_steps
from edgec.kernels.layout import Layout
from edgec.kernels.sweep import Cursor, cover
from edgec.kernels.views import broadcast, identity


@dataclass(frozen=True)
class Elementwise:
    """`y = steps(x)`; the input and the extra operands broadcast to the result."""

    input: Layout
    extras: tuple[Layout, ...]
    output: Layout
    steps: tuple[Step, ...]

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x, one per extra operand, y."""
        sources = (self.input, *self.extras)
        names = ["x", *(f"extra{k}" for k in range(len(self.extras))), "y"]
        b = KernelBuilder(
            name,
            {
                key: buffer_type(place.elements)
                for key, place in zip(names, (*sources, self.output), strict=True)
            },
            lanes=lanes,
        )
        shape = self.output.shape
        views = [*(broadcast(s, shape) for s in sources), identity(self.output)]

        def body(cursor: Cursor) -> None:
            value = apply_steps(
                b, cursor.load(0), self.steps, lambda k: cursor.load(1 + k)
            )
            cursor.store(value)

        cover(b, shape, [b[key] for key in names], views, body)
        return b.finish()
