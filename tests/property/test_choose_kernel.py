"""Choosing kernels: same numbers, every layer has one, the prediction decides."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from edgec.context import EdgecContext
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput
from edgec.kernels.cost import Registers
from edgec.passes.base import run_pass
from edgec.passes.choose_kernel import ChooseKernel, predict
from edgec.testing import Case, assert_pass_preserves, nn_modules
from tests.prepared import STEPS, prune, run_before_choice

L1_BYTES = 32768


def convolutions(case: Case) -> list[sq.ConvOp]:
    return [op for op in case.module.walk() if isinstance(op, sq.ConvOp)]


def is_depthwise(op: sq.ConvOp) -> bool:
    groups = op.groups.value.data
    return groups > 1 and nn.shape_of(op.input)[1] == groups


def has_sparse_kernel(op: sq.ConvOp) -> bool:
    is_encoded = isinstance(op.weight.owner, sq.WeightOp)
    return is_encoded and op.groups.value.data == 1


modules = nn_modules(steps=STEPS, max_steps=6, max_batch=2)


@settings(max_examples=40)
@given(
    modules,
    st.integers(0, 99),
    st.sampled_from([None, "sparse", "dense"]),
    st.sampled_from([(4, 16), (8, 16), (16, 32)]),
)
def test_the_prediction_decides(
    case: Case, seed: int, force: str | None, machine: tuple[int, int]
) -> None:
    prune(case, seed)
    run_before_choice(case)
    lanes, count = machine
    expected: list[str] = []
    encoded = 0
    for op in convolutions(case):
        encoded += isinstance(op.weight.owner, sq.WeightOp)
        cost = predict(op, Registers(lanes, count), L1_BYTES)
        assert (cost.sparse is not None) == has_sparse_kernel(op)
        wins = {"sparse": True, "dense": False, None: cost.is_sparse_faster}[force]
        is_sparse = has_sparse_kernel(op) and wins
        expected.append(
            "depthwise" if is_depthwise(op) else "pattern" if is_sparse else "dense"
        )
    pass_ = ChooseKernel(lanes=lanes, registers=count, l1_bytes=L1_BYTES, force=force)
    result = assert_pass_preserves(pass_, *case, rtol=0, idempotent=True)
    after = convolutions(case._replace(module=result.module))
    found = [op.kernel.family.data for op in after if op.kernel is not None]
    assert found == expected
    families = ("dense", "depthwise", "pattern")
    assert [result.statistics[f] for f in families] == [
        found.count(f) for f in families
    ]
    assert result.statistics["decoded"] == encoded - found.count("pattern")
    for op, family in zip(after, found, strict=True):
        assert isinstance(op.weight.owner, sq.WeightOp) == (family == "pattern")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ChooseKernel(force="fast"), "must be 'sparse' or 'dense', got 'fast'"),
        (ChooseKernel(lanes=5), r"lanes must be one of \[4, 8, 16\], got 5"),
        (ChooseKernel(registers=2), "registers must be at least 8, got 2"),
    ],
)
def test_options_that_fit_no_machine(options: ChooseKernel, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        run_pass(options, EdgecContext(), ModuleOp([]))
