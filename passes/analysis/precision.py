"""Which layers shall compute in bfloat16, by predicted time and estimated error.

Rounding a number to 8 bits moves it by at most 2^-8 of its size, 2^-9 on average, and
by `UNIT` in the root of the mean square. Both factors of a product are rounded: the
activations, of which nothing else is known, by `UNIT`, and the weights by what is
measured on them. Errors of terms are taken to be independent, so a sum of products has
the relative error of one product; so have layers one after the other, whose errors add
as squares. The result is rounded as the input of the next layer, where it counts. That
is an estimate of the mean error of all results, not a bound: where results are small
differences of large sums, or the error of one layer is systematic, the true one is
larger; where terms are of one sign it is smaller.

Source: Widrow, Kollár and Liu, "Statistical Theory of Quantization" (IEEE Trans.
Instrum. Meas. 45(2), 1996), for errors of rounding, of floating-point numbers too, as
uncorrelated noise; Higham and Mary, "A New Approach to Probabilistic Rounding Error
Analysis" (SIAM J. Sci. Comput. 41(5), 2019), for why errors of sums grow as the root of
their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgec.dialects.bf16 import rounded

UNIT = 2.0**-8 / math.sqrt(8 * math.log(2))
"""Root of the mean squared error of rounding to bfloat16, by that of the numbers. In
each power of two errors are spread evenly up to 2^-8 of it, a mean square of 2^-16 / 3;
where the scale of numbers is not known, the mean of 1 / m^2 for their mantissas is
3 / (8 log 2), whatever their distribution: that of 1 / (m log 2) over 1 to 2."""


@dataclass(frozen=True)
class Candidate:
    """A layer that can compute in bfloat16."""

    full: float
    """Cycles in float32."""
    half: float
    """Cycles in bfloat16."""
    cast: float
    """Cycles to round its input, unless a layer in bfloat16 writes it."""
    writer: int | None
    """The number of the candidate that writes its input."""
    error: float
    """Of its results, relative."""

    @property
    def ratio(self) -> float:
        """How many times faster the kernel by itself is."""
        return self.full / max(self.half, 1.0)


def layer_error(weight: npt.NDArray[np.float32]) -> float:
    """The estimated relative error of a layer: of its activations and its weights."""
    wide = weight.astype(np.float64)
    size = float(np.square(wide).sum())
    moved = float(np.square(rounded(weight) - wide).sum())
    return math.hypot(UNIT, math.sqrt(moved / size) if size else 0.0)


def total_error(errors: Sequence[float]) -> float:
    """Of layers one after the other."""
    return math.sqrt(sum(error**2 for error in errors))


def faster_layers(candidates: Sequence[Candidate]) -> set[int]:
    """Candidates that gain more than the casts they need, while others stay as chosen.

    From all on, those that lose are left out until none does.
    """
    chosen = set(range(len(candidates)))
    while True:
        losing = {number for number in chosen if _gain(candidates[number], chosen) <= 0}
        if not losing:
            return chosen
        chosen -= losing


def _gain(candidate: Candidate, chosen: set[int]) -> float:
    """Cycles that a layer saves; layers before it save its cast."""
    cast = 0.0 if candidate.writer in chosen else candidate.cast
    return candidate.full - candidate.half - cast


def within_budget(
    candidates: Sequence[Candidate], chosen: set[int], budget: float
) -> set[int]:
    """Of the chosen those that save most for their error, as many as it allows."""
    left, kept = budget**2, set[int]()
    by_worth = sorted(
        chosen,
        key=lambda k: (-_gain(candidates[k], chosen) / candidates[k].error ** 2, k),
    )
    for number in by_worth:
        error = candidates[number].error ** 2
        if error <= left:
            kept.add(number)
            left -= error
    return kept
