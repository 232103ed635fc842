"""The tables of a pattern-sparse convolution kernel, from FKW storage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgec.dialects.columns import Columns
from edgec.dialects.fkw import Fkw, split_rows
from edgec.kernels.conv.pattern import PatternConv
from edgec.kernels.conv.pattern_loops import split_taps

Number = TypeVar("Number", np.int32, np.float32)
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PatternTables:
    """Arrays of a `PatternConv`.

    Kernels stand in the order in which they are used: part of the filters, block of
    channels, visit, then the order of the storage; a visit is one filter's kernels in
    one block. With a table of taps, visits of equal length follow each other, so that
    the end of a loop is predicted: filter reorder of PatDNN (ASPLOS 2020, section 5.2),
    for each block of channels anew.
    """

    w: Floats
    """The weights, in the order of `where`; zeros after the last."""
    where: Ints
    """`pairs` an address per two taps, then one per single tap, for each visit; `table`
    an address per tap; `runs` the channel of each kernel in its block; `switch` that
    and the pattern. Zeros after the last."""
    counts: Ints
    """Trips of each loop of each visit: `[blocks, visits, loops]`."""
    starts: Ints
    """`[parts, blocks, cursors]` first place in `where` and `w`, or first kernel."""
    parts: Ints
    """`[parts + 1]` first visit of each part; parts hold about equally many kernels."""
    visits: Ints
    """`[blocks, rows]` and one more: the filter of each visit to a block."""


@dataclass(frozen=True)
class _Kernels:
    """Where each kernel is used."""

    row: Indices
    block: Indices
    channel: Indices
    """In its block."""
    pattern: Indices
    weight: Floats
    parts: Indices
    """First row of each part, and the end."""


@dataclass(frozen=True)
class _Entries:
    """What one trip of a loop does: `[n]` arrays, `[n, width]` weights."""

    kernel: Indices
    address: Indices
    weights: Floats


def pack_pattern(fkw: Fkw, spec: PatternConv, lanes: int) -> PatternTables:
    """Tables for `spec` on vectors of `lanes`."""
    filters = len(fkw.reorder)
    block, channel = np.divmod(fkw.index.astype(np.int64), spec.block)
    kernels = _Kernels(
        row=np.repeat(np.arange(filters), np.diff(fkw.offset)),
        block=block,
        channel=channel,
        pattern=fkw.pattern.astype(np.int64),
        weight=fkw.weight.astype(np.float32),
        parts=split_rows(fkw.offset, spec.splits).astype(np.int64),
    )
    if spec.form in ("pairs", "table"):
        return _tap_tables(kernels, fkw, spec, lanes)
    return _kernel_tables(kernels, fkw, spec, lanes)


def single_taps(columns: Columns, shape: Sequence[int]) -> Fkw:
    """Columns of single filters as kernels of one tap; `shape` is the weight's."""
    positions = math.prod(shape[2:])
    channel, position = np.divmod(columns.index, np.int32(positions))
    return Fkw(
        patterns=tuple((number,) for number in range(positions)),
        reorder=columns.reorder,
        offset=columns.offset,
        index=channel,
        pattern=position,
        weight=columns.weight,
    )


def _tap_tables(
    kernels: _Kernels, fkw: Fkw, spec: PatternConv, lanes: int
) -> PatternTables:
    """Loops over taps: weights follow the addresses."""
    loops = _tap_entries(kernels, spec, lanes)
    most = len(kernels.row) * spec.loops(lanes).addresses
    grid = (spec.num_blocks, len(fkw.reorder))
    cell = kernels.block * len(fkw.reorder) + kernels.row
    counts = [
        np.bincount(cell[e.kernel], minlength=math.prod(grid)).reshape(grid)
        for e in loops
    ]
    visits = _sorted_visits(kernels.parts, counts)
    turn = np.argsort(visits, axis=1)[kernels.block, kernels.row]
    part = np.searchsorted(kernels.parts, turn, side="right") - 1
    section = part * spec.num_blocks + kernels.block

    kernel = np.concatenate([e.kernel for e in loops])
    loop = np.repeat(np.arange(len(loops)), [len(e.kernel) for e in loops])
    order = np.lexsort((kernel, loop, turn[kernel], section[kernel]))
    widths = np.array([e.weights.shape[1] for e in loops])[loop[order]]
    place = np.cumsum(widths) - widths
    w = np.zeros(kernels.weight.size, np.float32)
    source = np.empty(len(order), np.int64)
    source[order] = place
    for number, entries in enumerate(loops):
        at = source[loop == number]
        for tap in range(entries.weights.shape[1]):
            w[at + tap] = entries.weights[:, tap]
    where = np.zeros(max(1, most), np.int64)
    where[: len(order)] = np.concatenate([e.address for e in loops])[order]
    sections = spec.splits * spec.num_blocks
    first = np.searchsorted(section[kernel][order], np.arange(sections))
    places = np.append(place, kernels.weight.size)
    by_visit = [np.take_along_axis(count, visits, axis=1) for count in counts]
    return PatternTables(
        w=_at_least_one(w),
        where=_at_least_one(where.astype(np.int32)),
        counts=np.stack(by_visit, axis=-1).reshape(-1).astype(np.int32),
        starts=np.stack([first, places[first]], axis=-1).reshape(-1).astype(np.int32),
        parts=kernels.parts.astype(np.int32),
        visits=_filters(fkw, visits),
    )


