"""Bilinear resizing of quads: exact to the bit against numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.errors import InvalidInput
from edgec.interpreter.windows import resize_bytes
from edgec.kernels.layout import plain
from edgec.kernels.mean_quads import Ending
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.kernels.resize_quads import ResizeQuads
from edgec.target import Target
from tests.convs import Room, spaced
from tests.effort import examples
from tests.lanes import Array, compiled, program, run_both, runnable_targets
from tests.quad_convs import quads_in
from tests.quad_planes import SCALE, Ints, Planes, draw_planes

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

ends = st.none() | st.sampled_from(
    [
        Requantize(float(np.float32(1 / SCALE)), 128, bounded=True),
        Requantize(3.7, 9, 1, 254),
        Requantize(0.2, 255, bounded=True),
        Requantize(900.0, 0),
    ]
)


class Case(NamedTuple):
    """Planes, and how positions of the result are found in the input."""

    planes: Planes
    scales: tuple[float, ...]
    align: bool


def scales_of(size: Ints, out: Ints, align: bool) -> tuple[float, ...]:
    """Input positions for each of the result."""
    if align:
        return tuple((n - 1) / max(o - 1, 1) for n, o in zip(size, out, strict=True))
    return tuple(n / o for n, o in zip(size, out, strict=True))


@st.composite
def cases(draw: st.DrawFn, *, in_bytes: bool) -> Case:
    size = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    out = draw(st.integers(1, 25)), draw(st.integers(1, 70))
    if draw(st.booleans()):
        out = 2 * size[0], 2 * size[1]
    align = draw(st.booleans())
    planes = draw_planes(draw, size, out, in_bytes=in_bytes)
    return Case(planes, scales_of(size, out, align), align)


def check_resize(
    case: Case, zero: int, to: Requantize | None, seed: int, target: Target
) -> None:
    """Bytes interpolated step by step, then what they stand for, then the byte of it.

    With several threads too.
    """
    planes = case.planes
    q = planes.draw_bytes(seed)
    ending = Ending(planes.result, planes.shape[1], Dequantize(SCALE, zero), to)
    spec = ResizeQuads(planes.source, ending)
    tables = spec.tables(case.scales, align_corners=case.align)
    buffers: list[Array] = [quads_in(planes.source, q, zero), *tables]
    module = program(spec.build("kernel", target.lanes), 3)
    u = resize_bytes(q, planes.out, case.scales, align_corners=case.align)
    v = (u - np.float32(zero)) * np.float32(SCALE)
    assert v.dtype == np.float32
    threaded = compiled(module, target, threads=3)(buffers)
    for (found,) in (*run_both(module, buffers, target), threaded):
        planes.check(found, v, to)


@targets
@examples(12)
@given(
    data=st.data(),
    to=ends,
    zero=st.sampled_from([0, 7, 128, 255]),
    seed=st.integers(0, 999),
)
def test_resize(
    target: Target, data: st.DataObject, to: Requantize | None, zero: int, seed: int
) -> None:
    case = data.draw(cases(in_bytes=to is not None))
    check_resize(case, zero, to, seed, target)


@pytest.mark.parametrize("to", [None, Requantize(3.7, 9)], ids=["numbers", "bytes"])
def test_parts_of_a_plane(to: Requantize | None) -> None:
    """One plane is cut between rows; each part makes the rows that it needs."""
    target = machines[-1]
    shape, out = (1, 3, 9, 61), (40, 97)
    source = spaced((1, 1, 9, 61), 64, Room(3, 5, 1))
    result = spaced((1, 3 if to is None else 1, *out), 99, Room(7, 2, 2))
    planes = Planes(shape, out, source, result)
    case = Case(planes, scales_of(shape[2:], out, False), False)
    ending = Ending(result, 3, Dequantize(SCALE, 7), to)
    assert ResizeQuads(source, ending).parts(target.lanes) == 5
    check_resize(case, 7, to, 0, target)


def test_volumes_of_quads() -> None:
    ending = Ending(plain((1, 1, 2, 2, 2)), 3, Dequantize(1.0, 0), None)
    with pytest.raises(InvalidInput, match="must have rank 4"):
        ResizeQuads(plain((1, 1, 2, 2, 2)), ending)
