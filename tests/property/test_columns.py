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


@st.composite
def grouped(draw: st.DrawFn) -> tuple[columns.Floats, int, int]:
    """A weight of equal groups, each pruned in blocks by itself; groups and block."""
    groups, block = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 4, 8]))
    each, channels = draw(st.integers(1, 20)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal((groups, each, channels, 3)).astype(np.float32)
    keep = rng.random((groups, -(-each // block), channels, 3)) < draw(densities)
    weight *= np.repeat(keep, block, axis=1)[:, :each]
    return weight.reshape(groups * each, channels, 3), groups, block


@given(grouped(), st.integers(1, 20), st.integers(0, 2**16))
def test_groups_are_packed_by_themselves(
    case: tuple[columns.Floats, int, int], block: int, seed: int
) -> None:
    weight, groups, _ = case
    each = len(weight) // groups
    rng = np.random.default_rng(seed)
    inside = [rng.permutation(each).tolist() for _ in range(groups)]
    order = [g * each + n for g, numbers in enumerate(inside) for n in numbers]
    packed = columns.pack(weight, block, order, groups)
    np.testing.assert_array_equal(columns.unpack(packed, weight.shape), weight)
    parts = [
        columns.pack(part, block, numbers)
        for part, numbers in zip(np.split(weight, groups), inside, strict=True)
    ]
    assert packed.index.tolist() == [n for p in parts for n in p.index.tolist()]
    assert np.diff(packed.offset).tolist() == [
        n for p in parts for n in np.diff(p.offset).tolist()
    ]
    scheme = columns.scheme_of(weight, block, order, groups)
    assert (scheme.num_columns, scheme.stored) == (
        packed.num_columns,
        packed.weight.size,
    )


@given(grouped(), st.integers(0, 2**16))
def test_blocks_of_groups_are_found_however_filters_stand(
    case: tuple[columns.Floats, int, int], seed: int
) -> None:
    weight, groups, block = case
    each = len(weight) // groups
    rng = np.random.default_rng(seed)
    order = np.concatenate([g * each + rng.permutation(each) for g in range(groups)])
    for rows in (np.arange(len(weight)), order):
        found = columns.detect(weight[rows], columns_cost, groups)
        assert [n // each for n in found.reorder] == [
            n // each for n in range(len(weight))
        ]
        if block in columns.BLOCKS and each % block == 0:
            assert columns_cost(found) <= columns_cost(
                columns.scheme_of(weight, block, None, groups)
            )
        packed = columns.pack(weight[rows], found.block, found.reorder, groups)
        back = columns.unpack(packed, weight.shape)
        np.testing.assert_array_equal(back, weight[rows])


def test_what_is_no_weight() -> None:
    with pytest.raises(
        InvalidInput, match="must be float32, or int32 of four bytes, of rank 2 or more"
    ):
        columns.pack(np.zeros(3, np.float32), 1)
    with pytest.raises(InvalidInput, match="at least one filter, got 0"):
        columns.pack(np.zeros((2, 2), np.float32), 0)
    with pytest.raises(InvalidInput, match="permutation of 0 to 1"):
        columns.pack(np.zeros((2, 2), np.float32), 1, [0, 0])
    with pytest.raises(InvalidInput, match="0 to 3 inside each group"):
        columns.pack(np.zeros((4, 2), np.float32), 1, [0, 2, 1, 3], groups=2)
    with pytest.raises(InvalidInput, match="3 filters do not make 2 equal groups"):
        columns.pack(np.zeros((3, 2), np.float32), 1, groups=2)
