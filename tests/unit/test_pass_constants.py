"""Constants of the IR as arrays, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import StringAttr, TensorType, f32
from xdsl.ir import Block

from edgec.context import EdgecContext, WeightStore
from edgec.dialects import fkw, nn, sq
from edgec.errors import InvalidInput
from edgec.passes.constants import (
    MAX_INLINE,
    constant_name,
    erase_unused,
    is_constant,
    make_constant,
    read_constant,
)

LIKE = Block(arg_types=[TensorType(f32, (1,))]).args[0]


@given(st.integers(0, 2 * MAX_INLINE))
def test_written_constants_read_back(size: int) -> None:
    weights = WeightStore()
    array = np.arange(size, dtype=np.float64).reshape(1, size) / 3
    op = make_constant(array, "name", LIKE, weights)
    back = read_constant(op.result, weights)
    assert back is not None
    np.testing.assert_array_equal(back, array.astype(np.float32))
    assert isinstance(op.value, StringAttr) == (size > MAX_INLINE)
    assert constant_name(op.result) == ("name" if size > MAX_INLINE else "constant")


def test_large_constants_are_not_copied() -> None:
    weights = WeightStore()
    array = np.zeros((8, 16), np.float32)
    op = make_constant(array.reshape(8, 1, 16), "w", LIKE, weights)
    back = read_constant(op.result, weights)
    assert back is not None
    assert np.shares_memory(back, array)


def test_encoded_weights_are_decoded() -> None:
    ctx = EdgecContext()
    weight = np.zeros((2, 3, 2, 2), np.float32)
    weight[1, 2, 0] = (1, 2)
    packed = fkw.pack(weight, [(0, 1)])
    names = {k: ctx.weights.add(f"w.{k}", v) for k, v in packed.arrays().items()}
    encoding = sq.PatternAttr.of(packed.patterns, packed.num_kernels, ordered=False)
    op = sq.WeightOp(names, TensorType(f32, weight.shape, encoding))
    assert is_constant(op.result)
    back = read_constant(op.result, ctx.weights)
    assert back is not None
    np.testing.assert_array_equal(back, weight)


def test_other_values_are_no_constants() -> None:
    assert not is_constant(LIKE)
    assert read_constant(LIKE, WeightStore()) is None
    erase_unused(LIKE)
    assert LIKE.owner is not None


def test_a_missing_weight_is_named() -> None:
    op = nn.ConstantOp("conv.weight", TensorType(f32, (1,)))
    store = WeightStore()
    with pytest.raises(
        InvalidInput, match=r"no weights named 'conv\.weight'; .* \[\]$"
    ):
        read_constant(op.result, store)
    for number in range(10):
        store.add(f"w{number}", np.zeros(number, np.float32))
    with pytest.raises(InvalidInput, match=r"known are \['w0', .*'w7'\] and 2 more"):
        read_constant(op.result, store)
