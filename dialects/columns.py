"""Compressed columns: the storage of weights whose zeros come in granules.

A weight `[F, C, *K]` is a matrix of F rows and C·|K| *columns*: one column for each
channel and tap (each input of a linear layer). A *granule* is one column of a block of
filters, all kept or all zero. Each block stores the columns that it keeps: their
numbers, and one weight per filter.

    weight [F=3, columns=4], block 2
      row 0   a . b .          block 0 keeps columns 0 and 2
      row 1   c . d .          block 1 keeps column 3
      row 2   . . . e
    pack(weight, block=2):
      reorder = [0, 1, 2]      row i is this filter
      offset  = [0, 2, 3]      block i holds columns offset[i] to offset[i + 1]
      index   = [0, 2, 3]      the columns kept
      weight  = [[a, c], [b, d], [e, 0]]       [columns kept, block]

Block-punched pruning (YOLObile), KGS (RT3D), BCR on convolutions (GRIM) and BSP on
recurrent layers (RTMobile) have blocks of several filters; N:M and unstructured zeros
are columns of a block of one. Overhead is one index per column of a block.

Source: Niu et al., "GRIM" (TPAMI 2021), section 4 (block-based column and row pruning,
compact storage); Dong et al., "RTMobile" (DAC 2020), section III (BSPC storage). The
one storage for all of them is this project's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.dialects.filter_groups import (
    Order,
    Words,
    as_words,
    group_equal,
    group_similar,
    union_columns,
)
from edgec.errors import InvalidInput

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

BLOCKS = (64, 32, 16, 8, 4, 2, 1)
"""Sizes of blocks that `detect` looks for, in filters."""


@dataclass(frozen=True)
class Columns:
    """The kept columns of a weight `[F, C, *K]`; B blocks, n columns."""

    reorder: Ints
    """`[F]`: filter that row i holds."""
    offset: Ints
    """`[B + 1]`: number of columns before block i."""
    index: Ints
    """`[n]`: the columns, ascending inside a block: `channel * |K| + position`."""
    weight: Floats
    """`[n, block]`: weights; 0 in the rows that the last block lacks."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Columns:
        """The storage from its arrays by name."""
        return cls(**{name: arrays[name] for name in arrays})

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, as `from_arrays` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def block(self) -> int:
        """Filters of a block."""
        return int(self.weight.shape[1])

    @property
    def num_columns(self) -> int:
        """Columns kept, over all blocks."""
        return len(self.index)

    @property
    def stored_bytes(self) -> int:
        """Bytes to store, indices included."""
        return sum(array.nbytes for array in self.arrays().values())


@dataclass(frozen=True)
class ColumnScheme:
    """What `detect` found: the block, and how much it stores."""

    block: int
    """Filters of a block."""
    reorder: tuple[int, ...]
    """Filter of each row: filters with like columns stand together."""
    num_columns: int
    """Columns kept, over all blocks."""
    stored: int
    """Weights stored, the zeros in kept columns included."""
    kept: int
    """Weights that are not zero."""
    size: int
    """All weights."""

    @property
    def density(self) -> float:
        """Stored weights / all weights."""
        return self.stored / max(self.size, 1)

    @property
    def is_reordered(self) -> bool:
        """Whether rows hold filters in another order than the weight's."""
        return any(row != number for number, row in enumerate(self.reorder))


def pack(weight: Floats, block: int, reorder: Sequence[int] | None = None) -> Columns:
    """Store `[F, C, *K]` in blocks of `block` rows; row i is filter `reorder[i]`.

    Raises `InvalidInput` for a weight that is not float32 of rank 2 or more, a block
    that is not positive, or a `reorder` that is no permutation of the filters.
    """
    matrix = as_matrix(weight)
    filters, columns = matrix.shape
    order = _order(reorder, filters)
    if block < 1:
        raise InvalidInput(f"the block must have at least one filter, got {block}")
    blocks = math.ceil(filters / block)
    rows = np.zeros((blocks * block, columns), np.float32)
    rows[:filters] = matrix[order]
    grid = rows.reshape(blocks, block, columns)
    kept = grid.any(axis=1)
    where = np.nonzero(kept)
    return Columns(
        reorder=order.astype(np.int32),
        offset=np.append(0, np.cumsum(kept.sum(axis=1))).astype(np.int32),
        index=where[1].astype(np.int32),
        weight=np.ascontiguousarray(grid[where[0], :, where[1]]),
    )


