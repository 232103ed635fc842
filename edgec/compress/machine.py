"""Granules that suit a machine."""

from __future__ import annotations

from typing import Literal, get_args

from edgec.errors import InvalidInput
from edgec.target import Target

Layers = Literal["convolution", "recurrent"]


def granules_for(
    target: str | Target = "native", *, layers: Layers = "convolution"
) -> tuple[int, ...]:
    """Filters of a block that suit a target, the best first: `OB` of `column:OB`.

    The filters of a block share every load of the input, and hold one accumulator each
    for every vector of positions: 8 with the 32 registers of AVX-512, 4 with the 16 of
    AVX2. Neon has 32 registers of a quarter of the width, which more vectors of
    positions use better than more filters: 4. Smaller blocks lose less accuracy, larger
    ones gain nothing more, so that there is one size for each.

    The tiles of AMX would want 16, 32 or 64 filters; there is no int8 kernel yet, and
    `+amx` changes nothing here.

    In `recurrent` layers, and linear ones on a row or two, each weight is used once,
    and the lanes of a register are filters: 16, a cache line of each column, on every
    target.

    `target` is a `Target` or its name, `native` this machine. Raises `InvalidInput` for
    other `layers`, `InvalidTarget` for an unknown target.

    >>> granules_for("x86-64-v4"), granules_for("x86-64-v3")
    ((8,), (4,))
    >>> granules_for("x86-64-v3", layers="recurrent")
    (16,)
    """
    if layers not in get_args(Layers):
        raise InvalidInput(
            f"layers must be one of {list(get_args(Layers))}, got {layers!r}"
        )
    if isinstance(target, str):
        # LLVM, which knows this machine, is not loaded for those who only prune.
        from edgec.codegen.host import host_features

        target = Target.parse(target, host_features)
    if layers == "recurrent":
        return (16,)
    return (8,) if target.lanes == 16 else (4,)
