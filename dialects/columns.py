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

In a grouped convolution no block crosses from one group to the next: the last block of
each group may be short, and a column counts from the first channel of its group.

Block-punched pruning (YOLObile), KGS (RT3D), BCR on convolutions (GRIM) and BSP on
recurrent layers (RTMobile) have blocks of several filters; N:M and unstructured zeros
are columns of a block of one. Overhead is one index per column of a block.

Source: Niu et al., "GRIM" (TPAMI 2021), section 4 (block-based column and row pruning,
compact storage); Dong et al., "RTMobile" (DAC 2020), section III (BSPC storage). The
one storage for all of them is this project's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

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
Scalar = TypeVar("Scalar", np.float32, np.bool_)

BLOCKS = (64, 32, 16, 8, 4, 2, 1)
"""Sizes of blocks that `detect` looks for, in filters."""
ARRAYS = ("reorder", "offset", "index", "weight")
"""Names of the arrays of the storage."""


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
    """`[n, block]`: weights; 0 in the rows that the last block of a group lacks."""

    groups: int = 1
    """Of the convolution; each has equally many filters and blocks."""

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[Any]], groups: int = 1
    ) -> Columns:
        """The storage from its arrays by name."""
        return cls(**{name: arrays[name] for name in ARRAYS}, groups=groups)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, as `from_arrays` takes them."""
        return {name: getattr(self, name) for name in ARRAYS}

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
    groups: int = 1
    """Of the convolution."""

    @property
    def density(self) -> float:
        """Stored weights / all weights."""
        return self.stored / max(self.size, 1)

    @property
    def is_reordered(self) -> bool:
        """Whether rows hold filters in another order than the weight's."""
        return any(row != number for number, row in enumerate(self.reorder))


def pack(
    weight: Floats,
    block: int,
    reorder: Sequence[int] | None = None,
    groups: int = 1,
) -> Columns:
    """Store `[F, C, *K]` in blocks of `block` rows; row i is filter `reorder[i]`.

    A weight of bytes is stored four channels at a time, `[F, C / 4, *K]` of int32.
    Raises `InvalidInput` for a weight that is neither or has no rank of 2, a block
    that is not positive, groups that do not divide the filters, or a `reorder` that is
    no permutation of the filters of each group.
    """
    matrix = as_matrix(weight)
    order = _order(reorder, len(matrix), groups)
    if block < 1:
        raise InvalidInput(f"the block must have at least one filter, got {block}")
    grid = _grid(matrix[order], block, groups)
    kept = grid.any(axis=1)
    where = np.nonzero(kept)
    return Columns(
        reorder=order.astype(np.int32),
        offset=np.append(0, np.cumsum(kept.sum(axis=1))).astype(np.int32),
        index=where[1].astype(np.int32),
        weight=np.ascontiguousarray(grid[where[0], :, where[1]]),
        groups=groups,
    )


def _grid(rows: npt.NDArray[Scalar], block: int, groups: int) -> npt.NDArray[Scalar]:
    """`[F, n]` as `[blocks, block, n]`, zero where the last block of a group ends."""
    each = len(rows) // groups
    blocks = math.ceil(each / block)
    grid = np.zeros((groups, blocks * block, rows.shape[1]), rows.dtype)
    grid[:, :each] = rows.reshape(groups, each, -1)
    return grid.reshape(groups * blocks, block, -1)


def unpack(columns: Columns, shape: Sequence[int]) -> Floats:
    """The dense weight; `unpack(pack(w, b), w.shape)` is `w`, bit for bit."""
    filters = shape[0]
    width = math.prod(shape[1:])
    blocks = len(columns.offset) - 1
    rows = np.zeros((blocks, columns.block, width), np.float32)
    of_block = np.repeat(np.arange(blocks), np.diff(columns.offset))
    rows[of_block, :, columns.index] = columns.weight
    dense = np.zeros((filters, width), np.float32)
    each = filters // columns.groups
    inside = rows.reshape(columns.groups, -1, width)[:, :each]
    dense[columns.reorder] = inside.reshape(-1, width)
    return dense.reshape(shape)


def permute(columns: Columns, filters: Order, channels: Order, taps: int) -> Columns:
    """The storage of `weight[filters][:, channels]`; a channel has `taps` columns.

    The same weights in the same blocks: a row holds another number of its filter, and
    the columns of a block have other numbers, by which they are sorted again.
    """
    channel, tap = np.divmod(columns.index.astype(np.int64), taps)
    index = np.argsort(channels)[channel] * taps + tap
    blocks = len(columns.offset) - 1
    of_block = np.repeat(np.arange(blocks), np.diff(columns.offset))
    order = np.lexsort((index, of_block))
    return replace(
        columns,
        reorder=np.argsort(filters)[columns.reorder].astype(np.int32),
        index=index[order].astype(np.int32),
        weight=columns.weight[order],
    )


