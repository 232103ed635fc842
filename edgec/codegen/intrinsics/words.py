"""Products of bytes and 16-bit numbers in plain LLVM operations."""

from __future__ import annotations

from edgec.codegen.emit_function import FunctionEmitter, splat_text

HALVES = 2
"""Of a lane, 16 bits each."""


def dot_words(
    emitter: FunctionEmitter, lanes: int, acc: str, x: str, w: str, *, is_odd: bool
) -> str:
    """As `Intrinsics.dot_words`, with products of 32-bit lanes."""
    type_ = "i32" if lanes == 1 else f"<{lanes} x i32>"

    def op(name: str, left: str, right: str | int) -> str:
        if isinstance(right, int):
            right = splat_text("i32", str(right), lanes)
        return emitter.emit(f"{name} {type_} {left}, {right}")

    for half in range(HALVES):
        byte = op("and", op("lshr", x, 16 * half + 8 * is_odd), 255)
        signed = op("ashr", op("shl", w, 16 * (HALVES - 1 - half)), 16)
        acc = op("add", acc, op("mul", byte, signed))
    return acc
