"""Plans of the arena: nothing overlaps that lives at the same time, little is lost."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, f32, f64, i1, i8, i64
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute

from edgec.context import EdgecContext
from edgec.dialects import lane
from edgec.passes import PlanMemory
from edgec.passes.base import run_pass
from edgec.passes.plan_memory import ALIGNMENT, Lifetime, live_bytes, plan
from tests.effort import examples


def make_lifetime(lines: int, first: int, length: int) -> Lifetime:
    return Lifetime(lines * ALIGNMENT, first, first + length)


lifetimes = st.builds(
    make_lifetime, st.integers(0, 40), st.integers(0, 12), st.integers(0, 6)
)


def arena(buffers: list[Lifetime], offsets: tuple[int, ...]) -> int:
    return max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)


def check_plan(buffers: list[Lifetime], offsets: tuple[int, ...]) -> None:
    assert all(offset >= 0 and offset % ALIGNMENT == 0 for offset in offsets)
    for (a, at), (b, bt) in combinations(zip(buffers, offsets, strict=True), 2):
        moments = set(range(a.first, a.last + 1)) & set(range(b.first, b.last + 1))
        if moments and a.size and b.size:
            assert at + a.size <= bt or bt + b.size <= at, (a, at, b, bt)


@examples(200)
@given(st.lists(lifetimes, max_size=14))
def test_no_overlap_and_bounds(buffers: list[Lifetime]) -> None:
    offsets = plan(buffers)
    check_plan(buffers, offsets)
    size = arena(buffers, offsets)
    moments = range(30)
    live = max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in moments)
    assert live_bytes(buffers) == live
    assert live <= size <= sum(b.size for b in buffers)


def best_arena(buffers: list[Lifetime]) -> int:
    """The smallest arena: some order, each buffer as low as it goes, reaches it."""
    best = sum(b.size for b in buffers)
    for order in permutations(buffers):
        placed: list[tuple[int, Lifetime]] = []
        for buffer in order:
            rivals = [(at, b) for at, b in placed if b.meets(buffer)]
            ends = sorted({0, *(at + b.size for at, b in rivals)})
            place = next(
                end
                for end in ends
                if all(
                    at >= end + buffer.size or at + b.size <= end for at, b in rivals
                )
            )
            placed.append((place, buffer))
        best = min(best, max((at + b.size for at, b in placed), default=0))
    return best


@examples(60)
@given(st.lists(lifetimes, min_size=1, max_size=5))
def test_close_to_the_best(buffers: list[Lifetime]) -> None:
    best = best_arena(buffers)
    assert live_bytes(buffers) <= best <= arena(buffers, plan(buffers)) <= 1.5 * best


def test_a_chain_needs_the_largest_pair() -> None:
    sizes = [3, 8, 5, 9, 2, 2]
    buffers = [make_lifetime(size, i, 1) for i, size in enumerate(sizes)]
    pairs = max(a + b for a, b in pairwise(sizes))
    assert arena(buffers, plan(buffers)) == live_bytes(buffers) == pairs * ALIGNMENT


# On modules

Uses = list[tuple[int, ...]]


def make_module(types: list[tuple[int, Attribute]], uses: Uses) -> ModuleOp:
    """Buffers of so many elements, and launches that name some of them."""
    main = FuncOp("main", ([], []))
    buffers = [lane.BufferOp(lane.buffer_type(n, element)) for n, element in types]
    launches = [
        lane.LaunchOp("k", [buffers[i].result for i in use if i < len(buffers)])
        for use in uses
    ]
    main.body.block.add_ops([*buffers, *launches, ReturnOp()])
    return ModuleOp([main])


SIZES: dict[Attribute, int] = {f32: 4, f64: 8, i64: 8, i8: 1, i1: 1}
"""Bytes of an element in memory."""


@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.sampled_from(list(SIZES))),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.lists(st.integers(0, 5), max_size=3).map(tuple), max_size=8),
)
def test_launches_never_share_bytes(
    types: list[tuple[int, Attribute]], uses: Uses
) -> None:
    module = make_module(types, uses)
    statistics = run_pass(PlanMemory(), EdgecContext(), module)
    module.verify()
    buffers = [op for op in module.walk() if isinstance(op, lane.BufferOp)]
    ends = [0]
    begins: list[int] = []
    for buffer, (elements, element) in zip(buffers, types, strict=True):
        assert buffer.offset is not None
        begins.append(buffer.offset.value.data)
        ends.append(begins[-1] + elements * SIZES[element])
    for i, j in combinations(range(len(types)), 2):
        spans = [[t for t, use in enumerate(uses) if b in use] for b in (i, j)]
        if (
            all(spans)
            and min(spans[0]) <= max(spans[1])
            and min(spans[1]) <= max(spans[0])
        ):
            assert ends[i + 1] <= begins[j] or ends[j + 1] <= begins[i]
    assert max(ends) <= statistics["arena_bytes"] <= statistics["buffer_bytes"]


@pytest.mark.parametrize(("element", "size"), SIZES.items())
def test_bytes_follow_the_element(element: Attribute, size: int) -> None:
    """Regression: every element counted as 4 bytes, so that i64 buffers overlapped."""
    module = make_module([(64, element), (64, element)], [(0, 1)])
    statistics = run_pass(PlanMemory(), EdgecContext(), module)
    assert statistics["arena_bytes"] == statistics["live_bytes"] == 2 * 64 * size


def test_without_buffers() -> None:
    module = make_module([], [(), ()])
    assert not any(run_pass(PlanMemory(), EdgecContext(), module).values())
