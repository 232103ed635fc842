"""Means of planes, and adaptive pooling of quads: exact to the bit against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.errors import InvalidInput
from edgec.interpreter.windows import pool_adaptive
from edgec.kernels.adaptive_quads import AdaptiveQuads
from edgec.kernels.layout import plain
from edgec.kernels.mean_quads import Ending, MeanQuads, flat
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Room, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in
from tests.quad_planes import SCALE, Planes, draw_planes

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

ends = st.none() | st.sampled_from([Requantize(3.7, 9, 1, 254), Requantize(0.2, 255)])


@st.composite
def cases(draw: st.DrawFn, *, is_whole: bool, in_bytes: bool) -> Planes:
    axes = draw(st.sampled_from([2, 2, 3]))
    most = 40 if axes == 2 else 7
    size = tuple(draw(st.integers(1, most)) for _ in range(axes))
    out = (1,) * axes if is_whole else tuple(draw(st.integers(1, 6)) for _ in size)
    return draw_planes(draw, size, out, in_bytes=in_bytes)


def check_mean(
    spec: MeanQuads | AdaptiveQuads,
    case: Planes,
    to: Requantize | None,
    zero: int,
    seed: int,
    target: Target,
) -> None:
    """`f32(sum / count) * scale`, then the byte of it."""
    q = case.draw_bytes(seed)
    module = program(spec.build("kernel", target.lanes), 1)
    means = pool_adaptive(q.astype(np.float64) - zero, case.out, is_max=False)
    v = means.astype(np.float32) * np.float32(SCALE)
    for (found,) in run_both(module, [quads_in(case.source, q, zero)], target):
        case.check(found, v, to)


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
    q = case.draw_bytes(seed)
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
