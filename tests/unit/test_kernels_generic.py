"""Kernels of all families, natively, against the numpy interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import f32, i64
from xdsl.ir import Operation

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import PassFailed
from edgec.kernels.layout import Layout, plain
from edgec.kernels.linear.dense import pack_linear
from edgec.kernels.lowering import lower
from edgec.kernels.move import copy
from edgec.runtime.buffers import aligned_zeros
from edgec.target import Target
from tests.guard import run_guarded
from tests.kernel_cases import (
    CASES,
    DEEP_PHASES,
    GAPS,
    PHASES,
    VOLUMES,
    Make,
    case,
    pool,
    random,
    reduce,
    transpose,
)
from tests.kernel_runner import Array, Case, compiled
from tests.lanes import runnable_targets

pytestmark = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda target: target.name
)


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_what_the_interpreter_says(name: str, target: Target) -> None:
    one = case(name)
    np.testing.assert_allclose(one.run(target), one.expected(), rtol=1e-5, atol=1e-5)


GUARDED = """
from tests.guard import guarded_zeros
from tests.lanes import runnable_targets
from tests import kernel_cases as cases

def allocate(side):
    return lambda elements, dtype: guarded_zeros((elements,), dtype, side)

for target in runnable_targets():
    if target.name != {target!r}:
        continue
    for name in cases.CASES:
        for side in ("end", "begin"):
            cases.case(name).run(target, threads=(1,), allocate=allocate(side))
