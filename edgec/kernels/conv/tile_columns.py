"""The kept columns of a convolution in groups of sixteen: those of one tile.

A column is the channels of one lane at one tap. Those of sixteen neighbouring lanes at
one tap lie evenly spaced in the lane layout, a plane apart, so a tile reads them where
they are. Other columns are gathered first, and a last group that is short is filled
with columns of zero weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import DenseArrayBase, DictionaryAttr, i64

from edgec.dialects import sq
from edgec.dialects.lane import TILE_LANES, TILE_ROWS

Ints = npt.NDArray[np.int32]
Truths = npt.NDArray[np.bool_]

COLUMNS = TILE_LANES
"""Columns of a group."""
KEPT_GROUPS = "sq.kept_groups"
"""`{"16" = array<i64: 5, 3>}`: groups of columns that blocks of so many filters read in
place, and those that they gather."""


@dataclass(frozen=True)
class KeptGroups:
    """Groups of columns that all blocks of so many filters keep."""

    direct: int
    """Read where they are."""
    gathered: int
    """Copied next to each other first."""

    @property
    def count(self) -> int:
        """Of both kinds."""
        return self.direct + self.gathered


@dataclass(frozen=True)
class GroupedColumns:
    """A weight of several channels in each lane, compressed."""

    weight: Ints
    """`[groups][filters of the block][columns]`; zeros where there is no filter."""
    index: Ints
    """`[groups][columns]`: groups of channels times taps plus tap; 0 of no column."""
    starts: Ints
    """`[2 blocks + 1]`: the first group of each block that it reads in place, and the
    first one that it gathers."""


def count_groups(lanes: Ints, blocks: Sequence[int]) -> dict[int, KeptGroups]:
    """The groups of `group_columns` for each number of filters of a block."""
    kept = _kept(lanes)
    found: dict[int, KeptGroups] = {}
    for block in blocks:
        direct, rest = _split(_of_blocks(kept, block))
        gathered = -(-rest.sum((1, 2)) // COLUMNS)
        found[block] = KeptGroups(int(direct.sum()), int(gathered.sum()))
    return found


def _kept(lanes: Ints) -> Truths:
    """`[filters, groups of channels, taps]`: which lanes of a weight are not zero."""
    return np.asarray(lanes.reshape(*lanes.shape[:2], -1) != 0, np.bool_)


def _of_blocks(kept: Truths, block: int) -> Truths:
    """What any filter of a block keeps."""
    starts = np.arange(0, len(kept), block, dtype=np.int64)
    return np.asarray(np.logical_or.reduceat(kept, starts, axis=0), np.bool_)


def _split(kept: Truths) -> tuple[Truths, Truths]:
    """Runs `[blocks, runs, taps]` of channels that are all kept; single columns."""
    blocks, channels, taps = kept.shape
    runs = channels // COLUMNS
    parts = kept[:, : runs * COLUMNS].reshape(blocks, runs, COLUMNS, taps)
    direct, rest = np.asarray(parts.all(2), np.bool_), kept.copy()
    rest[:, : runs * COLUMNS] &= ~direct.repeat(COLUMNS, 1)
    return direct, rest


def group_columns(lanes: Ints, block: int) -> GroupedColumns:
    """The kept columns of a weight in lanes (`as_quads`, `as_pairs`), in blocks."""
    filters, channels = lanes.shape[:2]
    taps = int(np.prod(lanes.shape[2:]))
    blocks = -(-filters // block)
    rows = np.zeros((blocks * block, channels * taps), np.int32)
    rows[:filters] = lanes.reshape(filters, -1)
    kept = _of_blocks(_kept(lanes), block)
    index: list[Ints] = []
    counts: list[int] = []
    for direct, rest in zip(*_split(kept), strict=True):
        runs, at = np.nonzero(direct)
        channel = runs[:, None] * COLUMNS + np.arange(COLUMNS)
        in_place = (channel * taps + at[:, None]).astype(np.int32)
        single = np.flatnonzero(rest.reshape(-1)).astype(np.int32)
        missing = -len(single) % COLUMNS
        gathered = np.pad(single, (0, missing), constant_values=-1)
        index += [in_place, gathered.reshape(-1, COLUMNS)]
        counts += [len(in_place), len(gathered) // COLUMNS]
    flat = np.concatenate(index)
    of_block = np.repeat(np.arange(len(counts)) // 2, counts)
    parts = rows.reshape(blocks, block, -1)
    found = parts[of_block[:, None], :, flat] * (flat >= 0)[..., None]
    return GroupedColumns(
        weight=np.ascontiguousarray(found.swapaxes(1, 2).astype(np.int32)),
        index=flat.clip(min=0),
        starts=np.append(0, np.cumsum(counts)).astype(np.int32),
    )


def keep_groups(op: sq.ConvOp | sq.LinearOp, counts: Mapping[int, KeptGroups]) -> None:
    """Say on an op how many groups of columns it keeps: its kernel may be of tiles."""
    numbers = {
        str(block): DenseArrayBase.from_list(i64, [found.direct, found.gathered])
        for block, found in sorted(counts.items())
    }
    op.attributes[KEPT_GROUPS] = DictionaryAttr(numbers)


def kept_groups(op: sq.ConvOp | sq.LinearOp) -> dict[int, KeptGroups]:
    """Filters of a block to groups kept; empty where no kernel of tiles is wanted."""
    found = op.attributes.get(KEPT_GROUPS)
    if not isinstance(found, DictionaryAttr):
        return {}
    counts: dict[int, KeptGroups] = {}
    for block, numbers in found.data.items():
        assert isinstance(numbers, DenseArrayBase)
        direct, gathered = (int(number) for number in numbers.get_values())
        counts[int(block)] = KeptGroups(direct, gathered)
    return counts


assert TILE_ROWS == TILE_LANES, "a group of columns fills a tile on both sides"
