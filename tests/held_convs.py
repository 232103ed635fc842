"""What tests of convolutions share that hold several channels in a lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edgec.dialects.sq import Step
from edgec.kernels.conv.positions import Extra
from edgec.kernels.conv.window import Window
from edgec.kernels.cost_tiles import fits
from edgec.kernels.layout import Layout, plain
from tests.conv_cases import deep
from tests.convs import Array, Room, Shape, conv_shapes, put, spaced

Floats = npt.NDArray[np.float32]
Held = Callable[[np.random.Generator], tuple[Extra, Array, Floats]]
"""An extra operand with several channels in a lane: the buffer, and what it holds."""

STEPS = {
    "relu": Step("relu", (), -1, False),
    "clamp": Step("clamp", (-0.5, 6.0), -1, False),
}
"""Steps without an extra operand."""

ends = st.lists(st.sampled_from([*STEPS, "full", "channel", "held"]), max_size=2).map(
    tuple
)
"""Kinds of steps, see `epilogue`."""

shapes = conv_shapes(grouped=False, most_kernel=3) | deep.filter(
    lambda shape: shape.groups == 1
)

TILES = [
    (tiles, vectors)
    for tiles in range(1, 4)
    for vectors in range(1, 4)
    if fits(tiles, vectors)
]
"""Tiles of filters, tiles of positions."""

Schedule = tuple[int, tuple[int, int], int]
"""Filters of a block, its tiles, and the chunk, of kernels on tiles."""

schedules = st.tuples(
    st.sampled_from([16, 32, 64]), st.sampled_from(TILES), st.integers(1, 5)
)


def wide_shapes(channels: Sequence[int]) -> st.SearchStrategy[Shape]:
    """So many channels that their columns lie side by side."""
    windows = [
        Window((1, 1), (1, 1), (0, 0), (0, 0), (1, 1)),
        Window((3, 2), (1, 1), (1, 0), (1, 1), (1, 1)),
        Window((1, 3), (1, 2), (0, 1), (0, 1), (1, 1)),
    ]
    return st.builds(
        Shape,
        batch=st.integers(1, 2),
        channels=st.sampled_from(channels),
        size=st.tuples(st.integers(1, 4), st.integers(1, 7)),
        filters=st.sampled_from([5, 33, 70]),
        groups=st.just(1),
        window=st.sampled_from(windows),
    )


@dataclass(frozen=True)
class Epilogue:
    """Steps and their extra operands: layouts, buffers, values."""

    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]
    buffers: tuple[Array, ...]
    values: tuple[Floats, ...]


def draw_epilogue(
    kinds: Sequence[str],
    full: tuple[int, ...],
    result: Layout,
    room: Room,
    held: Held,
    rng: np.random.Generator,
) -> Epilogue:
    """What the kinds stand for, on a result of shape `full` that lies as `result`.

    Rows of extra operands have the result's pitch.
    """
    steps: list[Step] = []
    found: list[tuple[Extra, Array, Floats]] = []
    for kind in kinds:
        if kind in STEPS:
            steps.append(STEPS[kind])
            continue
        steps.append(Step("sub", (), len(found), len(found) == 1))
        if kind == "held":
            found.append(held(rng))
            continue
        if kind == "full":
            layout = spaced(full, result.pitch, room, result.slab)
        else:
            layout = plain((1, full[1], *(1 for _ in full[2:])))
        value = rng.standard_normal(layout.shape).astype(np.float32)
        found.append((Extra(layout, kind == "channel"), put(layout, value), value))
    extras, buffers, values = zip(*found, strict=True) if found else ((), (), ())
    return Epilogue(tuple(steps), extras, buffers, values)


def draw_kept(
    weight: Sequence[int],
    block: int,
    held: int,
    density: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Which weights stay: columns of `held` channels in each block of filters."""
    filters, channels, *window = weight
    grid = (-(-filters // block), -(-channels // held), *window)
    keep = rng.random(grid) < density
    return keep.repeat(block, 0)[:filters].repeat(held, 1)[:, :channels]