"""


def test_no_access_outside_of_buffers(target: Target) -> None:
    done = run_guarded(GUARDED.format(target=target.name))
    assert done.returncode == 0, done.stderr[-2000:]


def test_mean_is_precise(target: Target) -> None:
    for shape, axes in (
        ((1, 1 << 20), (1,)),
        ((1 << 16, 3), (0,)),
        ((99, 9999), (0, 1)),
    ):
        x = random(*shape) + np.float32(1)
        found = Case(reduce("mean", axes), [x]).run(target, threads=(1,))
        expected = x.astype(np.float64).mean(axes, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("kind", ["argmax", "argmin"])
def test_position_is_of_the_first_extreme_or_nan(kind: str, target: Target) -> None:
    nan = np.nan
    rows = [[1, 3, 3, -2, -2], [1, nan, 3, nan, 5], [nan, 9, -9, 0, 0], [0, 0, 0, 0, 0]]
    x = np.array(rows, np.float32)
    found = Case(reduce(kind, (1,), keep=False), [x]).run(target)
    assert found.dtype == np.int64
    first = {"argmax": [1, 1, 0, 0], "argmin": [3, 1, 0, 0]}
    assert found.tolist() == first[kind]


def test_pool_and_reduction_keep_nan(target: Target) -> None:
    x = random(1, 2, 9, 40)
    x[0, 1, 4, 17] = np.nan
    for make in (pool("max", 3, 2, 1), reduce("max", (2, 3)), reduce("min", (1,))):
        one = Case(make, [x])
        np.testing.assert_array_equal(
            np.isnan(one.run(target)), np.isnan(one.expected())
        )


def test_softmax_of_large_and_masked_rows(target: Target) -> None:
    x = np.array([[1e30, 0, -np.inf], [-np.inf, 5, 5], [-1e4, -1e4, -1e4]], np.float32)
    found = Case(lambda v: nn.SoftmaxOp(v, 1), [x]).run(target)
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3], 1e-6)


def test_threads_write_cache_lines_of_their_own_in_a_folded_transpose(
    target: Target,
) -> None:
    """A result whose first dimension is the innermost, as before `nn.transpose`."""
    shape, threads, line = (16, 512), 2, 16
    x = random(*shape)
    kernel = compiled(copy(plain(shape), Layout(shape, (1, 16))), target)
    parts: list[Array] = []
    for thread in range(threads):
        y = aligned_zeros(x.nbytes).view(np.float32)
        y[:] = np.nan
        kernel.run([np.ascontiguousarray(x), y], threads, only=thread)
        parts.append(y.reshape(-1, line))
    written = [~np.isnan(part) for part in parts]
    lines = [each.any(axis=1) for each in written]
    np.testing.assert_array_equal(lines[0], ~lines[1])
    whole = np.where(written[0], *parts)
    np.testing.assert_array_equal(whole.reshape(-1), x.T.reshape(-1))


def test_cast_and_moves_of_integers(target: Target) -> None:
    x = np.array([[1.9, -1.9, 0.5], [2.0, -3.0, 1e6]], np.float32)
    found = Case(lambda v: nn.CastOp(v, i64), [x]).run(target)
    assert found.tolist() == [[1, -1, 0], [2, -3, 1000000]]
    numbers = np.arange(24).reshape(2, 3, 4) * (1 << 40)
    for make in (transpose(2, 0, 1), lambda v: nn.CastOp(v, f32)):
        one = Case(make, [numbers])
        np.testing.assert_array_equal(one.run(target), one.expected())


def test_batch_norm_with_and_without_constants(target: Target) -> None:
    inputs = [random(2, 6, 7, 9), *(np.abs(random(6, k)[:, 0]) for k in (2, 3, 4, 5))]

    def make(x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Operation:
        return nn.BatchNormOp(x, scale, shift, mean, variance, 1e-5)

    for constants in ((), ("scale", "shift", "mean", "variance")):
        one = Case(
            make, inputs, inputs_in=(GAPS,), result_in=PHASES, constants=constants
        )
        np.testing.assert_allclose(
            one.run(target), one.expected(), rtol=1e-5, atol=1e-6
        )


def test_packed_weights_have_every_column_once(target: Target) -> None:
    weight = random(37, 5)
    width = 2 * target.lanes
    packed, start = pack_linear(weight, target.lanes, 2), 0
    for first in range(0, 37, width):
        part = weight[first : first + width]
        wide = -(-part.shape[0] // target.lanes) * target.lanes
        block = packed[start : start + 5 * wide].reshape(5, wide)
        np.testing.assert_array_equal(block[:, : part.shape[0]], part.T)
        assert not block[:, part.shape[0] :].any()
        start += 5 * wide
    assert start == packed.size


@pytest.mark.parametrize(
    ("make", "inputs", "layouts", "message"),
    [
        (
            lambda x: nn.SoftmaxOp(x, 1),
            [random(2, 5, 7, 9)],
            (PHASES,),
            r"'nn.softmax' op softmax takes layouts that are not split .* got \(2, 2\)",
        ),
        (
            pool("max", 2, 2, 0, rank=3),
            [random(*VOLUMES[0])],
            (DEEP_PHASES,),
            r"'nn.pool' op 3-D pooling takes layouts .* got \(2, 2, 2\)",
        ),
        (
            lambda x: nn.BinaryOp("add", x, x),
            [np.arange(4)],
            (),
            "'nn.binary' op element type must be f32, got i64",
        ),
        (
            nn.LinearOp,
            [random(2, 3), random(4, 3)],
            (),
            "'nn.linear' op weight must be a constant",
        ),
    ],
)
def test_what_no_kernel_takes_is_named(
    make: Make,
    inputs: list[Array],
    layouts: tuple[sq.LaneAttr, ...],
    message: str,
    target: Target,
) -> None:
    one = Case(make, inputs, inputs_in=layouts)
    with pytest.raises(PassFailed, match=message):
        lower(one.op, WeightStore(), target.lanes)


def test_reshape_between_gaps_is_refused(target: Target) -> None:
    one = Case(
        lambda x: nn.ReshapeOp(x, [5, 2, 7, 9]),
        [random(2, 5, 7, 9)],
        inputs_in=(GAPS,),
        result_in=GAPS,
    )
    with pytest.raises(PassFailed, match="needs a plain layout on one side"):
        lower(one.op, WeightStore(), target.lanes)
