"""Removing channels: same numbers, and a second run finds nothing more."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.passes.analysis.channel_liveness import padding_rows
from edgec.passes.analysis.channels import (
    analyse,
    lowest_connected,
    reshaped_axis,
)
from edgec.passes.analysis.sparse import COLUMN_COST
from edgec.passes.constants import read_constant
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.shrink_channels import ShrinkChannels
from edgec.testing import Case, assert_pass_preserves, nn_modules

LAYERS = ("conv", "block", "activation", "residual", "concat", "affine")
CHANGES = (*LAYERS, "pool", "adaptive_pool", "slice", "pad", "resize", "reduce")


def thin_out(case: Case, share: float) -> None:
    """Set filters and channels of the weights to zero, and some biases."""
    rng = np.random.default_rng(0)
    for name, array in list(case.ctx.weights.items()):
        keep = rng.random(array.shape[:1]) < share
        if array.ndim == 1:
            new = np.where(keep, array, np.float32(0))
        else:
            columns = rng.random(array.shape[1:2]) < share
            both = np.logical_and.outer(keep, columns)
            mask = both.reshape(*array.shape[:2], *(1,) * (array.ndim - 2))
            new = np.where(mask, array, np.float32(0))
        case.ctx.weights.discard(name)
        case.ctx.weights.add(name, new)


@st.composite
def thin_modules(draw: st.DrawFn, steps: tuple[str, ...] | None = None) -> Case:
    """Modules whose batch norms are folded, with filters and channels of zeros."""
    ranks = (1, 2, 3)
    case = draw(
        nn_modules(max_steps=9, spatial_ranks=ranks)
        if steps is None
        else nn_modules(steps=steps, max_steps=9, spatial_ranks=ranks)
    )
    FoldBatchNorm().run(case.ctx, case.module)
    thin_out(case, draw(st.sampled_from([0.3, 0.6, 0.9])))
    return case


def size_of_weights(module: ModuleOp, weights: WeightStore) -> int:
    layers = [op for op in module.walk() if isinstance(op, nn.ConvOp | nn.LinearOp)]
    arrays = [read_constant(op.weight, weights) for op in layers]
    return sum(array.size for array in arrays if array is not None)


def check(case: Case) -> None:
    before = size_of_weights(case.module, case.ctx.weights)
    result = assert_pass_preserves(ShrinkChannels(), *case, rtol=2e-5, idempotent=True)
    removed = result.statistics["weights_removed"]
    assert size_of_weights(result.module, case.ctx.weights) == before - removed
    again = ShrinkChannels().run(case.ctx, result.module.clone())
    assert again["weights_removed"] == again["filters_removed"] == 0


@given(thin_modules())
def test_all_kinds_of_ops(case: Case) -> None:
    check(case)


@given(thin_modules(CHANGES))
def test_ops_that_pass_channels_on(case: Case) -> None:
    check(case)


@given(thin_modules((*LAYERS, "flatten", "linear")))
def test_flattened_channels(case: Case) -> None:
    check(case)


@given(nn_modules(steps=CHANGES, max_steps=9))
def test_dense_weights_stay(case: Case) -> None:
    FoldBatchNorm().run(case.ctx, case.module)
    layers = [op for op in case.module.walk() if isinstance(op, nn.ConvOp)]
    text = str(case.module)
    counts = ShrinkChannels().run(case.ctx, case.module)
    if is_read_whole(case.module):
        assert str(case.module) == text, counts
    assert len(layers) == len(
        [op for op in case.module.walk() if isinstance(op, nn.ConvOp)]
    )


def is_read_whole(module: ModuleOp) -> bool:
    """Whether nobody drops channels or whole tensors, and numbers do not arise."""
    return all(
        not isinstance(op, nn.SliceOp | nn.UnaryOp | nn.ReduceOp)
        and all(result.first_use for result in op.results)
        for op in module.walk()
    )


@given(st.integers(1, 30), st.data())
def test_connected_numbers_have_one_label(count: int, data: st.DataObject) -> None:
    number = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(number, number), max_size=40))
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    found = lowest_connected(count, pairs[:, 0], pairs[:, 1]).tolist()
    # The slow way: spread the lower label along each edge until nothing changes.
    label = list(range(count))
    for _ in range(count):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    assert found == label


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_reshaped_channels_are_where_the_axis_says(
    old: list[int], data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(old) - 1))
    size = int(np.prod(old))
    new: list[int] = []
    while (rest := size // int(np.prod(new))) > 1 and len(new) < 4:
        divisors = [n for n in range(1, rest + 1) if rest % n == 0]
        new.append(data.draw(st.sampled_from(divisors)))
    new.append(rest)
    found = reshaped_axis(tuple(old), axis, tuple(new))
    channel = np.indices(old)[axis].reshape(new)
    if found is None:
        return
    rows = np.moveaxis(channel, found, 0).reshape(new[found], -1)
    if new[found] >= old[axis]:
        repeat = new[found] // old[axis]
        expected = np.arange(new[found]) // repeat
        assert (rows == expected[:, None]).all()
    else:
        repeat = old[axis] // new[found]
        expected = np.arange(new[found])
        assert (rows // repeat == expected[:, None]).all()


@given(nn_modules(max_steps=8, spatial_ranks=(1, 2, 3)))
def test_arguments_and_results_are_fixed(case: Case) -> None:
    channels = analyse(case.module)
    for op in case.module.walk():
        if op.name == "func.return":
            for value in op.operands:
                if value in channels.axes:
                    assert channels.is_fixed[channels.of(value)].all()


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_blocks_are_filled_where_that_costs_least(
    rows: int, kinds: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    used = (rng.random((kinds, 6)) < 0.4)[rng.integers(0, kinds, rows)]
    live = rng.random(rows) < rng.random()
    more = padding_rows(used, live)
    assert not live[more].any()
    found = cost_of_rows(used, live, more)
    for block in (1, 2, 4, 8):
        assert found <= cost_of_rows(used, live, filled(used, live, block)) + 1e-9


def filled(used: np.ndarray, live: np.ndarray, block: int) -> np.ndarray:
    """The slow way to fill blocks of one size."""
    more: list[int] = []
    for row in np.unique(used, axis=0):
        same = np.flatnonzero((used == row).all(axis=1))
        alive = int(live[same].sum())
        wanted = min(len(same), -(-alive // block) * block) - alive
        more += [number for number in same.tolist() if not live[number]][:wanted]
    return np.array(more, np.int64)


def cost_of_rows(used: np.ndarray, live: np.ndarray, more: np.ndarray) -> float:
    """What the cheapest blocks of these rows cost."""
    kept = live.copy()
    kept[more] = True
    best = np.inf
    for block in (8, 4, 2, 1):
        total = 0.0
        for row in np.unique(used, axis=0):
            count = int(kept[(used == row).all(axis=1)].sum())
            total += count * int(row.sum()) * COLUMN_COST[math.gcd(count, block)]
        best = min(best, total)
    return best
