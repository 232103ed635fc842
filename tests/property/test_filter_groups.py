"""Blocks of like filters: complete orders, honest costs, planted blocks are found."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import columns, filter_groups
from edgec.dialects.filter_groups import (
    as_words,
    group_similar,
    match_rows,
    union_columns,
)
from edgec.passes.encode_sparsity import columns_cost

Bools = npt.NDArray[np.bool_]

seeds = st.integers(0, 2**32 - 1)


@st.composite
def supports(draw: st.DrawFn) -> Bools:
    """What some filters keep; often many keep the same."""
    filters, width = draw(st.integers(1, 40)), draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(seeds))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    distinct = rng.random((draw(st.integers(1, 40)), width)) < density
    kept = distinct[rng.integers(0, len(distinct), filters)]
    return kept & (rng.random(kept.shape) < draw(st.sampled_from([0.7, 1.0])))


@given(supports())
def test_orders_are_complete_and_nested(kept: Bools) -> None:
    words, filters = as_words(kept), len(kept)
    before = [{number} for number in range(filters)]
    stored, expected = int(kept.sum()), 2
    for block, order in group_similar(words):
        assert block == expected
        assert sorted(order) == list(range(filters))
        blocks = [set(order[i : i + block]) for i in range(0, filters, block)]
        assert all(any(small <= large for large in blocks) for small in before)
        count = sum(kept[list(group)].any(axis=0).sum() for group in blocks)
        assert union_columns(words, order, block) == count
        assert count * block >= stored
        before, stored, expected = blocks, count * block, 2 * block
    assert expected >= 2 * filters or len(before) == 1
    again = [(b, o.tolist()) for b, o in group_similar(words)]
    assert again == [(b, o.tolist()) for b, o in group_similar(words.copy())]


@given(supports())
def test_pairs_share_most_first(kept: Bools) -> None:
    """As sorting all pairs and taking those whose rows are still free."""
    found = match_rows(as_words(kept), np.arange(len(kept)))
    shared = kept.astype(int) @ kept.T.astype(int)
    every = combinations(range(len(kept)), 2)
    ranked = sorted(every, key=lambda p: (-shared[p], p[0] ^ p[1]))
    free, expected = set(range(len(kept))), set[tuple[int, ...]]()
    for pair in ranked:
        if free.issuperset(pair):
            free -= set(pair)
            expected.add(pair)
    assert set(found) == expected | {(number,) for number in free}


@given(supports(), seeds)
def test_grouping_never_costs(kept: Bools, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(kept.shape).astype(np.float32)
    weight = np.where(kept, drawn, np.float32(0))
    alone = columns.detect(weight, columns_cost, in_order=True)
    found = columns.detect(weight, columns_cost)
    assert not alone.is_reordered
    assert columns_cost(found) <= columns_cost(alone)
    assert found == columns.detect(weight, columns_cost)
    packed = columns.pack(weight, found.block, found.reorder)
    assert packed.num_columns == found.num_columns
    restored = columns.unpack(packed, weight.shape)
    assert np.array_equal(restored.view(np.int32), weight.view(np.int32))


@given(
    st.integers(2, 6),
    st.sampled_from([4, 8, 16]),
    st.integers(0, 15),
    st.sampled_from([0.0, 0.1, 0.25]),
    seeds,
)
def test_planted_blocks_are_found(
    blocks: int, block: int, missing: int, dropped: float, seed: int
) -> None:
    """Filters in any order, some weights zero by chance, the first block short."""
    rng = np.random.default_rng(seed)
    keep = np.repeat(rng.random((blocks, 32, 3, 3)) < 0.25, block, axis=0)
    weight = rng.uniform(1, 2, keep.shape).astype(np.float32) * keep
    weight *= rng.random(keep.shape) >= dropped
    weight = weight[missing % block :]
    # The short block last, as the storage has it.
    planted = columns.scheme_of(weight[::-1], block)
    found = columns.detect(weight[rng.permutation(len(weight))], columns_cost)
    assert columns_cost(found) <= columns_cost(planted)


def test_very_many_filters_are_not_paired() -> None:
    words = np.zeros((filter_groups.MOST_FILTERS + 1, 1), np.uint64)
    assert not list(group_similar(words))


def test_few_columns_speak_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are those of the columns looked at; what is stored counts all of them."""
    kept = np.zeros((4, 4 * 64), np.bool_)
    kept[[0, 2], 0] = kept[[1, 3], 1] = True
    kept[[0, 1], 70:80] = kept[[2, 3], 80:90] = True
    words = as_words(kept)
    assert next(group_similar(words))[1].tolist() == [0, 1, 2, 3]
    monkeypatch.setattr(filter_groups, "WORK", 8)
    order = next(group_similar(words))[1]
    assert order.tolist() == [0, 2, 1, 3]
    assert union_columns(words, order, 2) == 2 * (1 + 20)