def unpack(columns: Columns, shape: Sequence[int]) -> Floats:
    """The dense weight; `unpack(pack(w, b), w.shape)` is `w`, bit for bit."""
    filters = shape[0]
    width = math.prod(shape[1:])
    blocks = len(columns.offset) - 1
    rows = np.zeros((blocks, columns.block, width), np.float32)
    of_block = np.repeat(np.arange(blocks), np.diff(columns.offset))
    rows[of_block, :, columns.index] = columns.weight
    dense = np.zeros((filters, width), np.float32)
    dense[columns.reorder] = rows.reshape(-1, width)[:filters]
    return dense.reshape(shape)


def scheme_of(
    weight: Floats, block: int, reorder: Sequence[int] | None = None
) -> ColumnScheme:
    """What storing the weight in blocks of `block` rows would keep."""
    kept = as_matrix(weight) != 0
    return _Support(as_words(kept), kept.shape).scheme(
        block, _order(reorder, len(kept))
    )


@dataclass(frozen=True)
class _Support:
    """Where a weight is not zero."""

    words: Words
    shape: tuple[int, ...]
    """Filters and columns."""

    def scheme(self, block: int, order: Order) -> ColumnScheme:
        count = union_columns(self.words, order, block)
        return ColumnScheme(
            block=block,
            reorder=tuple(order.tolist()),
            num_columns=count,
            stored=count * block,
            kept=int(np.bitwise_count(self.words).sum()),
            size=math.prod(self.shape),
        )


def detect(
    weight: Floats, cost: Callable[[ColumnScheme], float], *, in_order: bool = False
) -> ColumnScheme:
    """The block and order of filters that cost least; ties go to the larger block.

    Filters are looked at in their own order, with those of equal columns together, and
    with similar ones together: a filter may differ in some columns from those that it
    was pruned with, or blocks of filters that were never meant to be one may share
    enough that loading a column once saves more than multiplying by some zeros costs.
    An order other than the filters' own must cost less; with `in_order` none is looked
    at. A cost is at least the density. Same weight, same answer.
    """
    kept = as_matrix(weight) != 0
    support = _Support(as_words(kept), kept.shape)
    own = np.arange(len(kept))
    best = _best_block(support, own, cost)
    if in_order:
        return best
    equal = group_equal(support.words)
    if not np.array_equal(equal, own):
        grouped = _best_block(support, equal, cost)
        best = grouped if cost(grouped) < cost(best) else best
    density = best.kept / max(best.size, 1)
    similar = group_similar(support.words)
    # Larger blocks store no less, and cost no less than what they store.
    while density < cost(best):
        block, order = next(similar, (0, own))
        if not block:
            break
        scheme = support.scheme(block, order)
        density = scheme.density
        best = scheme if cost(scheme) < cost(best) else best
    return best


def _best_block(
    support: _Support, order: Order, cost: Callable[[ColumnScheme], float]
) -> ColumnScheme:
    schemes = [
        support.scheme(block, order)
        for block in BLOCKS
        if block == 1 or block <= len(order)
    ]
    return min(schemes, key=lambda scheme: (cost(scheme), -scheme.block))


def _order(reorder: Sequence[int] | None, filters: int) -> npt.NDArray[np.int64]:
    """The order as an array; that of the filters for None."""
    order = np.arange(filters, dtype=np.int64)
    if reorder is None:
        return order
    if sorted(reorder) != list(range(filters)):
        raise InvalidInput(f"reorder must be a permutation of 0 to {filters - 1}")
    return np.array(list(reorder), np.int64)


def as_matrix(weight: Floats) -> Floats:
    """`[F, C·|K|]`; raises `InvalidInput` for what is no weight."""
    if weight.ndim < 2 or weight.dtype != np.float32:
        raise InvalidInput(
            f"the weight must be float32 of rank 2 or more, "
            f"got {weight.dtype} of shape {weight.shape}"
        )
    return weight.reshape(weight.shape[0], -1)
