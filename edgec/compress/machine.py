"""Granules that suit a machine."""

from __future__ import annotations

from typing import Literal, get_args, overload

from edgec.errors import InvalidInput
from edgec.target import Target

Layers = Literal["convolution", "recurrent"]
Dtype = Literal["float32", "int8"]

QUAD = 4
"""Input channels that a dot product of bytes adds up in one lane (VNNI, and its
counterparts of AVX2 and Neon)."""


@overload
def granules_for(
    target: str | Target = "native",
    *,
    layers: Layers = "convolution",
    dtype: Literal["float32"] = "float32",
) -> tuple[int, ...]: ...


@overload
def granules_for(
    target: str | Target = "native",
    *,
    layers: Layers = "convolution",
    dtype: Literal["int8"],
) -> tuple[tuple[int, int], ...]: ...


def granules_for(
    target: str | Target = "native",
    *,
    layers: Layers = "convolution",
    dtype: Dtype = "float32",
) -> tuple[int, ...] | tuple[tuple[int, int], ...]:
    """Filters of a block that suit a target, the best first: `OB` of `column:OB`.

    The filters of a block share every load of the input, and hold one accumulator each
    for every vector of positions: 8 with the 32 registers of AVX-512, 4 with the 16 of
    AVX2. Neon has 32 registers of a quarter of the width, which more vectors of
    positions use better than more filters: 4. Smaller blocks lose less accuracy, larger
    ones gain nothing more, so that there is one size for each.

    For a model that is to be quantized to `int8` they are pairs, filters and channels,
    `FxC` of `block-punched:FxC`: kernels on bytes multiply four neighbouring channels
    at a time, so that a zero saves time only if the other three are zero too.

    Tiles of AMX take 16 filters at once, and a column that one of them keeps is read
    for all; which blocks suit them has not been measured, and `+amx` changes nothing
    here.

    In `recurrent` layers, and linear ones on a row or two, each weight is used once,
    and the lanes of a register are filters: 16, a cache line of each column, on every
    target.

    `target` is a `Target` or its name, `native` this machine. Raises `InvalidInput` for
    other `layers` or `dtype`, `InvalidTarget` for an unknown target.

    >>> granules_for("x86-64-v4"), granules_for("x86-64-v3")
    ((8,), (4,))
    >>> granules_for("x86-64-v3", layers="recurrent")
    (16,)
    >>> granules_for("x86-64-v4", dtype="int8")
    ((8, 4),)
    """
    for name, value, known in (("layers", layers, Layers), ("dtype", dtype, Dtype)):
        if value not in get_args(known):
            raise InvalidInput(
                f"{name} must be one of {list(get_args(known))}, got {value!r}"
            )
    filters = _filters(target, layers)
    return (filters,) if dtype == "float32" else ((filters, QUAD),)


def _filters(target: str | Target, layers: Layers) -> int:
    if isinstance(target, str):
        # LLVM, which knows this machine, is not loaded for those who only prune.
        from edgec.codegen.host import host_features

        target = Target.parse(target, host_features)
    if layers == "recurrent":
        return 16
    return 8 if target.lanes == 16 else 4


AUTOMATIC = ("block-punched", "column", "kgs")
"""Schemes whose blocks `scheme_for` knows."""


def scheme_for(
    text: str, target: str | Target = "native", *, dtype: Dtype = "float32"
) -> str:
    """A scheme by its name; `block-punched:auto` gets what `granules_for` says.

    Raises `InvalidInput` for other schemes with `auto`, and for columns of one channel
    where kernels read four.

    >>> scheme_for("block-punched:auto", "x86-64-v4", dtype="int8")
    'block-punched:8x4'
    >>> scheme_for("column:auto", "x86-64-v3"), scheme_for("pattern")
    ('column:4', 'pattern')
    """
    name, _, parameter = text.partition(":")
    if parameter != "auto":
        return text
    if name not in AUTOMATIC:
        raise InvalidInput(
            f"scheme '{text}': auto goes with {', '.join(AUTOMATIC)} only"
        )
    if dtype == "float32":
        return f"{name}:{granules_for(target)[0]}"
    filters, channels = granules_for(target, dtype=dtype)[0]
    if name == "column":
        raise InvalidInput(
            f"scheme '{text}': a column is one channel, and kernels on int8 read "
            f"{channels}; give block-punched:auto"
        )
    return f"{name}:{filters}x{channels}"
