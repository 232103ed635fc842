"""Arm with 8-bit matrix multiplication: `usdot`."""

from __future__ import annotations

from edgec.codegen.intrinsics.dot import DotProduct
from edgec.codegen.intrinsics.packs import pack_with_shifts

NEON_I8MM = DotProduct(
    features=frozenset({"i8mm"}),
    lanes=(4,),
    instruction="aarch64.neon.usdot.v{lanes}i32.v{bytes}i8",
    pack_quads=pack_with_shifts,
)
