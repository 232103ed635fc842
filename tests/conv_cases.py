"""Random convolutions with layouts and epilogues, and how their kernels are checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

from edgec.kernels.conv.columns import ColumnConv
from edgec.kernels.conv.dense import DenseConv
from edgec.kernels.conv.depthwise import DepthwiseConv
from edgec.kernels.conv.depthwise_strided import StridedDepthwiseConv
from edgec.kernels.conv.pattern import PatternConv
from edgec.kernels.conv.positions import row_mask
from edgec.kernels.layout import Layout
from edgec.target import Target
from tests.convs import (
    DEEP_STRIDES,
    Array,
    Epilogue,
    Floats,
    Shape,
    check_buffer,
    conv_shapes,
    epilogues,
    expected,
    layouts_of,
    make_kernel,
    put,
    rooms,
    run_interpreted,
    run_native,
)
from tests.lanes import runnable_targets

THREADS = (1, 2, 3)

MOST_PRODUCTS = 300
"""Multiply-adds of the largest unrolled body: keeps the code generator quick."""

targets = pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)


@dataclass(frozen=True)
class Case:
    """A convolution, its layouts and its epilogue."""

    shape: Shape
    source: Layout
    result: Layout
    end: Epilogue
    has_bias: bool
    share_loads: bool
    seed: int

    def numbers(self) -> tuple[Floats, Floats, Floats | None]:
        """Input, weight, bias."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal(self.shape.input, np.float32)
        w = rng.standard_normal(self.shape.weight, np.float32)
        bias = rng.standard_normal(self.shape.filters, np.float32)
        return x, w, bias if self.has_bias else None


ConvSpec = DenseConv | DepthwiseConv | StridedDepthwiseConv | PatternConv | ColumnConv


@st.composite
def cases(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[Shape],
    *,
    flat: bool,
    split: bool = True,
) -> Case:
    shape = draw(shapes)
    source, result = layouts_of(shape, draw(rooms), draw(rooms), flat=flat, split=split)
    end = draw(epilogues(result, same_pitch=flat))
    flags = draw(st.booleans()), draw(st.booleans())
    return Case(shape, source, result, end, *flags, draw(st.integers(0, 2**16)))


def check(
    case: Case,
    spec: ConvSpec,
    buffers: list[Array],
    numbers: tuple[Floats, Floats, Floats | None],
    target: Target,
) -> None:
    kernel = make_kernel(spec, target.lanes, share_loads=case.share_loads)
    extras = zip(case.end.extras, case.end.values, strict=True)
    buffers = [*buffers, *(put(extra.layout, value) for extra, value in extras)]
    first, *others = run_native(kernel, buffers, target, THREADS)
    check_buffer(case.result, first, *expected(case.shape, *numbers, case.end))
    for other in others:
        np.testing.assert_array_equal(other, first, "threads change the result")


def flat_buffers(case: Case, x: Floats, w: Floats, bias: Floats | None) -> list[Array]:
    buffers: list[Array] = [put(case.source, x), w.reshape(-1)]
    if bias is not None:
        buffers.append(bias)
    if case.result.has_gaps_inside:
        buffers.append(row_mask(case.result))
    return buffers


deep, deep_ungrouped = (
    conv_shapes(
        grouped=grouped,
        most_channels=12,
        most_size=9,
        most_kernel=3,
        strides=DEEP_STRIDES,
    )
    for grouped in (True, False)
)
"""3-D convolutions."""
small_deep, small_deep_ungrouped = (
    conv_shapes(
        grouped=grouped,
        most_channels=2,
        most_size=4,
        most_kernel=2,
        strides=DEEP_STRIDES,
    )
    for grouped in (True, False)
)
small = conv_shapes(most_channels=3, most_size=6, most_kernel=3)
small_ungrouped = conv_shapes(
    grouped=False, most_channels=3, most_size=6, most_kernel=3
)
lanes_of_targets = pytest.mark.parametrize("lanes", [4, 8, 16])


def check_accesses(
    case: Case,
    spec: ConvSpec,
    buffers: list[Array],
    lanes: int,
) -> Floats:
    extras = zip(case.end.extras, case.end.values, strict=True)
    buffers = [*buffers, *(put(extra.layout, value) for extra, value in extras)]
    return run_interpreted(make_kernel(spec, lanes), buffers)
