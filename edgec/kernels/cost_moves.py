"""How long ops take that compute little for each element that they move."""

from __future__ import annotations

from edgec.kernels.cost import FMA_PER_CYCLE, LOADS_PER_CYCLE, UNALIGNED

MOVED_BYTES = 16.0
"""Bytes per cycle, read or written, of ops that touch each element once."""


def moved_cycles(num_bytes: int) -> float:
    """An op that reads and writes `num_bytes` altogether."""
    return num_bytes / MOVED_BYTES


def sweep_cycles(elements: int, taps: int, *, lanes: int) -> float:
    """A depthwise convolution: for each tap a load that only one multiply-add uses."""
    per_tap = max(UNALIGNED[lanes] / LOADS_PER_CYCLE, 1 / FMA_PER_CYCLE)
    return elements / lanes * taps * per_tap + moved_cycles(8 * elements)
