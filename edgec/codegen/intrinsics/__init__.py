"""Instructions that LLVM's plain operations do not name, one file per instruction set.

Each file says which features it needs, which numbers of lanes it is for, and how the
same functions are done; `intrinsics_for` picks the best one that a target has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.avx2 import Avx2
from edgec.codegen.intrinsics.avx512_vnni import AVX512_VNNI
from edgec.codegen.intrinsics.avx_vnni import AVX_VNNI
from edgec.codegen.intrinsics.generic import Generic
from edgec.codegen.intrinsics.neon_i8mm import NEON_I8MM
from edgec.target import Target


class Intrinsics(Protocol):
    """What an instruction set offers."""

    @property
    def features(self) -> frozenset[str]:
        """LLVM features that a target must have."""
        ...

    @property
    def lanes(self) -> tuple[int, ...]:
        """32-bit lanes of the vectors that it works on; empty for any number."""
        ...

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
        """`acc + sum(b) u8(x.b) * s8(w.b)` on `<lanes x i32>`, modulo 2^32.

        `is_bounded`: pairs of products fit 16 bits (`lane.dot_quads`).
        """
        ...

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
        """`acc + sum(h) u8(x.(2 h)) * s16(w.h)` on `<lanes x i32>`, modulo 2^32.

        `is_odd`: of the bytes 2 h + 1.
        """
        ...

    def pack_quads(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        values: Sequence[str],
        offset: int,
        *,
        transposed: bool,
    ) -> str:
        """Four vectors of `<lanes x i32>` as bytes of lanes.

        Each number plus the offset, or the end of 0..255 that is nearest;
        `transposed` as for `lane.pack_quads`.
        """
        ...


PREFERRED: tuple[Intrinsics, ...] = (
    AVX512_VNNI,
    AVX_VNNI,
    Avx2(),
    NEON_I8MM,
    Generic(),
)
"""The best first; the last one is for every target."""


def wants_bounded(target: Target) -> bool:
    """Whether dot products of bytes are faster where pairs of products fit 16 bits."""
    return isinstance(intrinsics_for(target, target.lanes), Avx2)


def intrinsics_for(target: Target, lanes: int) -> Intrinsics:
    """The first of `PREFERRED` that the target has for so many lanes."""
    return next(
        found
        for found in PREFERRED
        if found.features <= target.features
        and (not found.lanes or lanes in found.lanes)
    )
