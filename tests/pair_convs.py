"""Cases of convolutions of bfloat16, and what they must give within which bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects import bf16
from edgec.dialects.bf16 import PAIR
from edgec.interpreter import windows
from edgec.kernels.conv.pairs import PairConv
from edgec.kernels.conv.positions import Extra, row_mask
from edgec.kernels.layout import Layout, plain
from edgec.target import Target
from tests.convs import Array, Room, Shape, places, spaced
from tests.held_convs import Epilogue, draw_epilogue, draw_kept, ends
from tests.lanes import program, run_both

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

SUM = 2.0**-22
"""Of the size of all terms, for each of them: what `lane.dot_pairs` promises."""
HALF = 2.0**-8
"""The largest relative error of rounding to bfloat16."""


@dataclass(frozen=True)
class Numbers:
    """What a case is about, apart from its shape."""

    packed: bool
    has_bias: bool
    end: tuple[str, ...]
    """Kinds of steps, see `ends`."""
    density: float
    seed: int


numbers = st.builds(
    Numbers,
    st.booleans(),
    st.booleans(),
    ends,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 2**16),
)


def in_pairs(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what is stored."""
    return (shape[0], -(-shape[1] // PAIR), *shape[2:])


def pairs_in(layout: Layout, values: Floats) -> npt.NDArray[np.int32]:
    """A buffer of pairs; zeros in missing channels and in gaps."""
    batch, channels, *size = values.shape
    padded = np.zeros((batch, layout.shape[1] * PAIR, *size), np.float32)
    padded[:, :channels] = values
    split = padded.reshape(batch, layout.shape[1], PAIR, *size)
    buffer = np.zeros(layout.elements, np.int32)
    buffer[places(layout)] = bf16.pairs_of(np.moveaxis(split, 2, -1))
    return buffer


def epilogue(shape: Shape, result: Layout, room: Room, given: Numbers) -> Epilogue:
    """What the kinds of `given` stand for; what is held are pairs."""

    def pairs(rng: np.random.Generator) -> tuple[Extra, Array, Floats]:
        layout = spaced(in_pairs(shape.output), result.pitch, room, result.slab)
        value = bf16.rounded(rng.standard_normal(shape.output))
        extra = Extra(layout, per_channel=False, pairs=True)
        return extra, pairs_in(layout, value), value

    rng = np.random.default_rng(given.seed)
    return draw_epilogue(given.end, shape.output, result, room, pairs, rng)


def draw_arrays(
    shape: Shape, given: Numbers, block: int
) -> tuple[Floats, Floats, Floats]:
    """Input, weight punched in blocks of columns, bias."""
    rng = np.random.default_rng(given.seed)
    x = bf16.rounded(rng.standard_normal(shape.input))
    w = rng.standard_normal(shape.weight).astype(np.float32)
    keep = draw_kept(shape.weight, block, PAIR, given.density, rng)
    bias = rng.standard_normal(shape.filters).astype(np.float32)
    return x, w * keep, bias * given.has_bias


def expected(
    shape: Shape, arrays: tuple[Floats, Floats, Floats], end: Epilogue, *, packed: bool
) -> tuple[Wide, Wide]:
    """The numbers, and how far each may be off."""
    x, w, bias = arrays
    w = bf16.rounded(w)
    v, size = (
        windows.convolve(
            left.astype(np.float64),
            right.astype(np.float64),
            stride=shape.window.stride,
            low=shape.window.low,
            high=shape.window.high,
            dilation=shape.window.dilation,
            groups=shape.groups,
        )
        + added.astype(np.float64).reshape(-1, *[1] * len(shape.size))
        for left, right, added in ((x, w, bias), map(np.abs, (x, w, bias)))
    )
    for step in end.steps:
        if step.operand < 0:
            low, high = step.params or (0.0, np.inf)
            v = np.clip(v, low, high)
        else:
            other = end.values[step.operand].astype(np.float64)
            v, size = other - v if step.swap else v - other, size + np.abs(other)
    terms = shape.channels * shape.taps + len(end.steps) + 1
    off = SUM * terms * size
    return v, off + HALF * (np.abs(v) + off) * packed


def numbers_in(layout: Layout, buffer: Array, filters: int, *, packed: bool) -> Floats:
    """The result in a buffer."""
    stored = buffer[places(layout)]
    if not packed:
        return stored.astype(np.float32)
    parts = np.moveaxis(bf16.parts_of(stored), -1, 2)
    return parts.reshape(parts.shape[0], -1, *parts.shape[3:])[:, :filters]


Case = tuple[Shape, Numbers, tuple[Floats, Floats, Floats], Epilogue]
"""A convolution: its shape, its numbers, its arrays, its end."""


def check_conv(
    target: Target, spec: PairConv, tables: Mapping[str, Array], case: Case
) -> None:
    """The kernel, compiled and interpreted, is within the bound; gaps are zero."""
    (shape, given, arrays, end), result = case, spec.result
    buffers: list[Array] = [pairs_in(spec.source, arrays[0]), *tables.values()]
    if given.has_bias:
        buffers.append(arrays[2])
    if result.has_gaps_inside:
        buffers.append(row_mask(result))
    buffers += end.buffers
    module = program(spec.build("kernel", target.lanes), len(buffers))
    wanted, off = expected(shape, arrays, end, packed=given.packed)
    for (found,) in run_both(module, buffers, target):
        values = numbers_in(result, found, shape.filters, packed=given.packed)
        assert (np.abs(values - wanted) <= off).all()
        is_gap = np.ones(result.elements - result.slack, np.bool_)
        is_gap[places(result)] = False
        assert not found[: len(is_gap)][is_gap].any()


POINTS = plain((1, 1, 1, 24), 64)
"""Where `check_infinities` has its input and its result."""


def check_infinities(
    spec: PairConv, tables: Callable[[Floats], Mapping[str, Array]], seed: int
) -> None:
    """Pixels that are no numbers show in the result, and nowhere else.

    `tables`: those of a weight `[2, 2, 1, 1]`.
    """
    x = np.ones((1, 2, 1, 24), np.float32)
    x[0, 0, 0, 3], x[0, 1, 0, 5], x[0, 1, 0, 7] = np.inf, np.nan, -np.inf
    w = np.random.default_rng(seed).uniform(0.5, 1, (2, 2, 1, 1)).astype(np.float32)
    target = Target.native(host_features())
    inputs: list[Array] = [pairs_in(POINTS, x), *tables(w).values()]
    module = program(spec.build("kernel", target.lanes), len(inputs))
    for (found,) in run_both(module, inputs, target):
        values = numbers_in(POINTS, found, 2, packed=True)[0, :, 0]
        np.testing.assert_array_equal(values[:, [3, 7]], [[np.inf, -np.inf]] * 2)
        assert np.isnan(values[:, 5]).all()
        assert np.isfinite(np.delete(values, [3, 5, 7], axis=1)).all()
