"""Tables of 256 bytes, looked up by bytes.

AVX-512 VBMI looks up in 128 bytes with one instruction. A shuffle of bytes looks up in
16: all rows of the table are asked for the lower half of the index, and the bits of the
upper half choose between them, pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, splat_text
from edgec.codegen.emit_values import shuffle
from edgec.codegen.intrinsics.lookup import TABLE_BYTES, Shuffle, lookup_for
from edgec.target import Target

HALF = 64
"""Bytes of a register of AVX-512: half of what `vpermi2b` looks up in."""
ROWS = 16
"""Of `TABLE_BYTES` each."""
LOWER_HALVES = 0x0F0F0F0F
"""The lower half of each byte of a lane."""


@dataclass(frozen=True)
class Permutes:
    """AVX-512 VBMI: two halves of the table, and the sign of the index."""

    def look_up(
        self, emitter: FunctionEmitter, lanes: int, table: str, index: str
    ) -> str:
        """`table[index]` for each byte of `index`; `table` is a pointer."""
        del lanes
        type_ = f"<{HALF} x i8>"
        parts = [_row(emitter, table, at, HALF) for at in range(0, 4 * HALF, HALF)]
        lower, upper = (
            emitter.emit(
                f"call {type_} @llvm.x86.avx512.vpermi2var.qi.512({type_} {first}, "
                f"{type_} {index}, {type_} {second})"
            )
            for first, second in (parts[:2], parts[2:])
        )
        return _choose(emitter, HALF, index, upper, lower)


@dataclass(frozen=True)
class Rows:
    """A shuffle of bytes for each row of the table."""

    shuffle: Shuffle

    def look_up(
        self, emitter: FunctionEmitter, lanes: int, table: str, index: str
    ) -> str:
        """`table[index]` for each byte of `index`; `table` is a pointer."""
        count = 4 * lanes
        narrow, wide = f"<{count} x i8>", f"<{lanes} x i32>"
        whole = emitter.emit(f"bitcast {narrow} {index} to {wide}")
        mask = splat_text("i32", str(LOWER_HALVES), lanes)
        low = emitter.emit(f"and {wide} {whole}, {mask}")
        low = emitter.emit(f"bitcast {wide} {low} to {narrow}")
        # Bits of the index at the top of their bytes, the highest one first.
        bits = [index]
        for distance in (1, 2, 3):
            by = splat_text("i32", str(distance), lanes)
            bit = emitter.emit(f"shl {wide} {whole}, {by}")
            bits.append(emitter.emit(f"bitcast {wide} {bit} to {narrow}"))

        def found(first: int, size: int) -> str:
            """The byte, if it is in one of `size` rows from `first` on."""
            if size == 1:
                row = _row(emitter, table, first * TABLE_BYTES, TABLE_BYTES)
                again = [place % TABLE_BYTES for place in range(count)]
                type_ = f"<{TABLE_BYTES} x i8>"
                repeated = shuffle(emitter, f"{type_} {row}", f"{type_} poison", again)
                return self.shuffle.look_up(emitter, lanes, repeated, low)
            half = size // 2
            lower, upper = found(first, half), found(first + half, half)
            bit = bits[ROWS.bit_length() - size.bit_length()]
            return _choose(emitter, count, bit, upper, lower)

        return found(0, ROWS)


@dataclass(frozen=True)
class Loads:
    """A load for each byte, on every target."""

    def look_up(
        self, emitter: FunctionEmitter, lanes: int, table: str, index: str
    ) -> str:
        """`table[index]` for each byte of `index`; `table` is a pointer."""
        type_, text = f"<{4 * lanes} x i8>", "poison"
        for place in range(4 * lanes):
            byte = emitter.emit(f"extractelement {type_} {index}, i64 {place}")
            number = emitter.emit(f"zext i8 {byte} to i64")
            pointer = emitter.emit(f"getelementptr i8, ptr {table}, i64 {number}")
            value = emitter.emit(f"load i8, ptr {pointer}, align 1")
            text = emitter.emit(
                f"insertelement {type_} {text}, i8 {value}, i64 {place}"
            )
        return text


def _row(emitter: FunctionEmitter, table: str, at: int, size: int) -> str:
    """`size` bytes of the table, loaded once per basic block."""
    if at:
        table = emitter.shared(f"getelementptr i8, ptr {table}, i64 {at}")
    return emitter.shared(f"load <{size} x i8>, ptr {table}, align 4")


def _choose(
    emitter: FunctionEmitter, count: int, signs: str, negative: str, other: str
) -> str:
    """Bytes of `negative` where `signs` are, else of `other`."""
    type_ = f"<{count} x i8>"
    mask = emitter.emit(f"icmp slt {type_} {signs}, zeroinitializer")
    return emitter.emit(
        f"select <{count} x i1> {mask}, {type_} {negative}, {type_} {other}"
    )


def byte_lookup_for(target: Target, lanes: int) -> Permutes | Rows | Loads:
    """The best that the target has for so many lanes."""
    if 4 * lanes == HALF and "avx512vbmi" in target.features:
        return Permutes()
    found = lookup_for(target, lanes)
    return Rows(found) if isinstance(found, Shuffle) else Loads()