def _tap_entries(kernels: _Kernels, spec: PatternConv, lanes: int) -> list[_Entries]:
    """Pairs (if the form has them) and single taps of all kernels."""
    channel, row, taps = spec.steps_of(lanes)
    # Entries are unsigned: they count from the most negative tap (`Reader.lowest`).
    lowest = min(taps)
    made: dict[int, list[tuple[Indices, Indices, Floats]]] = {2: [], 1: []}
    for number, pattern in enumerate(spec.patterns):
        ours = np.flatnonzero(kernels.pattern == number)
        step = row if spec.form == "pairs" else 0
        for group in split_taps([taps[p] for p in pattern], step):
            address = taps[pattern[group[0]]] - lowest
            place = kernels.channel[ours] * channel + address
            made[len(group)].append((ours, place, kernels.weight[ours][:, group]))
    widths = (2, 1)[2 - spec.loops(lanes).counts :]
    return [
        _Entries(
            np.concatenate([np.zeros(0, np.int64), *(m[0] for m in made[width])]),
            np.concatenate([np.zeros(0, np.int64), *(m[1] for m in made[width])]),
            np.concatenate(
                [np.zeros((0, width), np.float32), *(m[2] for m in made[width])]
            ),
        )
        for width in widths
    ]


def _kernel_tables(
    kernels: _Kernels, fkw: Fkw, spec: PatternConv, lanes: int
) -> PatternTables:
    """Loops over kernels, in the order of the storage."""
    filters, blocks = len(fkw.reorder), spec.num_blocks
    visits = np.tile(np.arange(filters), (blocks, 1))
    part = np.searchsorted(kernels.parts, kernels.row, side="right") - 1
    section = part * blocks + kernels.block
    order = np.lexsort((np.arange(len(kernels.row)), kernels.row, section))
    starts = np.searchsorted(section[order], np.arange(spec.splits * blocks))
    runs = spec.loops(lanes).counts
    cell = kernels.block * filters + kernels.row
    if runs > 1:
        cell = cell * runs + kernels.pattern
    where = kernels.channel[order]
    if spec.form == "switch":
        where = np.stack([where, kernels.pattern[order]], axis=1)
    return PatternTables(
        w=_at_least_one(kernels.weight[order]),
        where=_at_least_one(where.astype(np.int32)),
        counts=np.bincount(cell, minlength=blocks * filters * runs).astype(np.int32),
        starts=starts.astype(np.int32),
        parts=kernels.parts.astype(np.int32),
        visits=_filters(fkw, visits),
    )


def _sorted_visits(parts: Indices, counts: list[Indices]) -> Indices:
    """`[blocks, rows]`: the row of each visit; parts keep their rows.

    Longest first: by the trips of the first loop, then of the second (`counts` are
    `[blocks, rows]`).
    """
    rows = np.arange(counts[0].shape[1], dtype=np.int64)
    part = np.searchsorted(parts, rows, side="right") - 1
    shape = counts[0].shape
    keys = [-count for count in reversed(counts)]
    return np.lexsort([*keys, np.broadcast_to(part, shape)], axis=1)


def _filters(fkw: Fkw, visits: Indices) -> Ints:
    return np.append(fkw.reorder[visits.reshape(-1)], 0).astype(np.int32)


def _at_least_one(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """A flat array that is not empty, so that it has an address."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.size else np.zeros(1, flat.dtype)