def straighten(columns: Columns) -> Columns:
    """The same weight with row i for filter i, if its blocks hold neighbours.

    Other weights stay as they are, those of groups too, each of which may end with a
    short block. Blocks may stand in any order, and so may filters in a block: they
    share columns.
    """
    if columns.groups > 1:
        return columns
    filters, size = len(columns.reorder), columns.block
    rows = np.argsort(columns.reorder)
    # Of block i, in order: where it stands, and where its filters stand in it.
    source = rows[::size] // size
    is_together = rows // size == np.repeat(source, size)[:filters]
    if not is_together.all() or (filters % size and source[-1] != len(source) - 1):
        return columns
    counts = np.diff(columns.offset)[source]
    starts = np.append(0, np.cumsum(counts))
    within = np.arange(columns.num_columns) - np.repeat(starts[:-1], counts)
    at = np.repeat(columns.offset[:-1][source], counts) + within
    places = np.tile(np.arange(size), (len(source), 1))
    places.reshape(-1)[:filters] = rows % size
    of_block = np.repeat(np.arange(len(source)), counts)
    return replace(
        columns,
        reorder=np.arange(filters, dtype=np.int32),
        offset=starts.astype(np.int32),
        index=columns.index[at],
        weight=np.take_along_axis(columns.weight[at], places[of_block], axis=1),
    )


def scheme_of(
    weight: Floats,
    block: int,
    reorder: Sequence[int] | None = None,
    groups: int = 1,
) -> ColumnScheme:
    """What storing the weight in blocks of `block` rows would keep."""
    kept = as_matrix(weight) != 0
    return _Support.of(kept, groups).scheme(block, _order(reorder, len(kept), groups))


@dataclass(frozen=True)
class _Support:
    """Where a weight is not zero."""

    words: Words
    shape: tuple[int, ...]
    """Filters and columns."""
    groups: int

    @classmethod
    def of(cls, kept: npt.NDArray[np.bool_], groups: int) -> _Support:
        return cls(as_words(kept), kept.shape, groups)

    @property
    def starts(self) -> range:
        """The first filter of each group."""
        return range(0, self.shape[0], self.each)

    @property
    def each(self) -> int:
        """Filters of a group."""
        return max(1, self.shape[0] // self.groups)

    def scheme(self, block: int, order: Order) -> ColumnScheme:
        count = sum(
            union_columns(self.words, order[start : start + self.each], block)
            for start in self.starts
        )
        return ColumnScheme(
            block=block,
            reorder=tuple(order.tolist()),
            num_columns=count,
            stored=count * block,
            kept=int(np.bitwise_count(self.words).sum()),
            size=math.prod(self.shape),
            groups=self.groups,
        )

    def equal(self) -> Order:
        """Filters with equal columns together; none leaves its group."""
        return self.joined([group_equal(words) for words in self.parts()])

    def similar(self) -> Iterator[tuple[int, Order]]:
        """Orders for blocks of 2, 4, 8, … filters; none leaves its group."""
        for orders in zip(*map(group_similar, self.parts()), strict=True):
            yield orders[0][0], self.joined([order for _, order in orders])

    def parts(self) -> list[Words]:
        return [self.words[start : start + self.each] for start in self.starts]

    def joined(self, orders: Sequence[Order]) -> Order:
        """The order of all filters, from one of each group."""
        pairs = zip(self.starts, orders, strict=True)
        return np.concatenate([start + order for start, order in pairs])


def detect(
    weight: Floats,
    cost: Callable[[ColumnScheme], float],
    groups: int = 1,
    *,
    in_order: bool = False,
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
    support = _Support.of(kept, groups)
    own = np.arange(len(kept))
    best = _best_block(support, own, cost)
    if in_order or not len(kept):
        return best
    equal = support.equal()
    if not np.array_equal(equal, own):
        grouped = _best_block(support, equal, cost)
        best = grouped if cost(grouped) < cost(best) else best
    density = best.kept / max(best.size, 1)
    similar = support.similar()
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
        if block == 1 or block <= support.each
    ]
    return min(schemes, key=lambda scheme: (cost(scheme), -scheme.block))


def _order(
    reorder: Sequence[int] | None, filters: int, groups: int
) -> npt.NDArray[np.int64]:
    """The order as an array; that of the filters for None."""
    if groups < 1 or filters % groups:
        raise InvalidInput(f"{filters} filters do not make {groups} equal groups")
    order = np.arange(filters, dtype=np.int64)
    if reorder is None:
        return order
    each = filters // groups
    parts = (sorted(reorder[n : n + each]) for n in range(0, len(reorder), each))
    if [n for part in parts for n in part] != order.tolist():
        inside = " inside each group" if groups > 1 else ""
        raise InvalidInput(
            f"reorder must be a permutation of 0 to {filters - 1}{inside}"
        )
    return np.array(list(reorder), np.int64)


def as_matrix(weight: Floats) -> Floats:
    """`[F, C·|K|]`; raises `InvalidInput` for what is no weight."""
    if weight.ndim < 2 or weight.dtype.name not in ("float32", "int32"):
        raise InvalidInput(
            f"the weight must be float32, or int32 of four bytes, of rank 2 or more, "
            f"got {weight.dtype} of shape {weight.shape}"
        )
    return weight.reshape(weight.shape[0], -1)
