"""The tables of a pattern-sparse convolution kernel, from FKW storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgec.dialects.fkw import Fkw
from edgec.kernels.conv_pattern import PatternConv
from edgec.kernels.strip import Strip

Number = TypeVar("Number", np.int32, np.float32)
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PatternTables:
    """Arrays of a `PatternConv`.

    Kernels stand in the order in which they are used: part of the filters, block of
    channels, row, then the order of the storage.
    """

    w: Floats
    """`[kernels, taps]` weights."""
    where: Ints
    """Per kernel: `table` an address per tap, `runs` the channel in its block, `switch`
    that and the pattern."""
    counts: Ints
    """`[blocks, rows]` kernels, for `runs` `[blocks, rows, patterns]`."""
    starts: Ints
    """`[parts, blocks]` first kernel."""
    parts: Ints
    """`[parts + 1]` first row of each part; parts hold about equally many kernels."""
    reorder: Ints
    """`[rows]` filter of each row."""


def pack_pattern(fkw: Fkw, spec: PatternConv, lanes: int) -> PatternTables:
    """Tables for `spec` on vectors of `lanes`."""
    filters = len(fkw.reorder)
    rows = np.repeat(np.arange(filters), np.diff(fkw.offset))
    parts = _balanced(np.asarray(fkw.offset, np.int64), spec.splits)
    part = np.searchsorted(parts, rows, side="right") - 1
    block, channel = np.divmod(fkw.index.astype(np.int64), spec.block)
    order = np.lexsort((np.arange(len(rows)), rows, block, part))
    sections = (part * spec.num_blocks + block)[order]
    starts = np.searchsorted(sections, np.arange(spec.splits * spec.num_blocks))
    runs = len(spec.patterns) if spec.form == "runs" else 1
    cell = block * filters + rows
    if spec.form == "runs":
        cell = cell * runs + fkw.pattern
    counts = np.bincount(cell, minlength=spec.num_blocks * filters * runs)
    return PatternTables(
        w=_at_least_one(fkw.weight[order].astype(np.float32)),
        where=_at_least_one(
            _addresses(spec, lanes, channel[order], fkw.pattern[order]).astype(np.int32)
        ),
        counts=counts.astype(np.int32),
        starts=starts.astype(np.int32),
        parts=parts.astype(np.int32),
        reorder=np.ascontiguousarray(fkw.reorder, np.int32),
    )


def _addresses(
    spec: PatternConv,
    lanes: int,
    channel: npt.NDArray[np.int64],
    pattern: npt.NDArray[np.integer],
) -> npt.NDArray[np.int64]:
    if spec.form == "runs":
        return channel
    if spec.form == "switch":
        return np.stack([channel, pattern.astype(np.int64)], axis=1)
    strip = Strip(spec.source, spec.window, spec.rows, lanes)
    if spec.packed:
        taps, step = strip.taps, strip.channel
    else:
        taps, step = spec.window.tap_offsets(spec.source), spec.source.strides[1]
    # Entries are unsigned: they count from the most negative tap (`Reader.lowest`).
    taps = tuple(tap - min(taps) for tap in taps)
    positions = np.array(taps, np.int64)[np.array(spec.patterns)]
    return channel[:, None] * step + positions[pattern]


def _balanced(offset: npt.NDArray[np.int64], parts: int) -> npt.NDArray[np.int64]:
    """Row boundaries that cut the kernels into about equal parts."""
    goals = np.arange(1, parts) * (offset[-1] / parts)
    ends = np.zeros(parts + 1, np.int64)
    ends[1:-1] = np.searchsorted(offset, goals)
    ends[-1] = len(offset) - 1
    return ends


def _at_least_one(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """A flat array that is not empty, so that it has an address."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.size else np.zeros(1, flat.dtype)
