"""Planes of quads that become planes of other sizes: cases, and what must be found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edgec.dialects.lane import QUAD
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.requantize import Requantize
from tests.convs import Array, put, rooms, spaced
from tests.quad_convs import check, quads_in

Floats = npt.NDArray[np.float32]
Ints = tuple[int, ...]
SCALE = 0.37
"""Of the input."""


class Planes(NamedTuple):
    """A shape in channels, the sizes of the result's planes, and where both lie."""

    shape: Ints
    out: Ints
    source: Layout
    result: Layout
    """Of quads, or of numbers."""

    def draw_bytes(self, seed: int) -> npt.NDArray[np.uint8]:
        """The input."""
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, self.shape).astype(np.uint8)

    def check(self, found: Array, v: Floats, to: Requantize | None) -> None:
        """The result holds `v`, or the byte of it; gaps hold zeros."""
        if to is None:
            own = self.result.elements - self.result.slack
            np.testing.assert_array_equal(found[:own], put(self.result, v)[:own])
            return
        codes = np.rint(v * np.float32(to.inverse)) + to.zero_point
        wanted = codes.clip(to.low, to.high).astype(np.uint8)
        packed = quads_in(self.result, wanted, to.zero_point)
        check(self.result, to.zero_point, self.shape[1], found, packed)


def draw_planes(draw: st.DrawFn, size: Ints, out: Ints, *, in_bytes: bool) -> Planes:
    """Planes of these sizes, plain or with gaps."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 9)), *size)
    groups = -(-shape[1] // QUAD)

    def layout(channels: int, spatial: Ints) -> Layout:
        full = (shape[0], channels, *spatial)
        if draw(st.booleans()):
            return plain(full, SLACK)
        return spaced(full, spatial[-1] + draw(st.integers(0, 3)), draw(rooms))

    source, result = layout(groups, size), layout(groups if in_bytes else shape[1], out)
    return Planes(shape, out, source, result)
