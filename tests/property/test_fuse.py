"""Fusion: same numbers, no elementwise op left, steps counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import nn, sq
from edgec.passes import Fuse
from edgec.passes.analysis.chains import (
    Pointwise,
    Product,
    form_for_conv,
    form_for_linear,
)
from edgec.passes.fuse import Fused
from edgec.testing import Case, assert_pass_preserves, nn_modules

CHAINS = (
    "conv",
    "block",
    "linear",
    "matmul",
    "activation",
    "residual",
    "affine",
    "adaptive_pool",
    "concat",
    "flatten",
)
KINDS = ("conv", "linear", "matmul", "elementwise")


@given(nn_modules(steps=CHAINS, max_steps=9, spatial_ranks=(1, 2, 3)))
def test_same_numbers_in_fewer_ops(case: Case) -> None:
    ops = list(case.module.walk())
    products = sum(isinstance(op, Product) for op in ops)
    pointwise = sum(isinstance(op, Pointwise) for op in ops)
    # Values between ops are rounded to float32 before fusion and not after it.
    result = assert_pass_preserves(Fuse(), *case, rtol=1e-4, idempotent=True)
    counts = result.statistics
    fused = [op for op in result.module.walk() if isinstance(op, Fused)]
    steps = [step for op in fused for step in op.epilogue]
    assert not any(isinstance(op, Product | Pointwise) for op in result.module.walk())
    assert counts["ops_before"] == products + pointwise
    assert counts["ops_after"] == len(fused) >= products
    assert len(steps) == pointwise == sum(counts[f"{k}_steps"] for k in KINDS)


@given(nn_modules(steps=("conv", "linear", "affine", "residual"), max_steps=9))
def test_extras_of_products_have_one_form(case: Case) -> None:
    result = assert_pass_preserves(Fuse(), *case, rtol=1e-4)
    for op in result.module.walk():
        if not isinstance(op, sq.ConvOp | sq.LinearOp):
            continue
        shape = nn.shape_of(op.result)
        for extra in map(nn.shape_of, op.extras):
            if isinstance(op, sq.LinearOp):
                assert extra in (shape, shape[-1:])
            else:
                ones = (1,) * (len(shape) - 2)
                assert extra in (shape, (1, shape[1], *ones), (*shape[:2], *ones))


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=3))
def test_forms_broadcast_to_the_result(shape: list[int]) -> None:
    for form_of, result in (
        (form_for_conv, (2, 3, 2, 1)),
        (form_for_linear, (2, 1, 3)),
    ):
        try:
            fits = np.broadcast_shapes(tuple(shape), result) == result
        except ValueError:
            fits = False
        form = form_of(tuple(shape), result)
        if form is not None:
            assert fits
            assert np.broadcast_shapes(form, result) == result
