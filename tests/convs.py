"""Random convolution kernels: their buffers, their numbers, how far they may be off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from edgec.codegen.emit import emit_module
from edgec.codegen.jit import LoadedObject, compile_object, load_object
from edgec.context import EdgecContext
from edgec.dialects.nn import BinaryKind, UnaryKind
from edgec.dialects.sq import Step
from edgec.interpreter import interpret, windows
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.kernels.conv.positions import Extra
from edgec.kernels.conv.window import Window
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.lowered import KernelSpec
from edgec.passes import LoadRedundancyElimination
from edgec.passes.base import run_pass
from edgec.runtime import executable
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.target import Target
from tests.lanes import program

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

EPS = 2.0**-24
"""Largest relative error of one rounding to float32."""

FENCE = 256
"""Elements on each side of a result that must not be written."""


@dataclass(frozen=True)
class Shape:
    """A convolution without its numbers."""

    batch: int
    channels: int
    size: tuple[int, ...]
    """Rows and columns; slices before them in 3-D."""
    filters: int
    groups: int
    window: Window

    @property
    def input(self) -> tuple[int, ...]:
        """Of the input."""
        return (self.batch, self.channels, *self.size)

    @property
    def weight(self) -> tuple[int, ...]:
        """Of the weight."""
        return (self.filters, self.channels // self.groups, *self.window.kernel)

    @property
    def output(self) -> tuple[int, ...]:
        """Of the result."""
        return (self.batch, self.filters, *_output_size(self.size, self.window))

    @property
    def taps(self) -> int:
        """Positions of the window."""
        return math.prod(self.window.kernel)


def _output_size(size: tuple[int, ...], window: Window) -> tuple[int, ...]:
    return tuple(
        (size[a] + window.low[a] + window.high[a] - _extent(window, a))
        // window.stride[a]
        + 1
        for a in range(len(size))
    )


def _extent(window: Window, axis: int) -> int:
    """Positions from the first tap to the last."""
    return window.dilation[axis] * (window.kernel[axis] - 1) + 1


STRIDES = ((1, 1), (1, 1), (2, 2), (1, 2), (3, 2))
DEEP_STRIDES = (
    *((1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 2, 2)),
    *((3, 1, 2), (1, 3, 2), (2, 3, 1)),
)


@st.composite
def conv_shapes(
    draw: st.DrawFn,
    *,
    depthwise: bool = False,
    grouped: bool = True,
    most_channels: int = 40,
    most_size: int = 20,
    least_kernel: int = 1,
    most_kernel: int = 5,
    strides: Sequence[tuple[int, ...]] = STRIDES,
) -> Shape:
    """Shapes with every kind of window; padding may be larger than the window.

    They have as many axes as `strides`.
    """
    stride = draw(st.sampled_from(strides))
    axes = range(len(stride))

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in axes)

    size, kernel = sizes(1, most_size), sizes(least_kernel, most_kernel)
    window = Window(kernel, stride, sizes(0, 3), sizes(0, 3), sizes(1, 2))
    lacking = [
        max(0, _extent(window, a) - size[a] - sum(_pad(window, a))) for a in axes
    ]
    size = tuple(map(sum, zip(size, lacking, strict=True)))
    if depthwise:
        channels = draw(st.integers(1, min(most_channels, 12)))
        groups, filters = channels, channels * draw(st.integers(1, 3))
    else:
        groups = draw(st.sampled_from([1, 1, 1, 2, 3])) if grouped else 1
        channels = groups * draw(st.integers(1, max(1, most_channels // groups)))
        filters = groups * draw(st.integers(1, max(1, most_channels // groups)))
    return Shape(draw(st.integers(1, 3)), channels, size, filters, groups, window)


def _pad(window: Window, axis: int) -> tuple[int, int]:
    return window.low[axis], window.high[axis]


@dataclass(frozen=True)
class Room:
    """Elements beyond what is needed, so that no two strides are alike by chance."""

    pitch: int
    plane: int
    origin: int
    slab: int = 0


rooms = st.builds(
    Room, st.integers(0, 3), st.integers(0, 21), st.integers(0, 17), st.integers(0, 2)
)


def layouts_of(
    shape: Shape, source: Room, result: Room, *, flat: bool, split: bool = True
) -> tuple[Layout, Layout]:
    """Layouts of input and result with all the zeros that the window reaches.

    `flat`: rows of both have one pitch. `split`: into phases, if there is a stride.
    """
    window, size, output = shape.window, shape.size, shape.output
    reach = window.reach if split else window.direct_reach
    along = [reach(a, size[a], output[2 + a]) for a in range(len(size))]
    (front, back), (above, below), (left, right) = [(0, 0)] * (3 - len(size)) + along
    phase = window.stride if split else (1,) * len(size)
    held = [-(-whole // parts) for whole, parts in zip(size, phase, strict=True)]
    pitch = held[-1] + max(left, right) + source.pitch
    slab = held[-2] + max(above, below) + source.slab
    other, high = output[-1] + result.pitch, output[-2] + result.slab
    if flat:
        pitch = other = max(pitch, other)
        slab = high = max(slab, high)
    before, after = front * slab + above, back * slab + below
    rows = held[-2] + (held[0] - 1 if len(held) == 3 else 0) * slab
    plane = (rows + max(before, after)) * pitch + max(left, right) + source.plane
    channel = plane * math.prod(phase)
    strides = (shape.channels * channel, channel, *_inner(len(size), slab, pitch))
    origin = before * pitch + left + source.origin
    first = Layout(shape.input, strides, origin, phase, SLACK)
    return first, spaced(output, other, result, high)


def _inner(axes: int, slab: int, pitch: int) -> tuple[int, ...]:
    """Strides of slices, if there are any, rows and columns."""
    return (slab * pitch, pitch, 1)[-axes:]


def spaced(
    shape: tuple[int, ...], pitch: int, room: Room, slab: int | None = None
) -> Layout:
    """A layout of rows of that pitch, with room after each plane and at the start.

    `slab` is the number of rows from one slice to the next, by default those it has.
    """
    slab = slab or shape[-2]
    rows = math.prod(shape[2:-2]) * slab if len(shape) == 5 else shape[2]
    plane = rows * pitch + room.plane
    strides = (shape[1] * plane, plane, *_inner(len(shape) - 2, slab, pitch))
    return Layout(shape, strides, room.origin, (1,) * (len(shape) - 2), SLACK)


def places(layout: Layout) -> npt.NDArray[np.int64]:
    """Where each element of a tensor stands in its buffer."""
    n, c, *point = np.ix_(*map(np.arange, layout.shape))
    at = layout.origin + n * layout.strides[0] + c * layout.strides[1]
    number = np.zeros((), np.int64)
    parts = layout.phase if len(point) == len(layout.phase) else (1,) * len(point)
    for index, part, stride in zip(point, parts, layout.strides[2:], strict=True):
        number = number * part + index % part
        at = at + index // part * stride
    return np.asarray(at + number * layout.plane, np.int64)


def put(layout: Layout, values: Floats) -> Floats:
    """A buffer: zeros in the gaps, NaN in the slack, which no result may depend on."""
    buffer = np.zeros(layout.elements, np.float32)
    buffer[layout.elements - layout.slack :] = np.nan
    buffer[places(layout)] = values
    return buffer


# Epilogues

KINDS = ("relu", "clamp", "full", "channel", "image", "scalar")


@dataclass(frozen=True)
class Epilogue:
    """Steps, how extra operands are read, and their values."""

    steps: tuple[Step, ...]
    extras: tuple[Extra, ...]
    values: tuple[Floats, ...]


@st.composite
def epilogues(
    draw: st.DrawFn, result: Layout, *, same_pitch: bool = True, most: int = 3
) -> Epilogue:
    """Up to `most` steps; extra operands of the result's shape, per channel, scalar."""
    steps: list[Step] = []
    extras: list[Extra] = []
    values: list[Floats] = []
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    images, filters = result.shape[:2]
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=most)):
        if kind == "relu":
            steps.append(Step("relu", (), -1, False))
            continue
        if kind == "clamp":
            steps.append(Step("clamp", (-0.5, 6.0), -1, False))
            continue
        if kind == "full":
            pitch = result.pitch if same_pitch else result.columns + 3
            layout = spaced(result.shape, pitch, draw(rooms), result.slab)
        else:
            small = {
                "channel": (1, filters),
                "image": (images, filters),
                "scalar": (draw(st.sampled_from([1, images])), 1),
            }[kind]
            small = (*small, *(1 for _ in result.shape[2:]))
            strides = plain(small).strides
            every = 0 if small[1] < filters else strides[1]
            layout = Layout(small, (strides[0], every, *strides[2:]))
        name, swap = draw(st.sampled_from(["add", "sub", "mul"])), draw(st.booleans())
        steps.append(Step(name, (), len(extras), swap))
        extras.append(Extra(layout, kind != "full"))
        values.append(rng.uniform(-2, 2, layout.shape).astype(np.float32))
    return Epilogue(tuple(steps), tuple(extras), tuple(values))


