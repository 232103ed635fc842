"""bfloat16 numbers, in numpy, which has no type for them.

A bfloat16 number is the upper half of a float32 one: 8 bits of precision, the same
exponents. Rounding is to the nearest, ties to even; a NaN stays one. As values they are
float32 arrays whose lower halves are zero; two of neighbouring channels make a *pair*,
an i32 with the first channel in its lower half.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

PAIR = 2
"""Numbers of a lane."""
LOWER = 0x7FFF
"""Just less than half of the last bit that is kept."""
QUIET = 0x40
"""The bit of a half that makes a NaN quiet, and keeps it one."""


def halves_of(values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """The bits of the nearest bfloat16 numbers."""
    numbers = np.ascontiguousarray(values, np.float32)
    bits = numbers.view(np.uint32)
    last = bits >> 16 & 1
    with np.errstate(over="ignore"):
        nearest = bits + (LOWER + last).astype(np.uint32) >> 16
    halves = np.where(np.isnan(numbers), bits >> 16 | QUIET, nearest)
    return halves.astype(np.uint16)


def numbers_of(halves: npt.NDArray[np.uint16]) -> Floats:
    """The float32 numbers that halves stand for."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def rounded(values: npt.ArrayLike) -> Floats:
    """Each number rounded to bfloat16."""
    numbers = np.asarray(values, np.float32)
    return numbers_of(halves_of(numbers)).reshape(numbers.shape)


def pairs_of(values: npt.ArrayLike) -> Ints:
    """`[..., 2]` numbers, rounded, as one i32 each two."""
    halves = halves_of(values)
    return halves.view("<i4")[..., 0].astype(np.int32)


def parts_of(pairs: npt.ArrayLike) -> Floats:
    """The inverse of `pairs_of`."""
    lanes = np.ascontiguousarray(pairs, "<i4")
    return numbers_of(lanes.reshape((*lanes.shape, 1)).view(np.uint16))
