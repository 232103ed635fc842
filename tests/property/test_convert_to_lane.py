"""Converting to kernels: the same numbers from the launched program."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects import test
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.parser import Parser

from edgec.context import weights_of
from edgec.dialects import lane, nn, sq
from edgec.errors import PassFailed
from edgec.interpreter import interpret
from edgec.kernels.lowering import find_lowering
from edgec.passes.base import run_pass
from edgec.passes.convert_to_lane import ConvertToLane, bind_weights, weight_uses
from edgec.passes.layout_tuning import LayoutTuning
from edgec.passes.load_redundancy_elimination import LoadRedundancyElimination
from edgec.passes.plan_memory import PlanMemory
from edgec.testing import (
    Case,
    assert_pass_preserves,
    assert_results_close,
    nn_modules,
    op_case,
)
from edgec.tools.opt import EdgecOpt
from tests.effort import examples
from tests.prepared import STEPS, prune, run_choice

RTOL = 2e-4
"""Of the largest magnitude: sums in float32 against float64, over a few layers."""

convolutions = nn_modules(steps=STEPS, max_steps=5, max_batch=2, spatial_ranks=(2, 3))
anything = nn_modules(max_steps=4, max_batch=2, spatial_ranks=(2, 3))
modules = st.one_of(convolutions, convolutions, anything)


def tuned(case: Case, seed: int, lanes: int) -> None:
    """Everything that runs before convert-to-lane."""
    prune(case, seed)
    run_choice(case)
    run_pass(LayoutTuning(lanes=lanes), case.ctx, case.module)


def has_kernels(case: Case) -> bool:
    return all(
        find_lowering(op) is not None
        for op in case.module.walk()
        if isinstance(op, nn.NNOperation) and not isinstance(op, nn.ReshapeOp)
    )


@examples(25)
@given(modules, st.integers(0, 99), st.sampled_from([4, 8, 16]))
def test_same_numbers(case: Case, seed: int, lanes: int) -> None:
    tuned(case, seed, lanes)
    if not has_kernels(case):
        with pytest.raises(PassFailed, match="no kernel for"):
            run_pass(ConvertToLane(lanes=lanes), case.ctx, case.module)
        return
    before = interpret(case.module, case.inputs, case.ctx)
    uses = bind_weights(case.module.clone(), case.ctx, lanes)
    result = assert_pass_preserves(
        ConvertToLane(lanes=lanes), *case, rtol=RTOL, idempotent=True
    )
    ops = list(result.module.walk())
    assert not any(isinstance(op, nn.NNOperation | sq.WeightOp) for op in ops)
    launches = [op for op in ops if isinstance(op, lane.LaunchOp)]
    kernels = {op.sym_name.data for op in ops if isinstance(op, FuncOp)} - {"main"}
    assert result.statistics == {"launches": len(launches), "kernels": len(kernels)}
    assert {op.callee.string_value() for op in launches} == kernels
    functions = [op for op in ops if isinstance(op, FuncOp)]
    main = next(op for op in functions if op.sym_name.data == "main")
    assert weight_uses(main.body.block) == uses, "bind_weights and the pass agree"
    bound = [op.resource.data for op in ops if isinstance(op, lane.WeightsOp)]
    assert bound == list(dict.fromkeys(uses)), "the table is in the order of use"
    # The rest of the pipeline, with as many threads as there may be.
    for pass_ in (LoadRedundancyElimination(), PlanMemory()):
        run_pass(pass_, case.ctx, result.module)
    found = interpret(result.module, case.inputs, case.ctx, threads=3)
    assert_results_close(found, before, rtol=RTOL)


def conv_case(kernel: sq.KernelAttr | None) -> Case:
    """A convolution with a kernel as somebody may have written it."""
    pairs = {
        "stride": nn.int_array([1, 1]),
        "padding_low": nn.int_array([0, 0]),
        "padding_high": nn.int_array([0, 0]),
        "dilation": nn.int_array([1, 1]),
        "groups": nn.int_attr(1),
    }
    x, w = np.zeros((1, 2, 4, 4), np.float32), np.zeros((3, 2, 1, 1), np.float32)

    def build(x: SSAValue, w: SSAValue) -> sq.ConvOp:
        type_ = nn.like(x, (1, 3, 4, 4))
        return sq.ConvOp(x, w, None, (), pairs, (), type_, kernel)

    return op_case(build, x, w)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (None, "has no kernel: run choose-kernel"),
        (sq.KernelAttr.of("winograd", {}), "must be one of .*, got 'winograd'"),
        (sq.KernelAttr.of("dense", {}), r"must have the schedule .*, got \[\]"),
        (
            sq.KernelAttr.of("dense", {"filters": 1, "vectors": 1, "chunk": 1}),
            "weight and bias must be constants",
        ),
    ],
)
def test_convolutions_that_cannot_be_lowered(
    kernel: sq.KernelAttr | None, message: str
) -> None:
    case = conv_case(kernel)
    with pytest.raises(PassFailed, match=message):
        run_pass(ConvertToLane(), case.ctx, case.module)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("", "must have the kernel 'codes', got None"),
        (', kernel = #sq.kernel<"codes">', r"must have the schedule .*, got \[\]"),
    ],
)
def test_linear_layers_on_integers_that_cannot_be_lowered(
    kernel: str, message: str
) -> None:
    quads = "!sq.quant<ui8<0:255>, scale = 0.5, zero_point = 0>"
    signed = "!sq.quant<i8<-127:127>, scale = 0.5, zero_point = 0>"
    text = f"""
    func.func @main(%x: tensor<1x4x{quads}>) -> tensor<1x2xf32> {{
      %w = nn.constant "w" : tensor<2x4x{signed}>
      %y = sq.linear %x, %w {{epilogue = []{kernel}}}
        : tensor<1x4x{quads}>, tensor<2x4x{signed}> -> tensor<1x2xf32>
      func.return %y : tensor<1x2xf32>
    }}"""
    ctx = EdgecOpt([]).ctx
    weights_of(ctx).add("w", np.ones((2, 4), np.int8))
    module = Parser(ctx, text).parse_module()
    with pytest.raises(PassFailed, match=message):
        run_pass(ConvertToLane(), ctx, module)


def test_everything_without_a_kernel_is_named_at_once() -> None:
    case = conv_case(None)
    block = next(op for op in case.module.ops if isinstance(op, FuncOp)).body.block
    first = block.first_op
    assert first is not None
    for op in (test.TestOp([block.args[0]]), test.TestPureOp([block.args[0]])):
        block.insert_op_before(op, first)
    with pytest.raises(PassFailed, match=r"no kernel for test.op, test.pureop;"):
        run_pass(ConvertToLane(), case.ctx, case.module)
