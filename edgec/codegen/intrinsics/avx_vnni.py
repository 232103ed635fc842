"""AVX-VNNI: `vpdpbusd` sums four products of bytes into each 32-bit lane, exactly."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter


@dataclass(frozen=True)
class AvxVnni:
    """`vpdpbusd`."""

    features: frozenset[str] = frozenset({"avxvnni"})
    lanes: tuple[int, ...] = (4, 8)

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
            f"call {wide} @llvm.x86.avx512.vpdpbusd.{32 * lanes}({wide} {acc}, "
            f"{narrow} {x}, {narrow} {w})"
        )
