"""Compressed columns: what is packed comes back, and what was pruned is found."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import columns
from edgec.errors import InvalidInput
from edgec.passes.encode_sparsity import columns_cost

spatials = st.sampled_from([(), (1, 1), (3,), (3, 3), (2, 3, 2)])
densities = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@st.composite
def punched(draw: st.DrawFn) -> tuple[columns.Floats, int]:
    """A weight whose granules are blocks of filters x one column; the block."""
    spatial, block = draw(spatials), draw(st.sampled_from([1, 2, 3, 4, 8, 16]))
    filters, channels = draw(st.integers(1, 40)), draw(st.integers(1, 9))
    density = draw(densities)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal((filters, channels, *spatial)).astype(np.float32)
    blocks = -(-filters // block)
    keep = rng.random((blocks, channels, *spatial)) < density
    return weight * np.repeat(keep, block, axis=0)[:filters], block


@given(punched(), st.integers(1, 20), st.randoms())
def test_unpack_inverts_pack(
    case: tuple[columns.Floats, int], block: int, random: Random
) -> None:
    weight, _ = case
    order = list(range(len(weight)))
    random.shuffle(order)
    for reorder in (None, order):
        packed = columns.pack(weight, block, reorder)
        np.testing.assert_array_equal(columns.unpack(packed, weight.shape), weight)
        scheme = columns.scheme_of(weight, block, reorder)
        assert packed.num_columns == scheme.num_columns
        assert packed.weight.size == scheme.stored >= scheme.kept
        for start, end in zip(packed.offset[:-1], packed.offset[1:], strict=True):
            assert (np.diff(packed.index[start:end]) > 0).all()
            assert packed.weight[start:end].any(axis=1).all()


@given(st.integers(1, 5), st.sampled_from([4, 8, 16, 32]), st.integers(0, 2**16))
def test_blocks_are_found_however_filters_stand(
    blocks: int, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((blocks * block, 6, 3, 3)).astype(np.float32)
    keep = rng.random((blocks, 6, 3, 3)) < 0.3
    weight *= np.repeat(keep, block, axis=0)
    for order in (np.arange(len(weight)), rng.permutation(len(weight))):
        found = columns.detect(weight[order], columns_cost)
        assert found.stored == found.kept
        # Blocks that happen to agree are one: then the block found is larger.
        assert found.block >= block
        packed = columns.pack(weight[order], found.block, found.reorder)
        np.testing.assert_array_equal(
            columns.unpack(packed, weight.shape), weight[order]
        )


@given(punched())
def test_detection_is_best_and_the_same_each_time(
    case: tuple[columns.Floats, int],
) -> None:
    weight, _ = case
    found = columns.detect(weight, columns_cost)
    assert columns.detect(weight, columns_cost) == found
    for block in columns.BLOCKS:
        other = columns.scheme_of(weight, block)
        if block <= len(weight):
            assert columns_cost(found) <= columns_cost(other)


def test_what_is_no_weight() -> None:
    with pytest.raises(InvalidInput, match="must be float32 of rank 2 or more"):
        columns.pack(np.zeros(3, np.float32), 1)
    with pytest.raises(InvalidInput, match="at least one filter, got 0"):
        columns.pack(np.zeros((2, 2), np.float32), 0)
    with pytest.raises(InvalidInput, match="permutation of 0 to 1"):
        columns.pack(np.zeros((2, 2), np.float32), 1, [0, 0])
