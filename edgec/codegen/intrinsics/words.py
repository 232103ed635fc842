"""Products in plain LLVM operations, for targets without an instruction for them."""

from __future__ import annotations

from edgec.codegen.emit_function import FunctionEmitter, splat_text

LANE = 32
"""Bits."""


class PlainWords:
    """`dot_words` of instruction sets without a product of 16-bit numbers."""

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
        starts = [16 * half + 8 * is_odd for half in range(2)]
        return sum_products(emitter, lanes, acc, x, w, starts)


def sum_products(
    emitter: FunctionEmitter, lanes: int, acc: str, x: str, w: str, starts: list[int]
) -> str:
    """`acc` and the products of unsigned bytes of `x` by signed parts of `w`.

    The bytes start at these bits of a lane; the parts of `w` share it evenly.
    """
    type_ = "i32" if lanes == 1 else f"<{lanes} x i32>"
    bits = LANE // len(starts)

    def op(name: str, left: str, right: str | int) -> str:
        if isinstance(right, int):
            right = splat_text("i32", str(right), lanes)
        return emitter.emit(f"{name} {type_} {left}, {right}")

    for number, start in enumerate(starts):
        byte = op("and", op("lshr", x, start), 255)
        above = LANE - bits * (number + 1)
        signed = op("ashr", op("shl", w, above), LANE - bits)
        acc = op("add", acc, op("mul", byte, signed))
    return acc