def expected(
    shape: Shape, x: Floats, w: Floats, bias: Floats | None, end: Epilogue
) -> tuple[Wide, Wide]:
    """The result in float64, and how far float32 arithmetic may be from it.

    A sum of n products differs by at most 2 n roundings of the sum of magnitudes
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); every step
    passes the error on and adds one rounding.
    """
    value, size = (
        windows.convolve(
            f(x.astype(np.float64)),
            f(w.astype(np.float64)),
            stride=shape.window.stride,
            low=shape.window.low,
            high=shape.window.high,
            dilation=shape.window.dilation,
            groups=shape.groups,
        )
        for f in (np.asarray, np.abs)
    )
    if bias is not None:
        wide = bias.astype(np.float64).reshape(-1, *(1 for _ in shape.size))
        value, size = value + wide, size + abs(wide)
    error = 2 * (shape.weight[1] * shape.taps + 1) * EPS * size
    for step in end.steps:
        if step.operand < 0:
            value = UNARY[UnaryKind(step.kind)](value, *step.params)
            continue
        other = end.values[step.operand].astype(np.float64)
        lhs, rhs = (other, value) if step.swap else (value, other)
        value = BINARY[BinaryKind(step.kind)](lhs, rhs)
        error = error * (abs(other) if step.kind == "mul" else 1)
        error = error + EPS * (abs(value) + error)
    return value, error


