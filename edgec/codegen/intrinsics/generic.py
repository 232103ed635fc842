"""Plain LLVM operations, for targets without an instruction of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.packs import pack_with_shifts
from edgec.codegen.intrinsics.words import PlainWords, sum_products


@dataclass(frozen=True)
class Generic(PlainWords):
    """Bytes are taken apart with shifts and multiplied as 32-bit numbers."""

    features: frozenset[str] = frozenset()
    lanes: tuple[int, ...] = ()

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
        """Four products of 32-bit lanes."""
        del is_bounded
        return sum_products(emitter, lanes, acc, x, w, [0, 8, 16, 24])

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
