"""The windows of a pooling kernel, one dimension at a time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from edgec.kernels.builder import Index


@dataclass(frozen=True)
class Window:
    """Windows along one dimension."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def taps(self, o: int) -> tuple[int, ...]:
        """Which positions of window `o` lie inside the input."""
        first = o * self.stride - self.padding
        return tuple(
            k for k in range(self.kernel) if 0 <= first + k * self.dilation < self.size
        )

    def groups(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Runs `(begin, end, taps)` of windows with the same positions inside."""
        runs: list[tuple[int, int, tuple[int, ...]]] = []
        for taps, members in itertools.groupby(range(self.out), self.taps):
            listed = list(members)
            runs.append((listed[0], listed[-1] + 1, taps))
        return runs

    def count(self, o: int, *, include_pad: bool) -> int:
        """How many positions an average of window `o` divides by."""
        if not include_pad:
            return len(self.taps(o))
        first = o * self.stride - self.padding
        return min(first + self.kernel, self.size + self.padding) - first


@dataclass(frozen=True)
class RowTap:
    """A row of the input relative to a row of the result: `base + offset`."""

    base: Index
    offset: int
