"""What is folded into scales and ranges, against torch's order of operations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects.quad_ending import ending
from edgec.dialects.sq import QuantType, Step
from edgec.interpreter.lane import fused_multiply_add
from tests.effort import examples

RELU = Step("relu", (), -1, False)
GELU = Step("gelu", (), -1, False)
ADD = Step("add", (), 1, False)
UNSIGNED = QuantType.per_tensor("ui8", 0, 255, 0.02, 7)

clamps = st.builds(
    lambda low, size: Step("clamp", (low, low + size), -1, False),
    st.floats(-2, 2, width=32),
    st.floats(0, 6, width=32),
)
types = st.sampled_from(
    [
        ("ui8", 0, 255, 0),
        ("ui8", 0, 127, 5),
        ("i8", -128, 127, -128),
        ("i8", -127, 127, 3),
    ]
)


@examples(200)
@given(
    steps=st.lists(st.just(RELU) | clamps, max_size=3),
    kind=types,
    scale=st.sampled_from([0.01, 0.37, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_a_folded_scale_is_at_most_one_step_off(
    steps: list[Step], kind: tuple[str, int, int, int], scale: float, seed: int
) -> None:
    storage, low, high, zero = kind
    result = QuantType.per_tensor(storage, low, high, scale, zero)
    rng = np.random.default_rng(seed)
    weight_scale = rng.uniform(1e-3, 1e-2, 16).astype(np.float32)
    bias = rng.standard_normal(16).astype(np.float32)
    found = ending(0.05, weight_scale, bias, steps, result)
    assert found.steps == ()
    assert found.to is not None
    assert found.to.bounded
    sums = rng.integers(-(2**16), 2**16, (400, 16)).astype(np.float32)

    v = sums * (np.float32(0.05) * weight_scale) + bias
    for step in steps:
        least, most = step.params or (0.0, np.inf)
        v = np.clip(v, least, most).astype(np.float32)
    inverse = np.float32(1 / scale)
    wanted = np.clip(np.rint(v * inverse) + zero, low, high)

    rounded = np.rint(fused_multiply_add(sums, found.scale, found.shift).astype("f4"))
    q = np.clip(rounded + found.to.zero_point, found.to.low, found.to.high)
    sign = 0 if storage == "ui8" else 128
    assert found.to.zero_point == zero + sign
    assert np.abs(q - sign - wanted).max() <= 1
    assert (q - sign != wanted).mean() < 0.001


@examples(200)
@given(
    steps=st.lists(st.just(RELU) | clamps, max_size=2),
    kind=types,
    scale=st.sampled_from([0.01, 0.37, 1.0]),
    zero_added=st.sampled_from([0, 100, 255]),
    seed=st.integers(0, 2**16),
)
def test_bytes_that_are_added_are_at_most_one_step_off(
    steps: list[Step],
    kind: tuple[str, int, int, int],
    scale: float,
    zero_added: int,
    seed: int,
) -> None:
    storage, low, high, zero = kind
    result = QuantType.per_tensor(storage, low, high, scale, zero)
    other = QuantType.per_tensor("ui8", 0, 255, 0.02, zero_added)
    rng = np.random.default_rng(seed)
    weight_scale = rng.uniform(1e-3, 1e-2, 16).astype(np.float32)
    bias = rng.standard_normal(16).astype(np.float32)
    found = ending(0.05, weight_scale, bias, [ADD, *steps], result, [None, other])
    assert found.steps == ()
    assert found.addend is not None
    assert found.addend.operand == 1
    assert found.to is not None
    assert found.to.bounded
    sums = rng.integers(-(2**14), 2**14, (400, 16)).astype(np.float32)
    added = rng.integers(0, 256, (400, 16)).astype(np.float32)

    v = sums * (np.float32(0.05) * weight_scale) + bias
    v += (added - zero_added) * np.float32(0.02)
    for step in steps:
        least, most = step.params or (0.0, np.inf)
        v = np.clip(v, least, most).astype(np.float32)
    wanted = np.clip(np.rint(v * np.float32(1 / scale)) + zero, low, high)

    own = fused_multiply_add(sums, found.scale, found.shift).astype(np.float32)
    factor = np.asarray(found.addend.factor, np.float32)
    rounded = np.rint(fused_multiply_add(added, factor, own).astype(np.float32))
    q = np.clip(rounded + found.to.zero_point, found.to.low, found.to.high)
    sign = 0 if storage == "ui8" else 128
    assert np.abs(q - sign - wanted).max() <= 1
    assert (q - sign != wanted).mean() < 0.001


@pytest.mark.parametrize(
    ("steps", "types_of"),
    [
        ([RELU, ADD], [None, UNSIGNED]),  # not before the clamps
        ([ADD], [None, None]),  # numbers
        ([ADD], []),  # kernels without such an addition
        ([ADD], [None, QuantType.per_tensor("i8", -128, 127, 0.02, 0)]),
        ([ADD, GELU], [None, UNSIGNED]),
        ([Step("sub", (), 1, False)], [None, UNSIGNED]),
    ],
)
def test_what_is_added_as_numbers(
    steps: list[Step], types_of: list[QuantType | None]
) -> None:
    result = QuantType.per_tensor("ui8", 0, 255, 0.5, 7)
    bias = np.ones(3, np.float32)
    found = ending(0.25, 0.5, bias, steps, result, types_of)
    assert found.addend is None
    assert found.steps == tuple(steps)
    assert found.shift.tolist() == [1.0] * 3


def test_other_steps_keep_their_scale() -> None:
    result = QuantType.per_tensor("ui8", 0, 255, 0.5, 7)
    found = ending(0.25, 0.5, np.ones(3, np.float32), [GELU, RELU], result)
    assert found.steps == (GELU, RELU)
    assert found.scale.tolist() == [0.125] * 3
    assert found.shift.tolist() == [1.0] * 3
    assert found.to is not None
    assert (found.to.inverse, found.to.bounded) == (2.0, False)


def test_float32_results_have_no_bytes() -> None:
    found = ending(0.25, 0.5, np.ones(3, np.float32), [RELU], None)
    assert (found.steps, found.to) == ((RELU,), None)


def test_large_scales_promise_nothing() -> None:
    result = QuantType.per_tensor("ui8", 0, 255, 0.01, 7)
    found = ending(1.0, 1.0, np.ones(3, np.float32), [], result)
    assert found.to is not None
    assert not found.to.bounded


def test_a_result_with_many_scales() -> None:
    result = QuantType.per_axis("ui8", 0, 255, ("s", "z"), 0)
    with pytest.raises(ValueError, match="one scale in its type"):
        ending(1.0, 1.0, np.ones(3, np.float32), [], result)
