"""Pooling of quads: exact to the bit against numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.lane import QUAD
from edgec.errors import InvalidInput
from edgec.kernels.layout import SLACK, plain
from edgec.kernels.pool import Pool
from edgec.kernels.pool_quads import AverageQuads
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Room, put, rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

Ints = tuple[int, ...]


@st.composite
def pools(draw: st.DrawFn) -> tuple[Ints, Pool]:
    """A shape in channels, and pooling of its quads."""
    axes = draw(st.sampled_from([2, 2, 3]))
    most = 40 if axes == 2 else 9

    def sizes(low: int, high: int) -> Ints:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, stride, dilation = sizes(1, 4), sizes(1, 3), sizes(1, 2)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = sizes(1, most)
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
    )
    assume(min(out) >= 1)
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 9)), *size)
    groups = (shape[0], -(-shape[1] // QUAD))
    source, result = (
        spaced((*groups, *each), each[-1] + draw(st.integers(0, 3)), draw(rooms))
        if draw(st.booleans())
        else plain((*groups, *each), SLACK)
        for each in (size, out)
    )
    return shape, Pool("max", source, result, kernel, stride, padding, dilation)


def taps(
    x: npt.NDArray[np.float64], spec: Pool, fill: float
) -> npt.NDArray[np.float64]:
    """`[..., *out, positions of the window]`."""
    pad = [(0, 0)] * 2 + [
        (p, p + k * d)
        for p, k, d in zip(spec.padding, spec.kernel, spec.dilation, strict=True)
    ]
    padded = np.pad(x, pad, constant_values=fill)
    out = spec.output.shape[2:]
    found: list[npt.NDArray[np.float64]] = []
    for tap in np.ndindex(*spec.kernel):
        at = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, spec.dilation, out, spec.stride, strict=True)
        )
        found.append(padded[(slice(None), slice(None), *at)])
    return np.stack(found, -1)


@targets
@examples(8)
@given(case=pools(), zero=st.sampled_from([0, 7, 255]), seed=st.integers(0, 2**16))
def test_max(target: Target, case: tuple[Ints, Pool], zero: int, seed: int) -> None:
    shape, spec = case
    q = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    spec = replace(spec, zero_point=zero)
    module = program(spec.build("kernel", target.lanes), 1)
    ((one,), (other,)) = run_both(module, [quads_in(spec.input, q, zero)], target)
    wanted = taps(q.astype(np.float64), spec, 0).max(-1).astype(np.uint8)
    for found in (one, other):
        check(spec.output, zero, shape[1], found, quads_in(spec.output, wanted, zero))


@targets
@examples(8)
@given(
    case=pools(),
    zero=st.sampled_from([0, 7, 255]),
    to=st.none() | st.just(Requantize(3.7, 9, 1, 254)),
    include_pad=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_average(
    target: Target,
    case: tuple[Ints, Pool],
    zero: int,
    to: Requantize | None,
    include_pad: bool,
    seed: int,
) -> None:
    shape, pool = case
    assume(max(pool.dilation) == 1)
    output = pool.output
    if to is None:
        size = output.shape[2:]
        output = spaced((*shape[:2], *size), size[-1] + 2, Room(1, 5, 3))
    spec = AverageQuads(
        "avg",
        pool.input,
        output,
        pool.kernel,
        pool.stride,
        pool.padding,
        pool.dilation,
        include_pad,
        quantized=Dequantize(0.37, zero),
        requantize=to,
    )
    q = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    module = program(spec.build("kernel", target.lanes), 1)
    ((one,), (other,)) = run_both(module, [quads_in(spec.input, q, zero)], target)

    sums = taps(q.astype(np.float64) - zero, spec, 0).sum(-1).astype(np.float32)
    depth, height, width = spec.windows()
    counts = np.array(1.0)
    for along in (depth, height, width):
        number = [along.count(o, include_pad=include_pad) for o in range(along.out)]
        counts = np.multiply.outer(counts, np.array(number, np.float64))
    counts = counts.reshape(spec.output.shape[2:]).astype(np.float32)
    v = sums / counts * np.float32(0.37)
    if to is None:
        own = output.elements - output.slack
        for found in (one, other):
            np.testing.assert_array_equal(found[:own], put(output, v)[:own])
        return
    steps = np.clip(v * np.float32(3.7), 1 - 9, 254 - 9)
    wanted = quads_in(output, (np.rint(steps) + 9).astype(np.uint8), 9)
    for found in (one, other):
        check(output, 9, shape[1], found, wanted)


def test_huge_windows() -> None:
    layout = plain((1, 1, 300, 300))
    result = plain((1, 1, 1, 1))
    ones, zeros = (1, 1), (0, 0)
    with pytest.raises(InvalidInput, match="at most 65793 positions, got avg of 90000"):
        AverageQuads(
            "avg",
            layout,
            result,
            (300, 300),
            ones,
            zeros,
            ones,
            quantized=Dequantize(1.0, 0),
            requantize=None,
        )
