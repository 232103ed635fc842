"""The tables of a pattern-sparse convolution kernel, from FKW storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgec.dialects.fkw import Fkw, split_rows
from edgec.kernels.conv_pattern import PatternConv
from edgec.kernels.strip import Strip

Number = TypeVar("Number", np.int32, np.float32)
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PatternTables:
    """Arrays of a `PatternConv`.

    Kernels stand in the order in which they are used: part of the filters, block of
    channels, visit, then the order of the storage. A visit is one filter's kernels in
    one block. With a table of taps, visits of equal length follow each other, so that
    the end of the loop over kernels is predicted: filter reorder of PatDNN (ASPLOS
    2020, section 5.2), for each block of channels anew.
    """

    w: Floats
    """`[kernels, taps]` weights."""
    where: Ints
    """Per kernel: `table` an address per tap, `runs` the channel in its block, `switch`
    that and the pattern."""
    counts: Ints
    """`[blocks, visits]` kernels, for `runs` `[blocks, visits, patterns]`."""
    starts: Ints
    """`[parts, blocks]` first kernel."""
    parts: Ints
    """`[parts + 1]` first visit of each part; parts hold about equally many kernels."""
    visits: Ints
    """`[blocks, rows]` and one more: the filter of each visit to a block."""


def pack_pattern(fkw: Fkw, spec: PatternConv, lanes: int) -> PatternTables:
    """Tables for `spec` on vectors of `lanes`."""
    filters, blocks = len(fkw.reorder), spec.num_blocks
    rows = np.repeat(np.arange(filters), np.diff(fkw.offset))
    parts = split_rows(fkw.offset, spec.splits).astype(np.int64)
    block, channel = np.divmod(fkw.index.astype(np.int64), spec.block)
    visits = _visits(
        spec, parts, np.bincount(block * filters + rows, minlength=blocks * filters)
    )
    turn = np.empty_like(visits)
    np.put_along_axis(turn, visits, np.arange(filters)[None], axis=1)
    visit = turn[block, rows]
    part = np.searchsorted(parts, visit, side="right") - 1
    order = np.lexsort((np.arange(len(rows)), visit, block, part))
    sections = (part * blocks + block)[order]
    starts = np.searchsorted(sections, np.arange(spec.splits * blocks))
    runs = len(spec.patterns) if spec.form == "runs" else 1
    cell = block * filters + visit
    if spec.form == "runs":
        cell = cell * runs + fkw.pattern
    counts = np.bincount(cell, minlength=blocks * filters * runs)
    filter_of = np.append(fkw.reorder[visits.reshape(-1)], 0)
    return PatternTables(
        w=_at_least_one(fkw.weight[order].astype(np.float32)),
        where=_at_least_one(
            _addresses(spec, lanes, channel[order], fkw.pattern[order]).astype(np.int32)
        ),
        counts=counts.astype(np.int32),
        starts=starts.astype(np.int32),
        parts=parts.astype(np.int32),
        visits=filter_of.astype(np.int32),
    )


def _visits(
    spec: PatternConv, parts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """`[blocks, rows]`: the row of each visit; parts keep their rows."""
    filters = spec.result.shape[1]
    rows = np.tile(np.arange(filters), (spec.num_blocks, 1))
    if spec.form != "table":
        return rows
    part = np.searchsorted(parts, rows, side="right") - 1
    longest = counts.max(initial=0) + 1
    key = part * longest + longest - 1 - counts.reshape(rows.shape)
    return np.argsort(key, axis=1, kind="stable")


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


def _at_least_one(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """A flat array that is not empty, so that it has an address."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.size else np.zeros(1, flat.dtype)
