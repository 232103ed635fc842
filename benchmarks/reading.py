"""How fast the threads of a program read memory, which bounds layers of one row."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

READ_BYTES = 1 << 28
"""Beyond all caches."""
READS = 9
"""The fastest counts: what is measured against it must not gain by a bad moment."""


def read_bytes_per_s(threads: int) -> float:
    """Bytes per second of `threads` threads that each read their part of an array."""
    parts = np.array_split(np.ones(READ_BYTES // 4, np.int32), threads)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(READS):
            start = time.perf_counter()
            found = list(pool.map(np.maximum.reduce, parts))
            best = min(best, time.perf_counter() - start)
            if max(found) != 1:
                raise AssertionError(f"the largest of ones is {max(found)}")
    return READ_BYTES / best
