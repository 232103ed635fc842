"""Choosing kernels: same numbers, every layer has one, the prediction decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.context import EdgecContext
from edgec.dialects import nn, sq
from edgec.errors import InvalidInput, PassFailed
from edgec.kernels.cost import Registers
from edgec.kernels.linear.columns import MIN_BLOCK
from edgec.passes.analysis.choices import choose
from edgec.passes.analysis.predict import predict_conv, predict_linear
from edgec.passes.base import run_pass
from edgec.passes.choose_kernel import ChooseKernel
from edgec.testing import Case, assert_pass_preserves, nn_modules, op_case
from tests.effort import examples
from tests.prepared import STEPS, prune, run_before_choice

L1_BYTES = 32768
EXACT = 1 + 1e-12
"""Sums in another order."""

Layer = sq.ConvOp | sq.LinearOp


def is_depthwise(op: sq.ConvOp) -> bool:
    groups = op.groups.value.data
    return groups > 1 and nn.shape_of(op.input)[1] == groups


def families_of(layer: Layer) -> set[str]:
    """The sparse families that can run the layer."""
    if not isinstance(layer.weight.owner, sq.WeightOp):
        return set()
    encoding = layer.weight.owner.encoding
    if isinstance(encoding, sq.PatternAttr):
        return {"pattern"}
    assert isinstance(encoding, sq.ColumnsAttr)
    if isinstance(layer, sq.ConvOp):
        is_flat = len(nn.shape_of(layer.weight)) == 4 and layer.groups.value.data == 1
        has_pattern = is_flat and encoding.block_size == 1
        return {"columns", *(["pattern"] if has_pattern else [])}
    few = encoding.block_size >= MIN_BLOCK and not encoding.is_reordered
    return {"conv", *(["columns"] if few else [])}


def layers(module: ModuleOp) -> list[Layer]:
    return [op for op in module.walk() if isinstance(op, Layer)]


modules = nn_modules(steps=STEPS, max_steps=6, max_batch=2, spatial_ranks=(2, 3))


@examples(40)
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
    alone: dict[Layer, tuple[str, ...]] = {}
    together: dict[Layer, tuple[str, ...]] = {}
    encoded = 0
    for op in layers(case.module):
        encoded += isinstance(op.weight.owner, sq.WeightOp)
        if isinstance(op, sq.LinearOp):
            cost = predict_linear(op, Registers(lanes, count))
        elif is_depthwise(op):
            alone[op] = together[op] = ("depthwise",)
            continue
        else:
            cost = predict_conv(op, Registers(lanes, count), L1_BYTES)
        sparse = families_of(op)
        assert set(cost) == {"dense", *sparse}
        allowed = {"sparse": sparse or {"dense"}, "dense": {"dense"}, None: set(cost)}
        best = min(sorted(allowed[force]), key=lambda name: cost[name])
        alone[op] = (best,)
        together[op] = tuple(sorted(allowed[force]))
    machine_of = (case.module, Registers(lanes, count), L1_BYTES)
    choices = choose(*machine_of, lambda op: together[op])
    assert choices.cycles <= choose(*machine_of, lambda op: alone[op]).cycles * EXACT
    expected = [choices.families[op] for op in layers(case.module)]
    pass_ = ChooseKernel(lanes=lanes, registers=count, l1_bytes=L1_BYTES, force=force)
    result = assert_pass_preserves(pass_, *case, rtol=0, idempotent=True)
    after = layers(result.module)
    found = ["dense" if op.kernel is None else op.kernel.family.data for op in after]
    assert found == expected
    convs = [f for op, f in zip(after, found, strict=True) if isinstance(op, sq.ConvOp)]
    for family in ("dense", "depthwise", "pattern", "columns"):
        assert result.statistics[family] == convs.count(family)
    is_dense = [family in ("dense", "depthwise") for family in found]
    assert result.statistics["decoded"] == encoded - is_dense.count(False)
    for op, dense in zip(after, is_dense, strict=True):
        assert isinstance(op.weight.owner, sq.WeightOp) != dense


def test_ranks_without_a_kernel_are_all_named() -> None:
    """1-D convolutions, where canonicalize-nn did not run."""
    names = ("stride", "padding_low", "padding_high", "dilation")
    properties = {name: nn.int_array([int("pad" not in name)]) for name in names}
    properties = {**properties, "groups": nn.int_attr(1)}

    def build(x: SSAValue, w: SSAValue) -> sq.ConvOp:
        return sq.ConvOp(x, w, None, (), properties, (), nn.like(x, (1, 3, 3)))

    x, w = np.zeros((1, 2, 4), np.float32), np.zeros((3, 2, 2), np.float32)
    case = op_case(build, x, w)
    with pytest.raises(PassFailed, match=r"rank 4 or 5.* found sq.conv \(weight 3x2x2"):
        run_pass(ChooseKernel(), case.ctx, case.module)


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
