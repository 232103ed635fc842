"""Tables of 16 bytes, looked up by bytes: one instruction where a target has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, splat_text
from edgec.target import Target

TABLE_BYTES = 16
"""Of a table."""


@dataclass(frozen=True)
class Shuffle:
    """An instruction that shuffles bytes within each 128 bits."""

    features: frozenset[str]
    names: Mapping[int, str]
    """32-bit lanes to the intrinsic."""

    def look_up(
        self, emitter: FunctionEmitter, lanes: int, table: str, index: str
    ) -> str:
        """`table[index]` for each byte; indices are less than 16."""
        narrow = f"<{4 * lanes} x i8>"
        return emitter.emit(
            f"call {narrow} @llvm.{self.names[lanes]}({narrow} {table}, "
            f"{narrow} {index})"
        )


@dataclass(frozen=True)
class Selects:
    """A comparison and a choice for each entry, on every target."""

    features: frozenset[str] = frozenset()

    def look_up(
        self, emitter: FunctionEmitter, lanes: int, table: str, index: str
    ) -> str:
        """`table[index]` for each byte; indices are less than 16."""
        count = 4 * lanes
        narrow, found = f"<{count} x i8>", "zeroinitializer"
        for entry in range(TABLE_BYTES):
            places = ", ".join(
                f"i32 {place - place % TABLE_BYTES + entry}" for place in range(count)
            )
            value = emitter.emit(
                f"shufflevector {narrow} {table}, {narrow} poison, "
                f"<{count} x i32> <{places}>"
            )
            number = splat_text("i8", str(entry), count)
            equal = emitter.emit(f"icmp eq {narrow} {index}, {number}")
            found = emitter.emit(
                f"select <{count} x i1> {equal}, {narrow} {value}, {narrow} {found}"
            )
        return found


SHUFFLES = (
    Shuffle(frozenset({"avx512bw"}), {16: "x86.avx512.pshuf.b.512"}),
    Shuffle(frozenset({"avx2"}), {8: "x86.avx2.pshuf.b"}),
    Shuffle(frozenset({"ssse3"}), {4: "x86.ssse3.pshuf.b.128"}),
    Shuffle(frozenset({"neon"}), {4: "aarch64.neon.tbl1.v16i8"}),
)
"""The instructions, by what they need."""


def lookup_for(target: Target, lanes: int) -> Shuffle | Selects:
    """The instruction of the target for so many lanes, if it has one."""
    for found in SHUFFLES:
        if found.features <= target.features and lanes in found.names:
            return found
    return Selects()
