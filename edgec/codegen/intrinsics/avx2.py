"""AVX2, and AVX-512 without VNNI: products of bytes and of 16-bit numbers.

`vpmaddubsw` sums two products of bytes and saturates at 16 bits: 255 * 127 * 2 is
64770. It is used where weights are bounded, so that no pair gets there; `vpmaddwd` with
ones then sums two pairs. Else bytes are widened first, even and odd ones apart, and
`vpmaddwd` sums each pair in 32 bits: exact for all bytes, at 0.65 of the speed.
Convolutions have the weights widened when they are packed, and only those of columns
that are not bounded (`dot_words`): 0.8 of the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, splat_text
from edgec.codegen.intrinsics.packs import pack_saturating

WORDS = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
"""Lanes to the intrinsic for pairs of 16-bit numbers."""
BYTES = {
    4: "ssse3.pmadd.ub.sw.128",
    8: "avx2.pmadd.ub.sw",
    16: "avx512.pmaddubs.w.512",
}
"""Lanes to the intrinsic for pairs of bytes."""


@dataclass(frozen=True)
class Avx2:
    """`vpmaddubsw` and `vpmaddwd`."""

    features: frozenset[str] = frozenset({"avx2"})
    lanes: tuple[int, ...] = tuple(WORDS)

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
        """Pairs, then pairs of pairs; or even and odd bytes apart."""
        factors = (_bounded if is_bounded else _widened)(emitter, lanes, x, w)
        return _sum_products(emitter, lanes, acc, factors)

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
        """`vpmaddwd`; LLVM takes the bytes of `x` apart once for all weights."""
        wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
        x, w = (emitter.emit(f"bitcast {wide} {v} to {halves}") for v in (x, w))
        name, by = ("lshr", "8") if is_odd else ("and", "255")
        part = emitter.emit(f"{name} {halves} {x}, {splat_text('i16', by, 2 * lanes)}")
        return _sum_products(emitter, lanes, acc, [(part, w)])

    def pack_quads(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        values: Sequence[str],
        offset: int,
        *,
        transposed: bool,
    ) -> str:
        """Packs."""
        return pack_saturating(emitter, lanes, values, offset, transposed=transposed)


Operands = list[tuple[str, str]]
"""Of `vpmaddwd`."""


def _sum_products(
    emitter: FunctionEmitter, lanes: int, acc: str, factors: Operands
) -> str:
    wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    pairs = [
        emitter.emit(
            f"call {wide} @llvm.x86.{WORDS[lanes]}({halves} {left}, {halves} {right})"
        )
        for left, right in factors
    ]
    for pair in pairs:
        acc = emitter.emit(f"add {wide} {acc}, {pair}")
    return acc


def _bounded(emitter: FunctionEmitter, lanes: int, x: str, w: str) -> Operands:
    wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    narrow = f"<{4 * lanes} x i8>"
    x, w = (emitter.emit(f"bitcast {wide} {v} to {narrow}") for v in (x, w))
    pair = emitter.emit(
        f"call {halves} @llvm.x86.{BYTES[lanes]}({narrow} {x}, {narrow} {w})"
    )
    return [(pair, splat_text("i16", "1", 2 * lanes))]


def _widened(emitter: FunctionEmitter, lanes: int, x: str, w: str) -> Operands:
    wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    eight = splat_text("i16", "8", 2 * lanes)
    x, w = (emitter.emit(f"bitcast {wide} {v} to {halves}") for v in (x, w))

    def op(name: str, left: str, right: str) -> str:
        return emitter.emit(f"{name} {halves} {left}, {right}")

    even = op("and", x, splat_text("i16", "255", 2 * lanes))
    return [
        (even, op("ashr", op("shl", w, eight), eight)),
        (op("lshr", x, eight), op("ashr", w, eight)),
    ]
