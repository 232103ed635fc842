"""AVX-VNNI: `vpdpbusd` on vectors of up to 256 bits."""

from __future__ import annotations

from edgec.codegen.intrinsics.dot import DotProduct
from edgec.codegen.intrinsics.packs import pack_saturating

AVX_VNNI = DotProduct(
    features=frozenset({"avxvnni"}),
    lanes=(4, 8),
    instruction="x86.avx512.vpdpbusd.{bits}",
    pack_quads=pack_saturating,
)
