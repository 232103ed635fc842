"""AVX2, and AVX-512 without VNNI: products of 16-bit numbers.

`vpmaddubsw` multiplies bytes at twice the rate and saturates at 16 bits: 255 * 127 * 2
is 64770. So bytes are widened first, even and odd ones apart, and `vpmaddwd` sums each
pair in 32 bits: exact for all bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, splat_text

NAMES = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
"""Lanes to the intrinsic."""


@dataclass(frozen=True)
class Avx2:
    """`vpmaddwd`."""

    features: frozenset[str] = frozenset({"avx2"})
    lanes: tuple[int, ...] = tuple(NAMES)

    def dot_quads(
        self, emitter: FunctionEmitter, lanes: int, acc: str, x: str, w: str
    ) -> str:
        """Two products of pairs, of the even bytes and of the odd ones."""
        wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
        eight = splat_text("i16", "8", 2 * lanes)
        x, w = (emitter.emit(f"bitcast {wide} {v} to {halves}") for v in (x, w))

        def op(name: str, left: str, right: str) -> str:
            return emitter.emit(f"{name} {halves} {left}, {right}")

        even = op("and", x, splat_text("i16", "255", 2 * lanes))
        odd = op("lshr", x, eight)
        even_w = op("ashr", op("shl", w, eight), eight)
        odd_w = op("ashr", w, eight)
        for left, right in ((even, even_w), (odd, odd_w)):
            product = emitter.emit(
                f"call {wide} @llvm.x86.{NAMES[lanes]}({halves} {left}, "
                f"{halves} {right})"
            )
            acc = emitter.emit(f"add {wide} {acc}, {product}")
        return acc
