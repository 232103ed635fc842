"""Ops on pairs: machine code of every instruction set, bit by bit or within a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import f32, i32
from xdsl.dialects.func import FuncOp

from edgec.codegen.host import host_features
from edgec.codegen.intrinsics.bf16 import bf16_for, has_dot_pairs
from edgec.dialects import bf16, lane
from edgec.dialects.lane import buffer_type
from edgec.kernels.builder import KernelBuilder
from edgec.target import Target
from tests.effort import examples
from tests.lanes import program, run_both

Floats = npt.NDArray[np.float32]
TINY = 2.0**-126
"""The least normal number."""


def machines() -> list[Target]:
    """This machine with and without AVX512-BF16, and with registers of each width."""
    native = Target.native(host_features())
    plain = replace(native, name="plain", features=native.features - {"avx512bf16"})
    found = [Target.parse("generic"), plain]
    if has_dot_pairs(native):
        found += [
            replace(native, name=f"bf16-{lanes}", lanes=lanes)
            for lanes in bf16_for(native, native.lanes).lanes
        ]
    return found


targets = pytest.mark.parametrize("target", machines(), ids=lambda t: t.name)


def kernel(lanes: int) -> FuncOp:
    """All ops on one vector; the results one after the other."""
    types = {
        "acc": buffer_type(lanes),
        "x": buffer_type(lanes, i32),
        "w": buffer_type(lanes, i32),
        "a": buffer_type(lanes),
        "b": buffer_type(lanes),
        "sum": buffer_type(lanes, f32),
        "parts": buffer_type(2 * lanes, f32),
        "packed": buffer_type(lanes, i32),
        "ordered": buffer_type(lanes, i32),
    }
    b = KernelBuilder("pairs", types, lanes=lanes)
    acc, x, w, lower, upper = (b.load(name, 0) for name in ("acc", *"xwab"))
    b.store(b.add(lane.DotPairsOp(acc, x, w)), "sum", 0)
    unpack = lane.UnpackPairsOp(x)
    b.add(unpack)
    for number, part in enumerate(unpack.results):
        b.store(part, "parts", 0, offset=number * lanes)
    b.store(b.add(lane.PackPairsOp(lower, upper)), "packed", 0)
    b.store(b.add(lane.PackPairsOp(lower, upper, in_order=True)), "ordered", 0)
    return b.finish()


def run(target: Target, arrays: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Machine code and interpreter."""
    return run_both(program(kernel(target.lanes), 5), list(arrays.values()), target)


def some_numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Of many sizes, none subnormal, and their products neither."""
    sizes = np.exp2(rng.integers(-40, 40, shape))
    return (rng.standard_normal(shape) * sizes).astype(np.float32)


@targets
@examples(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_numbers(target: Target, seed: int) -> None:
    rng, lanes = np.random.default_rng(seed), target.lanes
    acc, lower, upper = (some_numbers(rng, (lanes,)) for _ in range(3))
    x, w = (bf16.rounded(some_numbers(rng, (lanes, 2))) for _ in range(2))
    # Ties, which go to the even neighbour.
    lower[0], upper[0] = 1 + 2.0**-8, 1 + 3 * 2.0**-8
    arrays = {"acc": acc, "x": bf16.pairs_of(x), "w": bf16.pairs_of(w)}
    arrays |= {"a": lower, "b": upper}
    products = x.astype(np.float64) * w
    exact = acc + products.sum(1)
    bound = 2.0**-22 * (np.abs(acc) + np.abs(products).sum(1))
    for total, parts, packed, ordered in run(target, arrays):
        assert (np.abs(total - exact) <= bound).all()
        np.testing.assert_array_equal(parts, np.concatenate([x[:, 0], x[:, 1]]))
        found = bf16.parts_of(packed)
        for column, numbers in enumerate((lower, upper)):
            wide = numbers.astype(np.float64)
            error = np.abs(found[:, column] - wide)
            assert (error <= 2.0**-8 * np.abs(wide)).all()
        np.testing.assert_array_equal(
            packed, bf16.pairs_of(np.stack([lower, upper], -1))
        )
        np.testing.assert_array_equal(found[0], [1, 1 + 2.0**-6])
        numbers = np.concatenate([lower, upper])
        np.testing.assert_array_equal(ordered, bf16.pairs_of(numbers.reshape(-1, 2)))


@targets
def test_infinities_and_nan(target: Target) -> None:
    """NaN with any payload stays one; what is too large becomes an infinity."""
    lanes = target.lanes
    zeros = np.zeros(lanes, np.float32)
    lower, upper = zeros.copy(), zeros.copy()
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F7FFFFF], np.uint32)
    lower[:4] = bits.view(np.float32)
    upper[:3] = np.inf, -np.inf, np.nan
    x, w = np.zeros((lanes, 2), np.float32), np.ones((lanes, 2), np.float32)
    x[:4] = [[np.inf, 1], [np.inf, -np.inf], [np.nan, 0], [-np.inf, 5]]
    arrays = {"acc": zeros, "x": bf16.pairs_of(x), "w": bf16.pairs_of(w)}
    for total, _, packed, _ in run(target, {**arrays, "a": lower, "b": upper}):
        np.testing.assert_array_equal(total[:4], [np.inf, np.nan, np.nan, -np.inf])
        found = bf16.parts_of(packed)
        assert np.isnan(found[:3, 0]).all()
        assert found[3, 0] == np.inf
        np.testing.assert_array_equal(found[:3, 1], [np.inf, -np.inf, np.nan])


@targets
def test_what_is_tiny_may_be_zero(target: Target) -> None:
    lanes, least = target.lanes, np.float32(2.0**-133)
    tiny = np.full(lanes, least, np.float32)
    x = np.full((lanes, 2), least, np.float32)
    arrays = {"acc": np.zeros(lanes, np.float32), "x": bf16.pairs_of(x)}
    arrays |= {"w": bf16.pairs_of(np.ones_like(x)), "a": tiny, "b": -tiny}
    for total, _, packed, _ in run(target, arrays):
        assert ((total == 0) | (total == 2 * least)).all()
        found = bf16.parts_of(packed)
        assert ((found == 0) | (np.abs(found) == least)).all()


@given(st.floats(width=32))
def test_rounding_is_that_of_torch(number: float) -> None:
    torch = pytest.importorskip("torch")
    value = np.array([number], np.float32)
    expected = torch.from_numpy(value).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(bf16.rounded(value), expected)
    assert bf16.pairs_of(np.array([number, number], np.float32)).dtype == np.int32
