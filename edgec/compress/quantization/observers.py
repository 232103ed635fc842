"""The range of a value from what it was on the calibration batches.

| observer | range |
|---|---|
| `minmax` | from the smallest to the largest element |
| `percentile` | between the elements at 0.01 and 99.99 percent |
| `mse` | that with the smallest squared error of quantized elements |

A range always holds zero, which padding needs and which stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HIGHEST = 255
"""Codes are 0..255."""

PERCENTILE = 99.99
BINS = 2048
"""Of the histogram in which `mse` searches; eight to a step of the widest range."""

RATIOS = np.linspace(1.0, 0.02, 99)
"""Parts of the smallest and of the largest element that `mse` tries."""

ROUNDS = 3
"""How often `mse` improves one end and then the other; more change nothing."""

TINY = float(np.finfo(np.float32).tiny)

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """A range of real numbers with 256 codes; holds zero."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The smallest range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    @property
    def scale(self) -> float:
        """The distance of two codes, a number of float32; 1 where all is zero."""
        if self.low == self.high:
            return 1.0
        # Halves first: the difference of two large numbers overflows.
        step = (self.high / HIGHEST) - (self.low / HIGHEST)
        return float(np.float32(max(step, TINY)))

    @property
    def zero_point(self) -> int:
        """The code of zero."""
        return min(HIGHEST, max(0, round(-self.low / self.scale)))

    def fake_quantize(self, values: Tensor) -> Tensor:
        """Quantized and dequantized again, in float32 as torch's ops do it."""
        codes = torch.round(values * (1.0 / self.scale)) + self.zero_point
        return (codes.clamp(0, HIGHEST) - self.zero_point) * self.scale


def observe(observer: str, batches: Sequence[Tensor]) -> Range:
    """The range of a value that was `batches`, by the observer of that name."""
    arrays = [batch.detach().cpu().numpy().reshape(-1) for batch in batches]
    low, high = OBSERVERS[observer](np.concatenate(arrays).astype(np.float64))
    return Range(min(low, 0.0), max(high, 0.0))


def _minmax(values: Doubles) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _percentile(values: Doubles) -> tuple[float, float]:
    ends = np.percentile(values, (100 - PERCENTILE, PERCENTILE))
    return float(ends[0]), float(ends[1])


def _mse(values: Doubles) -> tuple[float, float]:
    """One end after the other, from the full range on."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return low, high
    means, counts = _histogram(values, low, high)
    best = (low, high)
    for _ in range(ROUNDS):
        best = _least_error(means, counts, [(best[0], high * r) for r in RATIOS])
        best = _least_error(means, counts, [(low * r, best[1]) for r in RATIOS])
    return best


def _histogram(values: Doubles, low: float, high: float) -> tuple[Doubles, Doubles]:
    """Mean and number of the elements of each bin that has any.

    The mean and not the middle: most elements behind a ReLU are exactly zero.
    """
    width = high / BINS - low / BINS
    places = np.clip((values - low) / width, 0, BINS - 1).astype(np.int64)
    counts = np.bincount(places, minlength=BINS).astype(np.float64)
    sums = np.bincount(places, weights=values, minlength=BINS)
    used = counts > 0
    return sums[used] / counts[used], counts[used]


def _least_error(
    means: Doubles, counts: Doubles, ends: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The ends whose codes are nearest to the elements; the first of equals."""
    ranges = [Range(*pair) for pair in ends]
    scales = np.array([[r.scale] for r in ranges])
    zeros = np.array([[r.zero_point] for r in ranges])
    codes = np.clip(np.rint(means / scales) + zeros, 0, HIGHEST)
    off = (codes - zeros) * scales - means
    errors = np.square(off) @ counts
    return ends[int(np.argmin(errors))]


OBSERVERS: dict[str, Callable[[Doubles], tuple[float, float]]] = {
    "minmax": _minmax,
    "mse": _mse,
    "percentile": _percentile,
}
