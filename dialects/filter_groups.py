"""Orders of the filters in which neighbours keep the same columns.

Filters that stand in one block store the union of their columns: what one of them keeps
and another does not is a stored zero. A good order has small unions. Whoever pruned the
weight may have left one (blocks of neighbours), a permuted one, or none.

What a filter keeps is a row of bits, 64 columns to a word, so that what two filters
share is counted 64 columns at a time.

Source: Niu et al., "PatDNN" (ASPLOS 2020), section 5.2, orders filters by similarity;
merging blocks of filters pair by pair is this project's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
Order = npt.NDArray[np.int64]

WORK = 1 << 24
"""Words that one round of pairing compares at most, some 50 ms: of a weight with more
filters and columns, some columns speak for all."""
MOST_FILTERS = 2048
"""More are not paired: it would take more than 0.1 s."""

NEVER = np.iinfo(np.int32).min
"""Less than any score."""


def as_words(kept: Bools) -> Words:
    """`[F, columns]` as `[F, words]`; zeros after the last column."""
    rows = np.packbits(kept, axis=1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8))).view(np.uint64)


def union_columns(words: Words, order: Order, block: int) -> int:
    """Columns that blocks of `block` filters keep, summed over the blocks."""
    blocks = -(-len(order) // block)
    rows = np.zeros((blocks * block, words.shape[1]), np.uint64)
    rows[: len(order)] = words[order]
    unions = np.bitwise_or.reduce(rows.reshape(blocks, block, -1), axis=1)
    return int(np.bitwise_count(unions).sum())


def group_equal(words: Words) -> Order:
    """Filters with equal columns together.

    Groups stand in the order of their first filter, filters of a group in their own: a
    weight in blocks keeps its order. One that was permuted after it was pruned in
    blocks gets an order with the same blocks.
    """
    groups: dict[bytes, list[int]] = {}
    for number, row in enumerate(words):
        groups.setdefault(row.tobytes(), []).append(number)
    return np.array([n for group in groups.values() for n in group], np.int64)


def group_similar(words: Words) -> Iterator[tuple[int, Order]]:
    """Orders for blocks of 2, 4, 8, … filters, by merging blocks pair by pair.

    Pairs are taken in the order of what they share, most first: that is what their
    unions save. A block lies inside a block of the next size, so larger blocks never
    store less. Only the last block of an order may be short of filters. Same bits, same
    orders; none for more than `MOST_FILTERS`.
    """
    groups: list[list[int]] = [[number] for number in range(len(words))]
    block = 1
    while len(groups) > 1 and len(words) <= MOST_FILTERS:
        short = len(groups) - 1 if len(groups[-1]) < block else None
        merged = _pairs(words, short)
        groups = [list(chain(*(groups[part] for part in pair))) for pair in merged]
        words = np.stack([np.bitwise_or.reduce(words[list(pair)]) for pair in merged])
        block *= 2
        yield block, np.array(list(chain(*groups)), np.int64)


def _pairs(words: Words, short: int | None) -> list[tuple[int, ...]]:
    """Rows in pairs, the one left over if their number is odd by itself at the end.

    Row `short` stands for too few filters, so it comes last.
    """
    rows = np.arange(len(words))
    if short is not None and len(words) % 2:
        return [*match_rows(words, rows[rows != short]), (short,)]
    pairs = match_rows(words, rows)
    if short is not None:
        last = next(pair for pair in pairs if short in pair)
        pairs.remove(last)
        pairs.append((sum(last) - short, short))
    return pairs


def match_rows(words: Words, rows: Order) -> list[tuple[int, ...]]:
    """Disjoint pairs of `rows`, those that share most first; one may be left over.

    Two rows that are each other's best are a pair that no better one can take apart, so
    all of those are taken at once. Of rows that share equally much, one is preferred
    whose place has more leading bits in common: equal rows then pair up at once too.
    """
    score = _scores(_some_columns(words[rows]))
    best = score.argmax(axis=1)
    is_free = np.ones(len(rows), np.bool_)
    pairs: list[tuple[int, ...]] = []
    while is_free.sum() > 1:
        place = np.flatnonzero(is_free)
        is_pair = best[best[place]] == place
        first = place[is_pair & (place < best[place])]
        pairs += [(int(rows[at]), int(rows[best[at]])) for at in first.tolist()]
        is_free[place[is_pair]] = False
        # Only rows whose best is gone have to look again.
        again = np.flatnonzero(is_free & ~is_free[best])
        best[again] = np.where(is_free, score[again], NEVER).argmax(axis=1)
    return [*pairs, *((int(row),) for row in rows[is_free])]


def _scores(words: Words) -> npt.NDArray[np.int32]:
    """`[rows, rows]`: columns that two rows share, and what tells equal ones apart."""
    count = len(words)
    bits, place = np.ascontiguousarray(words.T), np.arange(count, dtype=np.int32)
    score = np.empty((count, count), np.int32)
    for row in range(count):
        shared = np.bitwise_count(bits & bits[:, row : row + 1])
        score[row] = shared.sum(axis=0, dtype=np.int32)
    score *= np.int32(2 * count)
    score -= place[:, None] ^ place
    np.fill_diagonal(score, NEVER)
    return score


def _some_columns(words: Words) -> Words:
    """Evenly spread words, few enough that pairing compares at most `WORK`."""
    rows, total = words.shape
    room = max(1, 2 * WORK // max(1, rows * rows))
    if total <= room:
        return words
    return words[:, np.arange(room) * total // room]
