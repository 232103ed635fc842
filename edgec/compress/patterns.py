"""Kernel patterns: which few positions of each kernel keep a weight.

A pattern is the sorted tuple of the flat positions it keeps: position `y * 3 + x` of a
3x3 kernel. Every kernel of a pruned layer keeps the pattern of a small set that loses
the least energy, so that the compiler needs one code shape per pattern instead of one
per kernel.

Source: PatDNN (Niu et al., ASPLOS 2020) section 4.2 and PCONV (Ma et al., AAAI 2020):
four weights per 3x3 kernel, sets of 6, 8 or 12 patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from edgec.compress.geometry import Bools, Floats, Ints
from edgec.errors import InvalidInput

Pattern = tuple[int, ...]

POSITIONS = 9
"""Positions of a 3x3 kernel."""

TAPS = 4
"""Weights that a pattern keeps: a quarter of a vector register of sixteen (PatDNN)."""

FIXED: tuple[Pattern, ...] = (
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (3, 4, 6, 7),
    (4, 5, 7, 8),
    (3, 4, 5, 7),
    (1, 4, 5, 7),
    (1, 3, 4, 7),
    (1, 3, 4, 5),
)
"""The four 2x2 corner squares, then the cross without its top, left, right, bottom."""

CANDIDATES: tuple[Pattern, ...] = tuple(
    tuple(sorted((4, *arms)))
    for arms in combinations([p for p in range(POSITIONS) if p != 4], TAPS - 1)
)
"""The centre with any three of its eight neighbours: 56 patterns."""

MAX_PATTERNS = 16
"""Largest set to mine: every pattern costs the compiler one more code shape."""


def choose_patterns(weight: Floats, patterns: Sequence[Pattern]) -> Ints:
    """Index of the pattern that keeps most of each kernel's sum of squares.

    `weight` is `[..., 3, 3]`, or `[..., P]` with flat kernels of P positions; the
    result is `[...]`. Ties go to the first pattern.
    """
    flat = _flat(weight, patterns)
    # In float64 squares of float32 are exact, and one addition after the other in the
    # order of the taps makes the sum the same on every machine.
    columns = np.square(np.moveaxis(flat, -1, 0).astype(np.float64, order="C"))
    best = np.full(columns.shape[1:], -np.inf)
    choice = np.zeros(columns.shape[1:], np.int64)
    for number, pattern in enumerate(patterns):
        energy = columns[pattern[0]].copy()
        for position in pattern[1:]:
            energy += columns[position]
        is_better = energy > best
        np.copyto(best, energy, where=is_better)
        choice[is_better] = number
    return choice


def pattern_mask(weight: Floats, patterns: Sequence[Pattern]) -> Bools:
    """Where the best pattern of each kernel keeps its weight, shaped like `weight`."""
    table = np.zeros((len(patterns), _flat(weight, patterns).shape[-1]), np.bool_)
    for row, pattern in zip(table, patterns, strict=True):
        row[list(pattern)] = True
    return table[choose_patterns(weight, patterns)].reshape(weight.shape)


def pattern_projection(weight: Floats, patterns: Sequence[Pattern] = FIXED) -> Floats:
    """The nearest weight (Euclidean) in which every kernel has a pattern of the set.

    `weight` is `[F, C, 3, 3]` and is not changed; so is the result.
    """
    return np.where(pattern_mask(weight, patterns), weight, weight.dtype.type(0))


def mine_patterns(
    weights: Iterable[Floats],
    count: int,
    candidates: Sequence[Pattern] = CANDIDATES,
) -> tuple[Pattern, ...]:
    """The `count` candidates that are most often the best one for a kernel.

    `weights` are the `[F, C, 3, 3]` weights of all layers that will share the set.
    Ties go to the earlier candidate; the result keeps the order of frequency.
    """
    if not 1 <= count <= min(MAX_PATTERNS, len(candidates)):
        raise InvalidInput(
            f"the number of patterns to mine must be in "
            f"1..{min(MAX_PATTERNS, len(candidates))}, got {count}"
        )
    histogram = np.zeros(len(candidates), np.int64)
    for weight in weights:
        best = choose_patterns(weight, candidates)
        histogram += np.bincount(best.ravel(), minlength=len(candidates))
    order: Ints = np.argsort(-histogram, kind="stable")[:count]
    return tuple(candidates[int(i)] for i in order)


def pattern_set(
    patterns: str | Sequence[Pattern], weights: Sequence[Floats]
) -> tuple[Pattern, ...]:
    """The set that the option `patterns` of `prune` names, for weights `[F, C, 9]`."""
    if isinstance(patterns, str):
        if patterns == "fixed8":
            return FIXED
        mined = re.fullmatch(r"mined(\d+)", patterns)
        if mined is None or not 1 <= int(mined[1]) <= MAX_PATTERNS:
            raise InvalidInput(
                f"patterns must be 'fixed8', 'mined1'..'mined{MAX_PATTERNS}' or "
                f"tuples of positions, got '{patterns}'"
            )
        return mine_patterns(weights, int(mined[1]), CANDIDATES)
    chosen = tuple(tuple(pattern) for pattern in patterns)
    if not 1 <= len(chosen) <= MAX_PATTERNS or len(set(chosen)) != len(chosen):
        raise InvalidInput(
            f"patterns must be 1 to {MAX_PATTERNS} distinct tuples, got {chosen}"
        )
    for pattern in chosen:
        if len(pattern) != TAPS or list(pattern) != sorted(set(pattern)):
            raise InvalidInput(
                f"a pattern must be {TAPS} distinct positions in ascending order, "
                f"got {pattern}"
            )
    return chosen


def _flat(weight: Floats, patterns: Sequence[Pattern]) -> Floats:
    """The weight with flat kernels, after a check that the patterns fit."""
    if not patterns:
        raise InvalidInput("the set of patterns must not be empty")
    if weight.ndim >= 2 and weight.shape[-2:] == (3, 3):
        weight = weight.reshape(*weight.shape[:-2], POSITIONS)
    size = weight.shape[-1] if weight.ndim else 0
    for pattern in patterns:
        if not pattern or min(pattern) < 0 or max(pattern) >= size:
            raise InvalidInput(
                f"a pattern must hold positions in 0..{size - 1}, got {pattern}"
            )
    return weight
