"""Integer convolutions: cases, and what they give in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from edgec.dialects.lane import QUAD
from edgec.dialects.quad_ending import Addend
from edgec.interpreter import windows
from edgec.interpreter.lane import fused_multiply_add
from edgec.kernels.conv.positions import Extra, row_mask
from edgec.kernels.conv.quads import QuadConv
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Array, Room, Shape, places, put, spaced
from tests.held_convs import Epilogue, draw_epilogue, draw_kept, ends
from tests.lanes import program, run_both

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


MEANS = Dequantize(0.37, 7)
"""What bytes of extra operands stand for."""
ADDEND = Addend(0, 0.61)


@dataclass(frozen=True)
class Numbers:
    """What a case is about, apart from its shape."""

    zero_point: int
    """Of the input."""
    result: Requantize | None
    end: tuple[str, ...]
    """Kinds of steps, see `ends`."""
    density: float
    corner: bool
    """Whether all bytes are the largest, so that sums are too."""
    seed: int
    adds: bool
    """Whether bytes are added as they are, before all steps."""

    @property
    def addend(self) -> Addend | None:
        """Those bytes, which only a result in bytes has."""
        return ADDEND if self.adds and self.result is not None else None


numbers = st.builds(
    Numbers,
    st.sampled_from([0, 3, 128, 255]),
    st.none()
    | st.builds(
        Requantize,
        st.sampled_from([1.0, 0.37, 25.0]),
        st.sampled_from([0, 7, 128, 255]),
        st.sampled_from([0, 1]),
        st.sampled_from([255, 127]),
        st.booleans(),
    ),
    ends,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.booleans(),
    st.integers(0, 2**16),
    st.booleans(),
)


def draw_arrays(
    shape: Shape, given: Numbers, block: int
) -> tuple[Bytes, npt.NDArray[np.int8], Floats, Floats]:
    """Input, weight punched in blocks of columns, scale and shift."""
    rng = np.random.default_rng(given.seed)
    x = rng.integers(0, 256, shape.input).astype(np.uint8)
    w = rng.integers(-128, 128, shape.weight).astype(np.int8)
    # Of some columns, pairs of products fit 16 bits.
    channels = w.shape[1]
    small = rng.random((1, -(-channels // QUAD), *w.shape[2:])) < 0.5
    w //= np.where(small, 4, 1).repeat(QUAD, 1)[:, :channels].astype(np.int8)
    if given.corner:
        x[:], w[:] = 255, rng.choice(np.array([127, -128], np.int8))
    keep = draw_kept(shape.weight, block, QUAD, given.density, rng)
    scale = rng.uniform(1e-4, 1e-2, shape.filters).astype(np.float32)
    shift = rng.standard_normal(shape.filters).astype(np.float32)
    return x, w * keep, scale, shift


def epilogue(shape: Shape, result: Layout, room: Room, given: Numbers) -> Epilogue:
    """What the kinds of `given` stand for; what is held are quads."""

    def quads(rng: np.random.Generator) -> tuple[Extra, Array, Floats]:
        full = shape.output
        size = (full[0], -(-full[1] // QUAD), *full[2:])
        layout = spaced(size, result.pitch, room, result.slab)
        q = rng.integers(0, 256, full).astype(np.uint8)
        value = (q.astype(np.float32) - MEANS.zero_point) * np.float32(MEANS.scale)
        return Extra(layout, False, MEANS), quads_in(layout, q, 0), value

    rng = np.random.default_rng(given.seed)
    if given.addend is None:
        return draw_epilogue(given.end, shape.output, result, room, quads, rng)
    kinds = ("held", *given.end)
    end = draw_epilogue(kinds, shape.output, result, room, quads, rng)
    return replace(end, steps=end.steps[1:])


def expected(
    shape: Shape,
    given: Numbers,
    arrays: tuple[Bytes, Any, Floats, Floats],
    end: Epilogue,
    *,
    fused: bool = True,
) -> npt.NDArray[Any]:
    """The same in numpy: integers, then float32 operation by operation."""
    x, w, scale, shift = arrays
    sums = windows.convolve(
        x.astype(np.float64) - given.zero_point,
        w.astype(np.float64),
        stride=shape.window.stride,
        low=shape.window.low,
        high=shape.window.high,
        dilation=shape.window.dilation,
        groups=shape.groups,
    )
    ones = [1] * len(shape.size)
    v = sums.astype(np.float32)
    scale, shift = scale.reshape(-1, *ones), shift.reshape(-1, *ones)
    v = multiply_add(v, scale, shift, fused=fused)
    if given.addend is not None:
        numbers_added = end.values[given.addend.operand] / np.float32(MEANS.scale)
        added = np.rint(numbers_added + MEANS.zero_point).astype(np.float32)
        v = multiply_add(added, np.float32(given.addend.factor), v, fused=fused)
    for step in end.steps:
        if step.operand < 0:
            low, high = step.params or (0.0, np.inf)
            v = np.clip(v, low, high).astype(np.float32)
        else:
            other = end.values[step.operand]
            v = other - v if step.swap else v - other
    to = given.result
    if to is None:
        return v
    steps = np.clip(
        v * np.float32(to.inverse), to.low - to.zero_point, to.high - to.zero_point
    )
    return (np.rint(steps) + to.zero_point).astype(np.uint8)


def multiply_add(x: Any, y: Any, z: Any, *, fused: bool) -> Floats:
    """`x y + z` in float32, rounded once or twice."""
    if fused:
        return fused_multiply_add(x, y, z).astype(np.float32)
    return x * y + z


def quads_in(layout: Layout, values: Bytes, fill: int) -> npt.NDArray[np.int32]:
    """A buffer of quads: `fill` in missing channels and in gaps."""
    batch, channels, *size = values.shape
    padded = np.full((batch, layout.shape[1] * QUAD, *size), fill, np.uint8)
    padded[:, :channels] = values
    split = padded.reshape(batch, layout.shape[1], QUAD, *size)
    quads = np.ascontiguousarray(np.moveaxis(split, 2, -1)).view("<i4")[..., 0]
    buffer = np.full(layout.elements, quad_of(fill), np.int32)
    buffer[places(layout)] = quads
    return buffer


def quad_of(byte: int) -> np.int32:
    """Four equal bytes."""
    return np.array([byte] * QUAD, np.uint8).view("<i4")[0]


def grouped(shape: Shape) -> Shape:
    """The same convolution of quads."""
    return replace(
        shape,
        channels=-(-shape.channels // QUAD),
        filters=-(-shape.filters // QUAD),
    )


def check(layout: Layout, zero: int, filters: int, found: Array, wanted: Array) -> None:
    """Bytes of real filters agree; gaps hold zeros of the result."""
    own, at = layout.elements - layout.slack, places(layout)
    bytes_of = (
        np.moveaxis(buffer[at].copy().view(np.uint8).reshape(*at.shape, QUAD), -1, 2)
        for buffer in (found, wanted)
    )
    left, right = (
        part.reshape(part.shape[0], -1, *part.shape[3:])[:, :filters]
        for part in bytes_of
    )
    np.testing.assert_array_equal(left, right)
    is_gap = np.ones(own, np.bool_)
    is_gap[at] = False
    assert (found[:own][is_gap] == quad_of(zero)).all()


Case = tuple[Shape, Numbers, tuple[Bytes, Any, Floats, Floats], Epilogue]
"""A convolution: its shape, its numbers, its arrays, its end."""


def check_conv(
    target: Target, spec: QuadConv, tables: Mapping[str, Array], case: Case
) -> None:
    """The kernel, compiled and interpreted, gives what integers in numpy give."""
    (shape, given, arrays, end), result = case, spec.result
    missing = spec.num_filters - shape.filters
    buffers: list[Array] = [quads_in(spec.source, arrays[0], given.zero_point)]
    buffers += tables.values()
    buffers += [np.pad(array, (0, missing)) for array in arrays[2:]]
    if result.has_gaps_inside:
        buffers.append(row_mask(result))
    buffers += end.buffers
    module = program(spec.build("kernel", target.lanes), len(buffers))
    ((compiled,), (interpreted,)) = run_both(module, buffers, target)
    for found, fused in ((compiled, target.fma), (interpreted, True)):
        wanted = expected(shape, given, arrays, end, fused=fused)
        if given.result is None:
            own = result.elements - result.slack
            np.testing.assert_array_equal(found[:own], put(result, wanted)[:own])
        else:
            zero = given.result.zero_point
            check(result, zero, shape.filters, found, quads_in(result, wanted, 0))
