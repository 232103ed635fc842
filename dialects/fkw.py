"""FKW: the storage of a pattern-pruned convolution weight, on plain arrays.

A *kernel* is one slice `weight[filter, channel]`. Pruning leaves some kernels empty and
gives the others one of a few *patterns*: sorted tuples of flat positions, all of the
same length (the taps). FKW stores the kept kernels only, row after row; a row is a
filter. Its overhead is per kernel, not per weight.

    weight [F=2, C=2, 3, 3], patterns ((0, 1, 3, 4), (1, 4, 5, 7))
      filter 0: channel 1 has pattern 0
      filter 1: channel 0 has pattern 1, channel 1 has pattern 0
    reorder(pack(weight, patterns)):
      reorder = [1, 0]          row 0 is filter 1: the one with more kernels
      offset  = [0, 2, 3]       row i holds kernels offset[i] to offset[i + 1]
      index   = [1, 0, 1]       input channel of each kernel
      pattern = [0, 1, 0]       sorted inside a row
      stride  = [[0, 1, 2], [0, 1, 1]]    where each pattern's run starts in the row
      weight  = [[w1, w2, w3, w4], ...]   four weights of each kernel

Nothing here knows of IR: the encodings of `sq` and the passes call these functions.

Source: PatDNN (Niu et al., ASPLOS 2020), section 5.2 (filter kernel reorder) and 5.3
(compressed weight storage).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import InvalidInput

Pattern = tuple[int, ...]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bits = npt.NDArray[np.int64]

MAX_PATTERNS = 16
"""Most patterns that `detect` accepts: each one is a code shape of its own (PatDNN uses
6, 8 or 12)."""

MAX_POSITIONS = 62
"""Largest kernel, in positions: supports are held as bits of a 64-bit integer."""


@dataclass(frozen=True)
class Fkw:
    """The kept kernels of a weight `[F, C, *K]`; n kernels, t taps, P patterns."""

    patterns: tuple[Pattern, ...]
    """The set; each entry holds t flat positions in ascending order."""
    reorder: Ints
    """`[F]`: filter that row i holds."""
    offset: Ints
    """`[F + 1]`: number of kernels before row i."""
    index: Ints
    """`[n]`: input channel of each kernel."""
    pattern: Ints
    """`[n]`: index into `patterns` of each kernel."""
    weight: Floats
    """`[n, t]`: the weights at the positions of the pattern."""
    stride: Ints | None = None
    """`[F, P + 1]`: where each pattern's run starts inside its row; after `reorder`."""

    @classmethod
    def from_arrays(
        cls, patterns: Sequence[Pattern], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Fkw:
        """The storage from its arrays by name; `stride` only if it is ordered."""
        return cls(tuple(patterns), **{name: arrays[name] for name in arrays})

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, as `from_arrays` takes them."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        del found["patterns"]
        return {name: array for name, array in found.items() if array is not None}

    @property
    def is_ordered(self) -> bool:
        """Whether kernels are grouped by pattern inside each row."""
        return self.stride is not None

    @property
    def num_kernels(self) -> int:
        """Kernels that are kept."""
        return len(self.index)

    @property
    def stored_bytes(self) -> int:
        """Bytes to store: once ordered, `stride` stands in for `pattern`."""
        kinds = self.pattern if self.stride is None else self.stride
        arrays = (self.reorder, self.offset, self.index, kinds, self.weight)
        return sum(array.nbytes for array in arrays)


@dataclass(frozen=True)
class PatternScheme:
    """What `detect` found: empty kernels, the others within a few patterns."""

    patterns: tuple[Pattern, ...]
    """The set, in ascending order."""
    positions: int
    """Positions of one kernel: 9 for 3x3."""
    num_kernels: int
    """Kernels that are not empty."""
    total_kernels: int
    """All kernels: filters x channels."""

    @property
    def taps(self) -> int:
        """Weights that every kernel stores."""
        return len(self.patterns[0])

    @property
    def density(self) -> float:
        """Stored weights / all weights."""
        total = self.total_kernels * self.positions
        return self.num_kernels * self.taps / total


@dataclass(frozen=True)
class Dense:
    """What `detect` found: no patterns to use."""

    reason: str
    """Why not, in one line."""


def detect(
    weight: npt.NDArray[np.floating], *, max_patterns: int = MAX_PATTERNS
) -> PatternScheme | Dense:
    """Whether a convolution weight `[F, C, *K]` is pattern-pruned, from zeros alone.

    t is the largest number of nonzeros in any kernel. Supports of t positions are
    patterns; smaller ones (a kept weight may happen to be zero) join a pattern that
    holds them, or are merged into as few further patterns as a first fit finds. Same
    weight, same answer, in the same order.
    """
    if weight.ndim < 3 or not weight.size:
        return Dense(f"not the weight of a convolution: shape {weight.shape}")
    positions = math.prod(weight.shape[2:])
    if positions > MAX_POSITIONS:
        return Dense(f"kernels have {positions} positions, more than {MAX_POSITIONS}")
    supports = _supports(weight)
    used = np.unique(supports[supports != 0])
    taps = int(np.bitwise_count(used).max(initial=1))
    cover = _cover(used, taps, max_patterns)
    if cover is None:
        return Dense(
            f"kernels have {len(used)} different supports of up to {taps} nonzeros: "
            f"more than {max_patterns} patterns"
        )
    kept = int(np.count_nonzero(supports))
    if kept == supports.size and taps == positions:
        return Dense(f"no kernel is empty and some keep all {positions} weights")
    patterns = sorted(_taps_of(_fill(bits, taps)) for bits in cover or [0])
    return PatternScheme(tuple(patterns), positions, kept, supports.size)


def pack(weight: Floats, patterns: Sequence[Pattern]) -> Fkw:
    """Store `[F, C, *K]` in float32 with filters and channels in their own order.

    A kernel takes the first pattern that holds its support. Raises `InvalidInput` if
    the patterns do not fit the kernel or a kernel fits none of them.
    """
    if weight.ndim < 3 or weight.dtype != np.float32:
        raise InvalidInput(
            f"the weight must be float32 of rank 3 or more, "
            f"got {weight.dtype} of shape {weight.shape}"
        )
    filters, channels = weight.shape[:2]
    positions = math.prod(weight.shape[2:])
    chosen = _check_patterns(patterns, positions)
    supports = _supports(weight).ravel()
    kernels = np.flatnonzero(supports)
    kind = _first_cover(supports[kernels], chosen)
    if (kind < 0).any():
        kernel = int(kernels[np.argmin(kind)])
        raise InvalidInput(
            f"kernel {divmod(kernel, channels)} must fit one of the patterns {chosen}, "
            f"got nonzeros at {_taps_of(int(supports[kernel]))}"
        )
    rows = weight.reshape(filters * channels, positions)[kernels]
    counts = np.bincount(kernels // max(channels, 1), minlength=filters)
    return Fkw(
        patterns=chosen,
        reorder=np.arange(filters, dtype=np.int32),
        offset=_prefix(counts),
        index=(kernels % max(channels, 1)).astype(np.int32),
        pattern=kind,
        weight=np.take_along_axis(rows, np.array(chosen, np.int64)[kind], axis=1),
    )


def unpack(fkw: Fkw, shape: Sequence[int]) -> Floats:
    """The weight `[F, C, *K]`, bit for bit but for the sign of pruned zeros.

    Raises `InvalidInput` if the arrays do not fit each other or the shape.
    """
    if len(shape) < 3:
        raise InvalidInput(f"the shape must be [F, C, *K], got {tuple(shape)}")
    filters, channels, positions = shape[0], shape[1], math.prod(shape[2:])
    _check_arrays(fkw, filters, channels, positions)
    result = np.zeros((filters * channels, positions), np.float32)
    rows = np.repeat(fkw.reorder.astype(np.int64), np.diff(fkw.offset))
    taps = np.array(fkw.patterns, np.int64)[fkw.pattern]
    result[(rows * channels + fkw.index)[:, None], taps] = fkw.weight
    return result.reshape(tuple(shape))


def reorder(fkw: Fkw) -> Fkw:
    """The same weight, rows and kernels in an order that suits the machine.

    Filters with more kernels come first (threads and unrolled loops see equal lengths
    side by side); among equal lengths each filter is followed by the one that has the
    most (channel, pattern) pairs in common with it, ties to the smaller filter number,
    so that neighbours read the same inputs. Inside a filter kernels go by pattern, then
    by channel: one loop without branches per run. The order depends on the weight only,
    not on the order before.
    """
    lengths = np.diff(fkw.offset)
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    by_filter = np.argsort(fkw.reorder)
    channels = int(fkw.index.max(initial=-1)) + 1
    # int16 holds any pattern number; -1 is an empty kernel.
    table = np.full((len(lengths), channels), -1, np.int16)
    table[fkw.reorder[row_of], fkw.index] = fkw.pattern
    order = by_filter[_chain(table, lengths[by_filter])]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    kernels = np.lexsort((fkw.index, fkw.pattern, place[row_of]))
    runs = np.zeros((len(order), len(fkw.patterns)), np.int64)
    np.add.at(runs, (place[row_of], fkw.pattern), 1)
    stride = np.zeros((len(order), len(fkw.patterns) + 1), np.int32)
    stride[:, 1:] = np.cumsum(runs, axis=1)
    return replace(
        fkw,
        reorder=fkw.reorder[order],
        offset=_prefix(lengths[order]),
        index=fkw.index[kernels],
        pattern=fkw.pattern[kernels],
        weight=fkw.weight[kernels],
        stride=stride,
    )


def permute(fkw: Fkw, filters: Bits, channels: Bits) -> Fkw:
    """The storage of `weight[filters][:, channels]`, with rows in the order they had.

    Kernels of a row are sorted anew: by pattern if the storage is ordered, then by
    channel.
    """
    index = np.argsort(channels)[fkw.index]
    row_of = np.repeat(np.arange(len(fkw.reorder)), np.diff(fkw.offset))
    keys = (index, fkw.pattern, row_of) if fkw.is_ordered else (index, row_of)
    kernels = np.lexsort(keys)
    return replace(
        fkw,
        reorder=np.argsort(filters)[fkw.reorder].astype(np.int32),
        index=index[kernels].astype(np.int32),
        pattern=fkw.pattern[kernels],
        weight=fkw.weight[kernels],
    )


def shared_pairs(fkw: Fkw) -> int:
    """(channel, pattern) pairs that a row has in common with the row before it, summed.

    What `reorder` makes large: each shared pair is a set of loads that two neighbouring
    filters can share.
    """
    rows = np.repeat(np.arange(len(fkw.offset) - 1), np.diff(fkw.offset))
    pairs = np.stack([rows, fkw.index, fkw.pattern], axis=1).tolist()
    here = {(row, channel, kind) for row, channel, kind in pairs}
    return sum((row - 1, channel, kind) in here for row, channel, kind in here)


def split_rows(offset: Ints, parts: int) -> Ints:
    """Cut the rows into `parts` contiguous ranges with about equal numbers of kernels.

    Returns `[parts + 1]` ascending row numbers from 0 to F: part i holds the rows from
    `result[i]` to `result[i + 1]`. Each cut is the one nearest to its ideal place, so a
    part misses its share by at most half of the longest row on either side; rows
    without kernels are spread too. Raises `InvalidInput` unless `parts` is positive.
    """
    if parts < 1:
        raise InvalidInput(f"the number of parts must be positive, got {parts}")
    rows = len(offset) - 1
    # One kernel weighs more than all rows together, so rows only settle ties.
    work = [int(kernels) * (rows + 1) + row for row, kernels in enumerate(offset)]
    cuts: list[int] = []
    for part in range(parts + 1):
        ideal = work[-1] * part // parts
        above = bisect_left(work, ideal)
        is_nearer_below = above > 0 and ideal - work[above - 1] <= work[above] - ideal
        cuts.append(above - 1 if is_nearer_below else above)
    return np.array(cuts, np.int32)


def _supports(weight: npt.NDArray[np.floating]) -> Bits:
    """`[F, C]`: bit p is set where position p of the kernel is not zero."""
    flat = weight.reshape(*weight.shape[:2], math.prod(weight.shape[2:]))
    return (flat != 0) @ (1 << np.arange(flat.shape[2], dtype=np.int64))


def _taps_of(bits: int) -> Pattern:
    """The positions whose bits are set, ascending."""
    return tuple(p for p in range(MAX_POSITIONS) if bits >> p & 1)


def _fill(bits: int, taps: int) -> int:
    """`bits` with the lowest free positions added until `taps` are set."""
    while bits.bit_count() < taps:
        bits |= bits + 1
    return bits


def _cover(used: Bits, taps: int, limit: int) -> list[int] | None:
    """Few sets of at most `taps` positions that hold all supports; none above `limit`.

    Supports of full size have no choice. The others, largest first, are merged into the
    first set that has room.
    """
    sizes = np.bitwise_count(used)
    sets = [int(bits) for bits in used[sizes == taps]]
    if len(sets) > limit:
        return None
    is_left = np.ones(len(used), np.bool_)
    for bits in sets:
        is_left &= (used & ~bits) != 0
    order = np.argsort(-sizes[is_left].astype(np.int64), kind="stable")
    for support in used[is_left][order].tolist():
        fits = (i for i, s in enumerate(sets) if (s | support).bit_count() <= taps)
        home = next(fits, None)
        if home is not None:
            sets[home] |= support
        elif len(sets) == limit:
            return None
        else:
            sets.append(support)
    return sets


def _first_cover(supports: Bits, patterns: Sequence[Pattern]) -> Ints:
    """Per support, the first pattern that holds it, or -1."""
    kind = np.full(supports.shape, -1, np.int32)
    for number, pattern in reversed(list(enumerate(patterns))):
        outside = ~sum(1 << position for position in pattern)
        kind[(supports & outside) == 0] = number
    return kind


def _chain(table: npt.NDArray[np.int16], lengths: npt.NDArray[np.integer]) -> Bits:
    """Filters by descending length, similar ones next to each other.

    `table` is `[F, C]`: the pattern of each kernel, -1 where it is empty.
    """
    chain: list[int] = []
    for length in sorted(set(lengths.tolist()), reverse=True):
        group = np.flatnonzero(lengths == length)
        rows = table[group]
        is_free = np.ones(len(group), np.bool_)
        for _ in group:
            if chain:
                last = table[chain[-1]]
                columns = last >= 0
                # -1 for filters already placed: below any similarity.
                same = np.count_nonzero(rows[:, columns] == last[columns], axis=1)
                best = int(np.argmax(np.where(is_free, same, -1)))
            else:
                best = 0
            is_free[best] = False
            chain.append(int(group[best]))
    return np.array(chain, np.int64)


def _prefix(counts: npt.NDArray[np.integer]) -> Ints:
    """`[0, c0, c0 + c1, …]`."""
    result = np.zeros(len(counts) + 1, np.int32)
    result[1:] = np.cumsum(counts)
    return result


def _check_patterns(patterns: Sequence[Pattern], positions: int) -> tuple[Pattern, ...]:
    """The patterns as tuples: one or more, equally long, inside the kernel."""
    chosen = tuple(tuple(pattern) for pattern in patterns)
    if positions > MAX_POSITIONS:
        raise InvalidInput(
            f"a kernel must have at most {MAX_POSITIONS} positions, got {positions}"
        )
    if not chosen or not chosen[0] or len({len(pattern) for pattern in chosen}) != 1:
        raise InvalidInput(f"patterns must be tuples of one length, got {chosen}")
    for pattern in chosen:
        if list(pattern) != sorted(set(pattern) & set(range(positions))):
            raise InvalidInput(
                f"a pattern must be ascending positions in 0..{positions - 1}, "
                f"got {pattern}"
            )
    return chosen


def _check_arrays(fkw: Fkw, filters: int, channels: int, positions: int) -> None:
    """The arrays fit each other and the weight's shape."""
    patterns = _check_patterns(fkw.patterns, positions)
    count = fkw.num_kernels
    kernels = (count,), (count, len(patterns[0]))
    if fkw.pattern.shape != kernels[0] or fkw.weight.shape != kernels[1]:
        raise InvalidInput(
            f"pattern and weight must have shapes {kernels[0]} and {kernels[1]}, "
            f"got {fkw.pattern.shape} and {fkw.weight.shape}"
        )
    if not np.array_equal(np.sort(fkw.reorder), np.arange(filters)):
        raise InvalidInput(f"reorder must be a permutation of {filters} filters")
    lengths = np.diff(fkw.offset)
    ends = (int(fkw.offset[0]), int(fkw.offset[-1])) if len(fkw.offset) else None
    if len(lengths) != filters or (lengths < 0).any() or ends != (0, count):
        raise InvalidInput(
            f"offset must rise from 0 to {count} in {filters} steps, got {fkw.offset}"
        )
    for name, values, end in (
        ("index", fkw.index, channels),
        ("pattern", fkw.pattern, len(patterns)),
    ):
        if count and not 0 <= values.min() <= values.max() < end:
            raise InvalidInput(
                f"{name} must be in 0..{end - 1}, got {values.min()}..{values.max()}"
            )
