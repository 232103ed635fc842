"""AVX-512 VNNI: `vpdpbusd`."""

from __future__ import annotations

from edgec.codegen.intrinsics.dot import DotProduct
from edgec.codegen.intrinsics.packs import pack_saturating

AVX512_VNNI = DotProduct(
    features=frozenset({"avx512vnni", "avx512vl"}),
    lanes=(4, 8, 16),
    instruction="x86.avx512.vpdpbusd.{bits}",
    pack_quads=pack_saturating,
)
