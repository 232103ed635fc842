"""How `edgec bench` measures: engines in turns, inputs that are valid anywhere."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edgec.runtime.executable import TensorSpec
from edgec.tools import bench


def test_engines_take_turns() -> None:
    seen: list[str] = []

    def call(name: str) -> bench.Call:
        def run() -> list[Any]:
            seen.append(name)
            time.sleep(bench.BATCH_SECONDS)
            return []

        return run

    seconds = bench.interleave({name: call(name) for name in "ab"}, rounds=3)
    assert "".join(seen[4:]) == "aabb" * 3  # after the sizes of the batches were found
    assert all(each >= bench.BATCH_SECONDS for each in seconds["a"] + seconds["b"])


def test_random_inputs_are_valid_anywhere() -> None:
    kinds = (np.float32, np.int64, np.bool_)
    specs = [TensorSpec("x", (2, 3), np.dtype(kind)) for kind in kinds]
    floats, integers, bools = bench.random_inputs(specs)
    assert floats.std() > 0
    assert not integers.any()
    assert bools.dtype == np.bool_
    for first, second in zip(
        bench.random_inputs(specs), (floats, integers), strict=False
    ):
        np.testing.assert_array_equal(first, second)
