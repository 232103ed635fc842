"""What the instruction sets with a dot product of bytes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.words import PlainWords


class Pack(Protocol):
    """As `Intrinsics.pack_quads`."""

    def __call__(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        values: Sequence[str],
        offset: int,
        *,
        transposed: bool,
    ) -> str:
        """Four vectors as bytes of lanes."""
        ...


@dataclass(frozen=True)
class DotProduct(PlainWords):
    """An instruction set that sums four products of bytes into each lane, exactly.

    A product of bytes is exact, so no kernel asks for one of 16-bit numbers: a plain
    one will do.
    """

    features: frozenset[str]
    lanes: tuple[int, ...]
    instruction: str
    """LLVM's name, with the `lanes`, `bytes` and `bits` of a vector in braces."""
    pack_quads: Pack

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
        """One instruction; LLVM takes `x` and `w` as vectors of bytes."""
        del is_bounded
        sizes = {"lanes": lanes, "bytes": 4 * lanes, "bits": 32 * lanes}
        name = self.instruction.format(**sizes)
        wide, narrow = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
        x, w = (emitter.emit(f"bitcast {wide} {quad} to {narrow}") for quad in (x, w))
        return emitter.emit(
            f"call {wide} @llvm.{name}({wide} {acc}, {narrow} {x}, {narrow} {w})"
        )
