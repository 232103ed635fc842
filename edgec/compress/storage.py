"""Bytes of compressed weights, indices included.

FKW (`edgec.dialects.fkw`) stores the kernels of pattern and connectivity pruning;
compressed columns (`edgec.dialects.columns`) all else. Indices take 32 bits each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edgec.compress.geometry import Bools
from edgec.compress.patterns import TAPS

FKW_POSITIONS = 62
"""Largest kernel that FKW takes, in positions."""


class Stored(NamedTuple):
    """How a weight is stored."""

    block: int
    """Filters that share the number of a column; 0 for FKW."""
    num_bytes: int


def fkw_bytes(
    filters: int, kernels: int, patterns: int, *, taps: int = TAPS, element: int = 4
) -> int:
    """Bytes of a layer in FKW storage.

    `reorder[F]`, `offset[F + 1]`, `stride[F][K + 1]` and `index[n]` in 32 bits each,
    `weight[n][taps]` in `element` bytes. `fkw_bytes(2, 3, 8) == 148`.
    """
    words = filters + (filters + 1) + filters * (patterns + 1) + kernels
    return 4 * words + taps * kernels * element


def column_bytes(support: Bools, block: int, *, element: int = 4) -> int:
    """Bytes of a matrix `[F, columns]` in blocks of `block` rows.

    `reorder[F]`, `offset[B + 1]` and `index[n]` in 32 bits each, `weight[n][block]` in
    `element` bytes: zeros in a kept column are stored.
    """
    filters = len(support)
    starts = np.arange(0, filters, block)
    columns = int(np.logical_or.reduceat(support, starts, axis=0).sum())
    words = filters + math.ceil(filters / block) + 1 + columns
    return 4 * words + columns * block * element