# Running


@dataclass(frozen=True)
class Kernel:
    """A kernel as a program of its own: all buffers but the last are inputs."""

    module: ModuleOp
    result: Layout


def make_kernel(spec: KernelSpec, lanes: int, *, share_loads: bool = True) -> Kernel:
    """Build it; `spec` has a `result`."""
    function = spec.build("kernel", lanes)
    module = program(function, len(function.body.block.args) - 3)
    module.verify()
    if share_loads:
        run_pass(LoadRedundancyElimination(), EdgecContext(), module)
        module.verify()
    result = getattr(spec, "result")  # noqa: B009  # not a part of KernelSpec
    assert isinstance(result, Layout)
    return Kernel(module, result)


def run_interpreted(kernel: Kernel, buffers: Sequence[Array]) -> Floats:
    """The result's buffer, by the interpreter, which checks every access."""
    (found,) = interpret(kernel.module, buffers, EdgecContext())
    return found


def run_native(
    kernel: Kernel, buffers: Sequence[Array], target: Target, threads: Sequence[int]
) -> list[Floats]:
    """The result's buffer from machine code, for each number of threads.

    Fails if memory around the result, or its slack, was written.
    """
    emitted = emit_module(kernel.module, target)
    code = load_object(compile_object(emitted.text, target), target, ("edgec_entry",))
    spec = ProgramSpec(
        tuple(TensorSpec(f"{i}", a.shape, a.dtype) for i, a in enumerate(buffers)),
        (TensorSpec("y", (kernel.result.elements,), np.dtype(np.float32)),),
        emitted.arena_bytes,
        emitted.scratch_bytes_per_thread,
    )
    return [_run_fenced(code, spec, buffers, count) for count in threads]


def _run_fenced(
    code: LoadedObject, spec: ProgramSpec, buffers: Sequence[Array], threads: int
) -> Floats:
    blocks: list[Floats] = []

    def fenced(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        assert dtype == np.float32
        block = np.full(shape[0] + 2 * FENCE + 16, np.nan, np.float32)
        start = -(block.ctypes.data // 4) % 16
        blocks.append(block[start:])
        return block[start + FENCE : start + FENCE + shape[0]]

    entry = code.address("edgec_entry")
    callee = Executable(entry, spec, [], code=code, threads=threads)
    with patch.object(executable, "aligned_empty", fenced):
        (found,) = callee(buffers)
    ((block),) = blocks
    outside = np.concatenate([block[:FENCE], block[FENCE + found.size :]])
    assert np.isnan(outside).all(), "memory around the result was written"
    return found.astype(np.float32)


def check_buffer(layout: Layout, found: Floats, value: Wide, error: Wide) -> None:
    """Values within `error`, gaps exactly zero, slack as it was."""
    own = layout.elements - layout.slack
    at = places(layout)
    is_gap = np.ones(own, np.bool_)
    is_gap[at] = False
    np.testing.assert_array_equal(found[:own][is_gap], 0, "gaps must be zero")
    np.testing.assert_array_less(abs(found[at] - value), error + 1e-30)
    assert np.isnan(found[own:]).all(), "slack must not be written"
