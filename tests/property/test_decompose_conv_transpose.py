"""Transposed convolutions as convolutions: same numbers for all their options."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.dialects.shapes import ShapeError
from edgec.passes.decompose_conv_transpose import (
    DecomposeConvTranspose,
    interleave,
    mirror,
)
from edgec.testing import Case, assert_pass_preserves, nn_modules, op_case


@st.composite
def transposed(draw: st.DrawFn) -> Case:
    """One transposed convolution with weights from a store."""
    rank = draw(st.integers(1, 3))
    groups, c, f = (draw(st.integers(1, 3)) for _ in range(3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride = each(1, 3), each(1, 3)
    if draw(st.booleans()):
        stride = kernel
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal((2, groups * c, *each(1, 4)), np.float32)
    weight = rng.standard_normal((groups * c, f, *kernel), np.float32)
    bias = rng.standard_normal(groups * f, np.float32)
    options = {
        "stride": stride,
        "padding": each(0, 2) if draw(st.booleans()) else (0,) * rank,
        "output_padding": each(0, 2) if draw(st.booleans()) else (0,) * rank,
        "dilation": each(1, 2),
    }

    def build(x: SSAValue, w: SSAValue, b: SSAValue) -> nn.ConvTransposeOp:
        bias = b if groups != 2 else None
        return nn.ConvTransposeOp(x, w, bias, groups=groups, **options)

    try:
        case = op_case(build, x, weight, bias)
    except ShapeError:
        assume(condition=False)
        raise
    return constants_for_arguments(case)


def constants_for_arguments(case: Case) -> Case:
    """The same, with all arguments but the first as named constants."""
    function = case.module.body.block.first_op
    assert function is not None
    block = function.regions[0].block
    for index in range(len(case.inputs) - 1, 0, -1):
        name = case.ctx.weights.add(f"w{index}", case.inputs[index])
        argument = block.args[index]
        constant = nn.ConstantOp(name, argument.type)
        assert block.first_op is not None
        block.insert_op_before(constant, block.first_op)
        argument.replace_all_uses_with(constant.result)
        block.erase_arg(argument)
    assert isinstance(function, FuncOp)
    function.update_function_type()
    return case._replace(inputs=case.inputs[:1])


@given(transposed())
def test_same_numbers(case: Case) -> None:
    result = assert_pass_preserves(
        DecomposeConvTranspose(), *case, rtol=1e-6, idempotent=True
    )
    assert sum(result.statistics.values()) == 1
    left = [op for op in result.module.walk() if isinstance(op, nn.ConvTransposeOp)]
    assert not left


TRANSPOSED = ("conv_transpose", "activation", "conv")


@given(nn_modules(steps=TRANSPOSED, spatial_ranks=(1, 2, 3)))
def test_in_graphs(case: Case) -> None:
    assert_pass_preserves(DecomposeConvTranspose(), *case, rtol=1e-5)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_mirror_twice_is_nothing(g: int, c: int, f: int) -> None:
    weight = np.arange(g * c * f * 6.0).reshape(g * c, f, 3, 2)
    assert (mirror(mirror(weight, g), g) == weight).all()


@given(st.integers(1, 3))
def test_interleave_puts_each_tap_behind_its_position(rank: int) -> None:
    axes = interleave(rank)
    assert sorted(axes) == list(range(2 + 2 * rank))
    assert all(
        axes[2 + 2 * i : 4 + 2 * i] == (2 + rank + i, 2 + i) for i in range(rank)
    )
    assert axes[:2] == (0, 1)
