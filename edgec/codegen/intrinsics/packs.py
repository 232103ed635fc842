"""From lanes of 32 bits to bytes: packs of x86, and plain operations."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.codegen.emit_function import FunctionEmitter, splat_text
from edgec.codegen.emit_values import shuffle

WORDS = {4: "sse2.packssdw.128", 8: "avx2.packssdw", 16: "avx512.packssdw.512"}
"""Lanes to the intrinsic that makes 16-bit numbers, the nearest ones."""
BYTES = {4: "sse2.packuswb.128", 8: "avx2.packuswb", 16: "avx512.packuswb.512"}
"""Lanes to the intrinsic that makes unsigned bytes of these."""
BLOCK = 16
"""Bytes of a register that packs and shuffles do not leave."""


def pack_saturating(
    emitter: FunctionEmitter,
    lanes: int,
    values: Sequence[str],
    offset: int,
    *,
    transposed: bool,
) -> str:
    """Three packs leave `aaaabbbbccccdddd` in each block; a shuffle makes quads.

    `transposed`: these are the quads.
    """
    wide, halves = f"<{lanes} x i32>", f"<{2 * lanes} x i16>"
    narrow = f"<{4 * lanes} x i8>"
    words: list[str] = []
    for left, right in (values[:2], values[2:]):
        name = f"llvm.x86.{WORDS[lanes]}"
        text = emitter.emit(f"call {halves} @{name}({wide} {left}, {wide} {right})")
        if offset:
            added = splat_text("i16", str(offset), 2 * lanes)
            name = f"llvm.sadd.sat.v{2 * lanes}i16"
            text = emitter.emit(
                f"call {halves} @{name}({halves} {text}, {halves} {added})"
            )
        words.append(f"{halves} {text}")
    text = emitter.emit(f"call {narrow} @llvm.x86.{BYTES[lanes]}({', '.join(words)})")
    if not transposed:
        text = transposed_bytes(emitter, 4 * lanes, text)
    return emitter.emit(f"bitcast {narrow} {text} to {wide}")


def transposed_bytes(emitter: FunctionEmitter, count: int, text: str) -> str:
    """Each 16 of `count` bytes, seen as four rows of four, transposed."""
    narrow = f"<{count} x i8>"
    order = [
        block + part * 4 + lane
        for block in range(0, count, BLOCK)
        for lane in range(4)
        for part in range(4)
    ]
    return shuffle(emitter, f"{narrow} {text}", f"{narrow} poison", order)


def pack_with_shifts(
    emitter: FunctionEmitter,
    lanes: int,
    values: Sequence[str],
    offset: int,
    *,
    transposed: bool,
) -> str:
    """Each number brought into range, and shifted to its place."""
    type_ = "i32" if lanes == 1 else f"<{lanes} x i32>"
    suffix = "i32" if lanes == 1 else f"v{lanes}i32"

    def number(value: int) -> str:
        return f"{type_} {splat_text('i32', str(value), lanes)}"

    packed = ""
    for place, value in enumerate(values):
        byte = value
        for name, bound in (("smax", -offset), ("smin", 255 - offset)):
            operands = f"{type_} {byte}, {number(bound)}"
            byte = emitter.emit(f"call {type_} @llvm.{name}.{suffix}({operands})")
        if offset:
            byte = emitter.emit(f"add {number(offset)}, {byte}")
        if place:
            places = splat_text("i32", str(8 * place), lanes)
            byte = emitter.emit(f"shl {type_} {byte}, {places}")
        packed = emitter.emit(f"or {type_} {packed}, {byte}") if packed else byte
    if not transposed:
        return packed
    narrow = f"<{4 * lanes} x i8>"
    text = emitter.emit(f"bitcast {type_} {packed} to {narrow}")
    text = transposed_bytes(emitter, 4 * lanes, text)
    return emitter.emit(f"bitcast {narrow} {text} to {type_}")
