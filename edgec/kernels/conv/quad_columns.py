"""How many columns of quads an integer convolution keeps, by the filters of a block.

Kernels are made without the weights, which only say how large their tables are. So
`choose-kernel` counts the columns of each candidate, and the numbers stand on the op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, UnitAttr

from edgec.dialects import sq
from edgec.dialects.lane import PAIR_BOUND, QUAD
from edgec.dialects.nn import int_attr
from edgec.errors import PassFailed

KEPT = "sq.kept_columns"
"""`{"4" = 12 : i64, "8" = 9 : i64}`: columns that blocks of so many filters keep."""
BOUNDED = "sq.bounded_pairs"
"""Whether columns stand there twice so that pairs of products fit 16 bits."""

EMULATED = "sq.emulated_pairs"
"""Whether the target has no product of pairs of bfloat16 numbers."""

FITS = "sq.fits_32_bits"
"""Whether numbers before they are rounded to bytes fit 32 bits, with these weights."""


def count_columns(
    weight: npt.NDArray[np.int8], blocks: Sequence[int], *, bounded: bool
) -> dict[int, int]:
    """The columns of `quad_columns` for each number of filters, without making them.

    `bounded`: those with a pair of weights that is too large count twice.
    """
    filters, channels = weight.shape[:2]
    rows = weight.reshape(filters, channels, -1)
    groups = -(-channels // QUAD)
    padded = np.zeros((filters, groups * QUAD, rows.shape[2]), np.int8)
    padded[:, :channels] = rows
    quads = padded.reshape(filters, groups, QUAD, -1)
    kept = quads.any(2)
    pairs = quads.reshape(filters, groups, QUAD // 2, 2, -1).astype(np.int16)
    sums = np.maximum(pairs.clip(min=0).sum(3), -pairs.clip(max=0).sum(3))
    wide = (sums > PAIR_BOUND).any(2) if bounded else np.zeros_like(kept)
    counts: dict[int, int] = {}
    for block in blocks:
        starts = np.arange(0, filters, block, dtype=np.int64)
        parts = (np.logical_or.reduceat(each, starts, axis=0) for each in (kept, wide))
        counts[block] = sum(int(part.sum()) for part in parts)
    return counts


def keep_columns(op: sq.ConvOp, counts: Mapping[int, int], *, bounded: bool) -> None:
    """Say on an op how many columns it keeps, and whether their pairs are bounded."""
    if bounded:
        op.attributes[BOUNDED] = UnitAttr()
    numbers = {str(block): int_attr(count) for block, count in sorted(counts.items())}
    op.attributes[KEPT] = DictionaryAttr(numbers)


def kept_columns(op: sq.ConvOp) -> dict[int, int]:
    """Filters of a block to columns kept, as `choose-kernel` has counted them."""
    found = op.attributes.get(KEPT)
    if not isinstance(found, DictionaryAttr):
        raise PassFailed(
            f"'sq.conv' op on quads or pairs must say its {KEPT}: run choose-kernel "
            "first"
        )
    return {
        int(block): count.value.data
        for block, count in found.data.items()
        if isinstance(count, IntegerAttr)
    }


def is_bounded(op: sq.ConvOp) -> bool:
    """Whether the kernel is for a target without a dot product of bytes."""
    return BOUNDED in op.attributes
