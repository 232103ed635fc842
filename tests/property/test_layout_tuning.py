"""Layouts: same numbers, and zeros wherever a convolution reads beyond its input."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import NoneAttr
from xdsl.dialects.func import FuncOp, ReturnOp

from edgec.dialects import nn, sq
from edgec.kernels.conv.window import Window, window_of
from edgec.kernels.layout import Layout, layout
from edgec.passes.analysis import choices
from edgec.passes.base import run_pass
from edgec.passes.layout_tuning import LayoutTuning
from edgec.testing import Case, assert_pass_preserves, nn_modules
from tests.convs import places
from tests.effort import examples
from tests.prepared import STEPS, prune, run_choice

modules = nn_modules(steps=STEPS, max_steps=7, max_batch=2, spatial_ranks=(2, 3))
tunings = st.builds(
    LayoutTuning,
    lanes=st.sampled_from([4, 8, 16]),
    registers=st.sampled_from([16, 32]),
    tune=st.booleans(),
)
copies = st.sampled_from([0.0, 5.0, 3000.0])
"""Cycles of a conversion: in small graphs only cheap ones are worth it."""


def addresses(
    source: Layout, window: Window, size: tuple[int, ...], *, split: bool
) -> npt.NDArray[np.int64]:
    """`[taps, (slices,) rows, columns]`: what a kernel reads for the first plane."""
    point = np.ix_(*map(np.arange, size))
    offsets = window.tap_offsets(source) if split else window.direct_offsets(source)
    steps = (1,) * len(size) if split else window.stride
    at = np.full(size, source.origin, np.int64)
    for index, step, stride in zip(point, steps, source.strides[2:], strict=True):
        at += index * step * stride
    return np.add.outer(np.array(offsets, np.int64), at)


def check_reads(op: sq.ConvOp) -> None:
    """Each tap reads the element it should, and zeros where there is none."""
    assert op.kernel is not None
    family, window = op.kernel.family.data, window_of(op)
    source, result = layout(op.input), layout(op.result)
    _, channels, *spatial = source.shape
    split = family != "depthwise" or not window.is_strided or len(spatial) == 3
    if split:
        assert source.phases[2:] == window.stride
        assert family == "pattern" or source.pitch == result.pitch
        if source.slices > 1 and result.slices > 1:
            assert source.slab == result.slab
    place = places(source)
    is_element = np.zeros(source.elements, np.bool_)
    is_element[place] = True
    assert is_element.sum() == place.size, "elements overlap"
    found = addresses(source, window, result.shape[2:], split=split)
    for tap, position in enumerate(np.ndindex(window.kernel)):
        axes = (
            np.arange(size) * window.stride[a] - window.low[a] + k * window.dilation[a]
            for a, (size, k) in enumerate(zip(result.shape[2:], position, strict=True))
        )
        at = np.stack(np.meshgrid(*axes, indexing="ij"))
        size = np.array(spatial).reshape(-1, *(1 for _ in spatial))
        inside = ((at >= 0) & (at < size)).all(axis=0)
        for image in range(source.shape[0]):
            for channel in {0, channels - 1}:
                plane = image * source.strides[0] + channel * source.strides[1]
                read = found[tap] + plane
                assert read.min() >= 0
                assert read.max() < source.elements - source.slack
                own = place[image, channel][tuple(index[inside] for index in at)]
                np.testing.assert_array_equal(read[inside], own)
                assert not is_element[read[~inside]].any(), "padding is not zero"


@examples(60)
@given(modules, st.integers(0, 99), tunings, copies)
def test_values_and_reads(
    case: Case, seed: int, tuning: LayoutTuning, cost: float
) -> None:
    prune(case, seed)
    run_choice(case)
    with patch.object(choices, "copy_cycles", lambda *_: cost):
        result = assert_pass_preserves(tuning, *case, rtol=0, idempotent=True)
    ops = list(result.module.walk())
    convs = [op for op in ops if isinstance(op, sq.ConvOp)]
    copies = [op for op in ops if isinstance(op, sq.ConvertLayoutOp)]
    assert result.statistics["schedules"] == len(convs)
    assert result.statistics["conversions"] == len(copies)
    for op in convs:
        assert op.kernel is not None
        assert op.kernel.settings
        check_reads(op)
        for extra in op.extras:
            is_full = nn.shape_of(extra) == nn.shape_of(op.result)
            if is_full and op.kernel.family.data != "pattern":
                assert layout(extra).pitch == layout(op.result).pitch
                assert layout(extra).slab == layout(op.result).slab


@examples(60)
@given(modules, st.integers(0, 99), tunings, copies)
def test_parting_a_network_is_predicted_to_gain(
    case: Case, seed: int, tuning: LayoutTuning, cost: float
) -> None:
    prune(case, seed)
    run_choice(case)
    parted, whole = case.module.clone(), case.module.clone()
    with patch.object(choices, "copy_cycles", lambda *_: cost):
        some = run_pass(tuning, case.ctx, parted)
        none = run_pass(replace(tuning, separate=False), case.ctx, whole)
    assert none["separated"] == 0
    if some["separated"] == 0:
        assert some == none
        assert parted.is_structurally_equivalent(whole)
    total = [
        found["layer_cycles"] + found["conversion_cycles"] for found in (some, none)
    ]
    rounded = some["conversions"] + some["schedules"]
    assert total[0] <= total[1] + rounded


@examples(25)
@given(modules, tunings)
def test_the_caller_sees_plain_tensors(case: Case, tuning: LayoutTuning) -> None:
    run_choice(case)
    result = assert_pass_preserves(tuning, *case, rtol=0)
    for op in result.module.walk():
        if isinstance(op, FuncOp):
            values = list(op.body.block.args)
        elif isinstance(op, ReturnOp):
            values = list(op.operands)
        else:
            continue
        for value in values:
            assert isinstance(nn.tensor_type(value).encoding, NoneAttr)
