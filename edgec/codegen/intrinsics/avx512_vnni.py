"""AVX-512 VNNI: `vpdpbusd` sums four products of bytes into each lane, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.dot import call_dot
from edgec.codegen.intrinsics.packs import pack_saturating


@dataclass(frozen=True)
class Avx512Vnni:
    """`vpdpbusd`."""

    features: frozenset[str] = frozenset({"avx512vnni", "avx512vl"})
    lanes: tuple[int, ...] = (4, 8, 16)

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
        """One instruction."""
        del is_bounded
        name = f"x86.avx512.vpdpbusd.{32 * lanes}"
        return call_dot(emitter, lanes, name, (acc, x, w))

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
