"""Arm with 8-bit matrix multiplication: `usdot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.dot import call_dot
from edgec.codegen.intrinsics.packs import pack_with_shifts


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
        name = f"aarch64.neon.usdot.v{lanes}i32.v{4 * lanes}i8"
        return call_dot(emitter, lanes, name, (acc, x, w))

    def pack_quads(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        values: Sequence[str],
        offset: int,
        *,
        transposed: bool,
    ) -> str:
        """Shifts."""
        return pack_with_shifts(emitter, lanes, values, offset, transposed=transposed)
