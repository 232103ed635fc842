"""Blocks of a matrix in which rows and columns are dropped: BCR and BSP.

Both see the weight `[F, C, T]` as a matrix of F rows and C*T columns. The constraint
couples rows and columns, and the nearest matrix is not found by ranking them once: both
projections are heuristics, after the papers. Both are idempotent: zero rows and columns
are the weakest, so that a second time drops what the first dropped.

Source: Niu et al., "GRIM" (TPAMI 2021), section 4.1, block-based column and row
pruning; Dong et al., "RTMobile" (DAC 2020), section III, block-based structured
pruning. The schedule of BCR and the split of BSP's rate are this project's.
"""

from __future__ import annotations

import math

import numpy as np

from edgec.compress.geometry import Bools, Doubles, Floats
from edgec.compress.granules import keep_best, nearest

COLUMN_RATE = 16.0
"""BSP drops columns down to 1 in 16; what a lower density asks is dropped in rows."""


def bcr_mask(weight: Floats, density: float, rows: int, columns: int) -> Bools:
    """In every block of `rows` x `columns`, some rows and some columns stay.

    Rounds drop the same fraction of both, the weakest columns first, then the weakest
    rows of what is left, until the block has its density. Blocks at the edges are
    smaller.
    """
    squares = _squares(weight)
    mask = np.zeros(squares.shape, np.bool_)
    for top, bottom, height in _spans(len(squares), rows):
        for left, right, width in _spans(squares.shape[1], columns):
            part = squares[top:bottom, left:right]
            grid = part.reshape(-1, height, part.shape[1] // width, width)
            blocks = grid.swapaxes(1, 2)
            flat = _alternate(blocks.reshape(-1, height, width), density)
            kept = flat.reshape(blocks.shape).swapaxes(1, 2)
            mask[top:bottom, left:right] = kept.reshape(part.shape)
    return mask.reshape(weight.shape)


def _spans(extent: int, step: int) -> list[tuple[int, int, int]]:
    """Start, end and step of the part that `step` divides, and of the rest."""
    whole = extent // step * step
    spans = [(0, whole, step), (whole, extent, extent - whole)]
    return [span for span in spans if span[2] and span[0] < span[1]]


def _alternate(squares: Doubles, density: float) -> Bools:
    """The mask of blocks `[B, r, c]`; the number of rows and columns is that of all."""
    _, height, width = squares.shape
    wanted = density * height * width
    rows = np.ones(squares.shape[:2], np.bool_)
    columns = np.ones((len(squares), width), np.bool_)
    num_rows, num_columns = height, width
    rounds = min(height, width)
    for number in range(1, rounds + 2):
        left = max(0, rounds - number)
        # Rows are dropped whole and never too many; columns take the rest.
        goal = max(nearest(wanted / num_rows, width), width * left // rounds)
        num_columns = min(num_columns, goal)
        columns = _strongest((squares * rows[:, :, None]).sum(1), columns, num_columns)
        goal = max(math.ceil(wanted / num_columns - 1e-9), height * left // rounds, 1)
        num_rows = min(num_rows, goal)
        rows = _strongest((squares * columns[:, None]).sum(2), rows, num_rows)
    return rows[:, :, None] & columns[:, None]


def _strongest(energies: Doubles, live: Bools, count: int) -> Bools:
    """Per block, the `count` strongest of the live; ties go to the earlier."""
    order = np.argsort(np.where(live, -energies, 1.0), axis=1, kind="stable")
    keep = np.zeros(live.shape, np.bool_)
    np.put_along_axis(keep, order[:, :count], True, axis=1)
    return keep


def bsp_mask(weight: Floats, density: float, rows: int, columns: int) -> Bools:
    """Columns of each strip and block by strength, then rows of the whole matrix.

    A strip is `rows` rows, a block `columns` columns of it. All blocks keep the same
    share of their columns, up to rounding, which evens out over the matrix.
    """
    squares = _squares(weight)
    share = min(1.0, density * COLUMN_RATE)
    mask = _strip_columns(squares, density / share, rows, columns)
    if share < 1:
        mask = _drop_rows(squares, mask, density * squares.size)
    return mask.reshape(weight.shape)


def _strip_columns(squares: Doubles, density: float, rows: int, columns: int) -> Bools:
    """The strongest columns of each block of each strip."""
    mask = np.zeros(squares.shape, np.bool_)
    best, best_at = -1.0, (slice(0, 0), 0)
    due = 0.0
    for top in range(0, len(squares), rows):
        strip = slice(top, min(top + rows, len(squares)))
        height = strip.stop - top
        for left in range(0, squares.shape[1], columns):
            energies = squares[strip, left : left + columns].sum(axis=0)
            due += density * energies.size * height
            count = min(max(0, math.ceil(due / height - 0.5)), energies.size)
            due -= count * height
            order = np.argsort(-energies, kind="stable")
            mask[strip, left + order[:count]] = True
            if energies[order[0]] > best:
                best = float(energies[order[0]])
                best_at = strip, left + int(order[0])
    if not mask.any():
        mask[best_at] = True
    return mask


def _drop_rows(squares: Doubles, mask: Bools, wanted: float) -> Bools:
    """The mask without its weakest rows, about `wanted` weights."""
    sizes = mask.sum(axis=1)
    filled = np.flatnonzero(sizes)
    energies = np.where(mask, squares, 0).sum(axis=1)
    keep = np.zeros(len(mask), np.bool_)
    keep[filled] = keep_best(energies[filled], sizes[filled], wanted)
    return mask & keep[:, None]


def _squares(weight: Floats) -> Doubles:
    return np.square(weight.astype(np.float64)).reshape(len(weight), -1)
