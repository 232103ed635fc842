"""Arm with 8-bit matrix multiplication: `usdot`."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter


@dataclass(frozen=True)
class NeonI8mm:
    """`usdot`."""

    features: frozenset[str] = frozenset({"i8mm"})
    lanes: tuple[int, ...] = (4,)

    def dot_quads(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        acc: str,
        x: str,
        w: str,
        *,
        is_bounded: bool,
    ) -> str:
        """One instruction."""
        del is_bounded
        wide, narrow = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
        x, w = (emitter.emit(f"bitcast {wide} {v} to {narrow}") for v in (x, w))
        return emitter.emit(
            f"call {wide} @llvm.aarch64.neon.usdot.v{lanes}i32.v{4 * lanes}i8("
            f"{wide} {acc}, {narrow} {x}, {narrow} {w})"
        )
