"""Means of planes, and adaptive pooling of quads: exact to the bit against numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.lane import QUAD
from edgec.errors import InvalidInput
from edgec.interpreter.windows import pool_adaptive
from edgec.kernels.adaptive_quads import AdaptiveQuads
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.mean_quads import Ending, MeanQuads, flat
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Room, put, rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

Ints = tuple[int, ...]
SCALE = 0.37
ends = st.none() | st.sampled_from([Requantize(3.7, 9, 1, 254), Requantize(0.2, 255)])


class Case(NamedTuple):
    """A shape in channels, and the sizes of the result's planes."""

    shape: Ints
    out: Ints
    source: Layout
    result: Layout
    """Of quads, or of numbers."""


@st.composite
def cases(draw: st.DrawFn, *, is_whole: bool, in_bytes: bool) -> Case:
    axes = draw(st.sampled_from([2, 2, 3]))
    most = 40 if axes == 2 else 7
    size = tuple(draw(st.integers(1, most)) for _ in range(axes))
    out = (1,) * axes if is_whole else tuple(draw(st.integers(1, 6)) for _ in size)
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 9)), *size)
    groups = -(-shape[1] // QUAD)

    def layout(channels: int, spatial: Ints) -> Layout:
        full = (shape[0], channels, *spatial)
        if draw(st.booleans()):
            return plain(full, SLACK)
        return spaced(full, spatial[-1] + draw(st.integers(0, 3)), draw(rooms))

    result = layout(groups if in_bytes else shape[1], out)
    return Case(shape, out, layout(groups, size), result)


def check_mean(
    spec: MeanQuads | AdaptiveQuads,
    case: Case,
    to: Requantize | None,
    zero: int,
    seed: int,
    target: Target,
) -> None:
    """`f32(sum / count) * scale`, then the byte of it."""
    q = np.random.default_rng(seed).integers(0, 256, case.shape).astype(np.uint8)
    module = program(spec.build("kernel", target.lanes), 1)
    results = run_both(module, [quads_in(case.source, q, zero)], target)
    means = pool_adaptive(q.astype(np.float64) - zero, case.out, is_max=False)
    v = means.astype(np.float32) * np.float32(SCALE)
    for (found,) in results:
        if to is None:
            own = case.result.elements - case.result.slack
            np.testing.assert_array_equal(found[:own], put(case.result, v)[:own])
            continue
        codes = np.rint(v * np.float32(to.inverse)) + to.zero_point
        wanted = codes.clip(to.low, to.high).astype(np.uint8)
        packed = quads_in(case.result, wanted, to.zero_point)
        check(case.result, to.zero_point, case.shape[1], found, packed)


@targets
@examples(12)
@given(
    data=st.data(),
    to=ends,
    zero=st.sampled_from([0, 7, 128, 255]),
    seed=st.integers(0, 999),
)
def test_whole_planes(
    target: Target, data: st.DataObject, to: Requantize | None, zero: int, seed: int
) -> None:
    case = data.draw(cases(is_whole=True, in_bytes=to is not None))
    quantized = Dequantize(SCALE, zero)
    spec = MeanQuads(case.source, case.result, case.shape[1], quantized, to)
    check_mean(spec, case, to, zero, seed, target)


@targets
@examples(12)
@given(
    data=st.data(),
    to=ends,
    zero=st.sampled_from([0, 7, 128, 255]),
    seed=st.integers(0, 999),
)
def test_windows_that_differ(
    target: Target, data: st.DataObject, to: Requantize | None, zero: int, seed: int
) -> None:
    case = data.draw(cases(is_whole=False, in_bytes=to is not None))
    ending = Ending(case.result, case.shape[1], Dequantize(SCALE, zero), to)
    spec = AdaptiveQuads("avg", case.source, ending)
    check_mean(spec, case, to, zero, seed, target)


@targets
@examples(12)
@given(data=st.data(), zero=st.sampled_from([0, 7, 255]), seed=st.integers(0, 999))
def test_largest_of_windows(
    target: Target, data: st.DataObject, zero: int, seed: int
) -> None:
    case = data.draw(cases(is_whole=data.draw(st.booleans()), in_bytes=True))
    to = Requantize(1.0, zero)
    ending = Ending(case.result, case.shape[1], Dequantize(SCALE, zero), to)
    spec = AdaptiveQuads("max", case.source, ending)
    q = np.random.default_rng(seed).integers(0, 256, case.shape).astype(np.uint8)
    module = program(spec.build("kernel", target.lanes), 1)
    largest = pool_adaptive(q.astype(np.float64), case.out, is_max=True)
    wanted = quads_in(case.result, largest.astype(np.uint8), zero)
    for (found,) in run_both(module, [quads_in(case.source, q, zero)], target):
        check(case.result, zero, case.shape[1], found, wanted)


def test_planes_are_read_as_one_row() -> None:
    """Where what stands between rows is less than half."""
    near, count = flat(spaced((1, 2, 7, 7), 8, Room(0, 2, 1)))
    assert (near.shape, count) == ((1, 2, 1, 55), 55)
    far = spaced((1, 2, 7, 7), 16, Room(0, 2, 1))
    assert flat(far) == (far, 49)
    large = plain((1, 1, 260, 260))
    assert flat(large) == (large, 260 * 260)


def test_planes_of_several_results() -> None:
    layout = plain((1, 1, 4, 4))
    with pytest.raises(InvalidInput, match="must have one position"):
        MeanQuads(layout, plain((1, 1, 2, 1)), 3, Dequantize(1.0, 0), None)
