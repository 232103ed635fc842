"""Plain LLVM operations, for targets without an instruction of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, splat_text
from edgec.codegen.intrinsics.packs import pack_with_shifts
from edgec.codegen.intrinsics.words import dot_words

BYTES = 4
"""Of a lane."""


@dataclass(frozen=True)
class Generic:
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
        type_ = "i32" if lanes == 1 else f"<{lanes} x i32>"

        def op(name: str, left: str, right: str | int) -> str:
            if isinstance(right, int):
                right = splat_text("i32", str(right), lanes)
            return emitter.emit(f"{name} {type_} {left}, {right}")

        for byte in range(BYTES):
            low = op("and", op("lshr", x, 8 * byte), 255)
            signed = op("ashr", op("shl", w, 8 * (BYTES - 1 - byte)), 24)
            acc = op("add", acc, op("mul", low, signed))
        return acc

    def dot_words(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        acc: str,
        x: str,
        w: str,
        *,
        is_odd: bool,
    ) -> str:
        """Two products of 32-bit lanes."""
        return dot_words(emitter, lanes, acc, x, w, is_odd=is_odd)

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
