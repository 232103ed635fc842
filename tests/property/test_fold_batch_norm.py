"""Folding batch norms: same numbers, no norm left, pruned weights stay pruned."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import nn
from edgec.passes import FoldBatchNorm
from edgec.passes.constants import read_constant
from edgec.passes.fold_batch_norm import scale_transposed
from edgec.testing import Case, assert_pass_preserves, nn_modules

NORMS = ("conv", "conv_transpose", "linear", "batch_norm", "block", "activation")


@given(nn_modules(steps=NORMS, spatial_ranks=(1, 2, 3)))
def test_same_numbers_and_no_norm_left(case: Case) -> None:
    norms = sum(isinstance(op, nn.BatchNormOp) for op in case.module.walk())
    result = assert_pass_preserves(FoldBatchNorm(), *case, rtol=1e-5, idempotent=True)
    assert not any(isinstance(op, nn.BatchNormOp) for op in result.module.walk())
    assert sum(result.statistics.values()) == norms


@given(nn_modules(steps=("conv", "batch_norm"), max_steps=3), st.integers(0, 9))
def test_pruned_weights_stay_pruned(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name, weight in list(case.ctx.weights.items()):
        if weight.ndim == 4:
            pruned = np.where(rng.random(weight.shape) < 0.5, weight, np.float32(0))
            case.ctx.weights.discard(name)
            case.ctx.weights.add(name, pruned)
    before = zeros_of_convs(case)
    result = assert_pass_preserves(FoldBatchNorm(), *case, rtol=1e-5)
    assert zeros_of_convs(case._replace(module=result.module)) == before


def zeros_of_convs(case: Case) -> list[int]:
    counts: list[int] = []
    for op in case.module.walk():
        if isinstance(op, nn.ConvOp):
            weight = read_constant(op.weight, case.ctx.weights)
            assert weight is not None
            counts.append(int((weight == 0).sum()))
    return counts


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_transposed_filters_are_found_by_group(g: int, c: int, f: int) -> None:
    weight = np.ones((g * c, f, 2), np.float32)
    factor = np.arange(g * f, dtype=np.float64)
    scaled = scale_transposed(weight, factor, g)
    for channel in range(g * c):
        for filter_ in range(f):
            assert (
                scaled[channel, filter_] == factor[channel // c * f + filter_]
            ).all()
