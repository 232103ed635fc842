"""Passes on quantized networks: the same numbers, in bytes where there are kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from edgec.context import EdgecContext
from edgec.dialects import nn, sq
from edgec.interpreter import interpret
from edgec.kernels.conv.quad_columns import count_columns, count_wide_columns
from edgec.kernels.conv.quads import quad_columns
from edgec.passes.fuse import Fuse
from edgec.passes.integer_layers import IntegerLayers
from edgec.passes.propagate_quantization import PropagateQuantization
from edgec.testing import Case, assert_pass_preserves
from edgec.testing.cases import type_of_array

MOVES = ("slice", "reshape", "concat", "flat", "relu")


def moved(move: str, value: SSAValue, add: Callable[[Operation], SSAValue]) -> SSAValue:
    """One op that propagate-quantization may look through, or not."""
    shape = nn.shape_of(value)
    if move == "slice":
        size = (*shape[:2], -(-shape[2] // 2), shape[3])
        return add(nn.SliceOp(value, (0,) * 4, size, (1, 1, 2, 1)))
    if move == "reshape":
        return add(nn.ReshapeOp(value, (*shape[:2], 1, shape[2] * shape[3])))
    if move == "concat":
        return add(nn.ConcatOp([value, value], 1))
    if move == "flat":
        value = add(nn.ReshapeOp(value, (shape[0], shape[1] * shape[2], shape[3])))
        return add(nn.ReshapeOp(value, shape))
    return add(nn.UnaryOp("relu", value))


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Ops between dequantize and quantize, then a convolution with a stored weight."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    channels, filters = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    x = rng.standard_normal((2, channels, 6, 4)).astype(np.float32)
    function, ctx = FuncOp("main", ([type_of_array(x)], ())), EdgecContext()
    block = function.body.block

    def add(op: Operation) -> SSAValue:
        block.add_op(op)
        return op.results[0]

    storage, offset = draw(st.sampled_from([("ui8", 0), ("i8", -128)]))
    type_ = sq.QuantType.per_tensor(storage, offset, offset + 255, 0.03, offset + 90)
    value = add(sq.DequantizeOp(add(sq.QuantizeOp(block.args[0], type_))))
    for move in draw(st.lists(st.sampled_from(MOVES), max_size=3)):
        value = moved(move, value, add)
    if draw(st.booleans()):
        value = add(sq.DequantizeOp(add(sq.QuantizeOp(value, type_))))
    count = nn.shape_of(value)[1]
    w = rng.integers(-127, 128, (filters, count, 1, 1)).astype(np.int8)
    ctx.weights.add("w", w)
    ctx.weights.add("s", rng.uniform(0.01, 0.1, filters).astype(np.float32))
    zero_point = np.zeros(filters, np.int32)
    zero_point[:1] = draw(st.sampled_from([0, 0, 0, 5]))
    ctx.weights.add("z", zero_point)
    stored = sq.QuantType.per_axis("i8", -127, 127, ("s", "z"), 0)
    weight = add(nn.ConstantOp("w", TensorType(stored, w.shape)))
    conv = nn.ConvOp(
        value,
        add(sq.DequantizeOp(weight)),
        stride=(1, 1),
        padding_low=(0, 0),
        padding_high=(0, 0),
        dilation=(1, 1),
    )
    y = add(nn.UnaryOp("relu", add(conv)))
    target = sq.QuantType.per_tensor("ui8", 0, 255, 0.5, 3)
    y = add(sq.DequantizeOp(add(sq.QuantizeOp(y, target))))
    block.add_op(ReturnOp(y))
    function.update_function_type()
    return Case(ModuleOp([function]), ctx, (x,))


@given(networks())
def test_propagate_is_exact(case: Case) -> None:
    result = assert_pass_preserves(
        PropagateQuantization(), *case, rtol=0, idempotent=True
    )
    for op in result.module.walk():
        if isinstance(op, sq.QuantizeOp) and isinstance(
            op.input.owner, sq.DequantizeOp
        ):
            assert sq.quant_type(op.result) != sq.quant_type(op.input.owner.input)


@given(networks())
def test_layers_round_otherwise_at_most(case: Case) -> None:
    """A byte may be the next one, where a sum lies in the middle between two."""
    before = interpret(case.module, case.inputs, case.ctx)[0]
    module = case.module.clone()
    PropagateQuantization().run(case.ctx, module)
    counts = IntegerLayers().run(case.ctx, module)
    module.verify()
    assert counts["integers"] + counts["floats"] == 1
    is_taken = counts["integers"] == 1
    convs = [op for op in module.walk() if isinstance(op, sq.ConvOp)]
    assert len(convs) == is_taken
    Fuse().run(case.ctx, module)
    module.verify()
    convs = [op for op in module.walk() if isinstance(op, sq.ConvOp)]
    assert all(nn.tensor_type(op.result).element_type != f32 for op in convs) or (
        not is_taken
    )
    after = interpret(module, case.inputs, case.ctx)[0]
    steps = np.abs(after - before) / 0.5
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.05


@given(networks())
def test_without_integers_the_numbers_are_the_same(case: Case) -> None:
    result = assert_pass_preserves(
        IntegerLayers(never=True), *case, rtol=0, idempotent=True
    )
    assert {k for k, count in result.statistics.items() if count} == {"floats"}
    assert result.statistics["floats"] == 1


@given(
    st.integers(1, 19),
    st.integers(1, 9),
    st.integers(1, 3),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 999),
)
def test_columns_are_counted_as_they_are_packed(
    filters: int, channels: int, taps: int, density: float, bounded: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (filters, channels, taps, 1)).astype(np.int8)
    w *= rng.random(w.shape) < density
    counts = count_columns(w, (4, 8, 12))
    twice = count_wide_columns(w, (4, 8, 12)) if bounded else {}
    whole = -(-filters // 4) * 4
    for block, count in counts.items():
        slots, wide = quad_columns(w, whole, block, bounded=bounded)
        assert count + twice.get(block, 0) == slots.num_columns
        assert 2 * twice.get(block, 0) == (slots.offset[1:] - wide).sum()
