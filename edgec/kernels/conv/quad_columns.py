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
WIDE = "sq.wide_columns"
"""Those among them that take two slots, as pairs of their products may not fit 16 bits;
for targets without a dot product of bytes."""
BOUNDED = "sq.bounded_pairs"
"""Whether pairs of all other products do fit."""

EMULATED = "sq.emulated_pairs"
"""Whether the target has no product of pairs of bfloat16 numbers."""

FITS = "sq.fits_32_bits"
"""Whether numbers before they are rounded to bytes fit 32 bits, with these weights."""


def count_columns(
    weight: npt.NDArray[np.int8], blocks: Sequence[int]
) -> dict[int, int]:
    """The columns of `quad_columns` for each number of filters, without making them."""
    return _count(_quads(weight) != 0, blocks)


def count_wide_columns(
    weight: npt.NDArray[np.int8], blocks: Sequence[int]
) -> dict[int, int]:
    """Those with a pair of weights that is too large, which take two slots."""
    quads = _quads(weight)
    filters, groups, _, taps = quads.shape
    pairs = quads.reshape(filters, groups, QUAD // 2, 2, taps).astype(np.int16)
    sums = np.maximum(pairs.clip(min=0).sum(3), -pairs.clip(max=0).sum(3))
    return _count(sums > PAIR_BOUND, blocks)


def _quads(weight: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """`[F, C, *K]` as `[F, groups of four channels, 4, taps]`."""
    filters, channels = weight.shape[:2]
    rows = weight.reshape(filters, channels, -1)
    padded = np.pad(rows, ((0, 0), (0, -channels % QUAD), (0, 0)))
    return padded.reshape(filters, -1, QUAD, rows.shape[2])


def _count(found: npt.NDArray[np.bool_], blocks: Sequence[int]) -> dict[int, int]:
    """Columns that any filter of a block has, from `[F, groups, parts, taps]`."""
    counts: dict[int, int] = {}
    columns = np.asarray(found.any(2), np.bool_)
    for block in blocks:
        starts = np.arange(0, len(columns), block, dtype=np.int64)
        counts[block] = int(np.logical_or.reduceat(columns, starts, axis=0).sum())
    return counts


def keep_columns(
    op: sq.ConvOp, counts: Mapping[int, int], wide: Mapping[int, int] | None = None
) -> None:
    """Say on an op how many columns it keeps.

    `wide`: how many of them are; None if the target has a dot product.
    """
    op.attributes[KEPT] = _numbers(counts)
    if wide is not None:
        op.attributes[BOUNDED] = UnitAttr()
        op.attributes[WIDE] = _numbers(wide)


def _numbers(counts: Mapping[int, int]) -> DictionaryAttr:
    return DictionaryAttr(
        {str(block): int_attr(count) for block, count in sorted(counts.items())}
    )


def kept_columns(op: sq.ConvOp) -> dict[int, int]:
    """Filters of a block to columns kept, as `choose-kernel` has counted them."""
    found = op.attributes.get(KEPT)
    if not isinstance(found, DictionaryAttr):
        raise PassFailed(
            f"'sq.conv' op on quads or pairs must say its {KEPT}: run choose-kernel "
            "first"
        )
    return _counts(found)


def wide_columns(op: sq.ConvOp) -> dict[int, int]:
    """The same of wide ones; empty where the target has a dot product."""
    found = op.attributes.get(WIDE)
    return _counts(found) if isinstance(found, DictionaryAttr) else {}


def _counts(found: DictionaryAttr) -> dict[int, int]:
    return {
        int(block): count.value.data
        for block, count in found.data.items()
        if isinstance(count, IntegerAttr)
    }


def is_bounded(op: sq.ConvOp) -> bool:
    """Whether the kernel is for a target without a dot product of bytes."""
    return BOUNDED in op.attributes
