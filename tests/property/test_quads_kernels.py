"""Kernels between float32 and quads, exact to the bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.lane import QUAD
from edgec.errors import InvalidInput
from edgec.kernels.lane_rows import parts_of
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.quads import (
    DequantizeQuads,
    DequantizeRows,
    QuantizeQuads,
    QuantizeRows,
    dequantize_kernel,
    quantize_kernel,
)
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Room, places, put, rooms, spaced
from tests.effort import examples
from tests.lanes import compiled, program, run_both, runnable_targets
from tests.quad_convs import quad_of, quads_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

tensors = st.tuples(
    st.integers(1, 3), st.integers(1, 11), st.integers(1, 5), st.integers(1, 37)
)
volumes = st.tuples(
    st.integers(1, 2), st.integers(1, 6), *(st.integers(1, 4) for _ in range(3))
)


matrices = st.tuples(st.integers(1, 5), st.integers(1, 150))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Layout, Layout]:
    """A tensor of numbers, plain or with gaps, and its quads, with gaps or not.

    Of a matrix both are plain.
    """
    shape = draw(tensors | volumes | matrices)
    quads = (shape[0], -(-shape[1] // QUAD), *shape[2:])
    found: list[Layout] = []
    for each in (shape, quads):
        if len(shape) == 2 or draw(st.booleans()):
            found.append(plain(each, SLACK))
        else:
            pitch = each[-1] + draw(st.integers(0, 3))
            found.append(spaced(each, pitch, draw(rooms)))
    return found[0], found[1]


@targets
@examples(8)
@given(
    pair=pairs(),
    zero=st.sampled_from([0, 1, 128, 255]),
    inverse=st.sampled_from([1.0, 3.7, 100.0]),
    ends=st.sampled_from([(0, 255), (1, 255), (0, 127)]),
    seed=st.integers(0, 2**16),
)
def test_quantize(
    target: Target,
    pair: tuple[Layout, Layout],
    zero: int,
    inverse: float,
    ends: tuple[int, int],
    seed: int,
) -> None:
    source, result = pair
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(source.shape) * 2).astype(np.float32)
    x.reshape(-1)[:4] = np.array([0.5, -0.5, 1e30, -1e30], np.float32)[: x.size]
    low, high = ends
    spec = quantize_kernel(source, result, Requantize(inverse, zero, low, high))
    assert isinstance(spec, QuantizeRows) == (len(x.shape) == 2)
    module = program(spec.build("kernel", target.lanes), 1)
    found = run_both(module, [put(source, x)], target)
    steps = np.clip(x * np.float32(inverse), low - zero, high - zero)
    expected = quads_in(result, (np.rint(steps) + zero).astype(np.uint8), zero)
    own = result.elements - result.slack
    for (buffer,) in found:
        np.testing.assert_array_equal(buffer[:own], expected[:own])


@targets
@examples(8)
@given(
    pair=pairs(),
    zero=st.sampled_from([0, 1, 128, 255]),
    scale=st.sampled_from([1.0, 0.37]),
    seed=st.integers(0, 2**16),
)
def test_dequantize(
    target: Target, pair: tuple[Layout, Layout], zero: int, scale: float, seed: int
) -> None:
    result, source = pair
    rng = np.random.default_rng(seed)
    q = rng.integers(0, 256, result.shape).astype(np.uint8)
    spec = dequantize_kernel(source, result, Dequantize(scale, zero))
    assert isinstance(spec, DequantizeRows) == (len(q.shape) == 2)
    module = program(spec.build("kernel", target.lanes), 1)
    found = run_both(module, [quads_in(source, q, zero)], target)
    expected = (q.astype(np.float32) - zero) * np.float32(scale)
    wanted = put(result, expected.astype(np.float32))
    own = result.elements - result.slack
    for (buffer,) in found:
        np.testing.assert_array_equal(buffer[:own], wanted[:own])


@targets
@pytest.mark.parametrize("shape", [(1, 3, 41, 67), (2, 6, 3, 29, 35)])
def test_parts_of_rows(target: Target, shape: tuple[int, ...]) -> None:
    """Planes that several threads share are cut between rows; so are their gaps."""
    quads = (shape[0], -(-shape[1] // QUAD), *shape[2:])
    source = spaced(shape, shape[-1] + 2, Room(5, 3, 1))
    result = spaced(quads, shape[-1] + 3, Room(7, 2, 2))
    assert parts_of(result, target.lanes) > 2
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spec = QuantizeQuads(source, result, Requantize(30.0, 9))
    module = program(spec.build("kernel", target.lanes), 1)
    codes = np.clip(np.rint(x * np.float32(30)), -9, 246) + 9
    expected = quads_in(result, codes.astype(np.uint8), 9)
    run = compiled(module, target, threads=3)
    own = result.elements - result.slack
    for (found,) in (
        *run_both(module, [put(source, x)], target),
        run([put(source, x)]),
    ):
        np.testing.assert_array_equal(found[:own], expected[:own])


def test_parts_are_not_small() -> None:
    """Few vectors, or enough planes, are one part."""
    assert parts_of(plain((1, 1, 7, 16)), 16) == 1
    assert parts_of(plain((1, 4, 28, 28)), 8) == 3
    assert parts_of(plain((1, 1, 224, 224)), 16) == 64
    assert parts_of(plain((1, 16, 56, 56)), 16) == 1


@targets
@pytest.mark.parametrize("columns", [3, 64, 130])
def test_rows_some_distance_apart(target: Target, columns: int) -> None:
    """Parts of longer rows, from numbers to bytes and back."""
    shape, quads = (3, columns), (3, -(-columns // QUAD))
    near, far = plain(shape, SLACK), Layout(shape, (columns + 5, 1), 7, slack=SLACK)
    stored = plain(quads, SLACK)
    q = np.arange(3 * columns).reshape(shape).astype(np.uint8)
    x = (q.astype(np.float32) - 9) * 2
    to, back = Requantize(0.5, 9), Dequantize(2.0, 9)
    writes = quantize_kernel(far, stored, to).build("kernel", target.lanes)
    for (buffer,) in run_both(program(writes, 1), [put(far, x)], target):
        own = stored.elements - stored.slack
        np.testing.assert_array_equal(buffer[:own], quads_in(stored, q, 9)[:own])
    reads = dequantize_kernel(stored, near, back).build("kernel", target.lanes)
    for (buffer,) in run_both(program(reads, 1), [quads_in(stored, q, 9)], target):
        np.testing.assert_array_equal(buffer[: x.size], x.reshape(-1))


def test_quads_of_another_tensor() -> None:
    with pytest.raises(InvalidInput, match=r"must have the shape \(1, 2, 3, 3\)"):
        DequantizeQuads(plain((1, 3, 3, 3)), plain((1, 5, 3, 3)), 1.0, 0)


def test_the_reference_of_quads() -> None:
    values: npt.NDArray[np.uint8] = np.array([[[[1]], [[2]], [[3]]]], np.uint8)
    layout = plain((1, 1, 1, 1))
    (quad,) = quads_in(layout, values, 9)[places(layout)].reshape(-1)
    assert quad == int.from_bytes(bytes([1, 2, 3, 9]), "little")
    assert quad_of(1) == 0x01010101
