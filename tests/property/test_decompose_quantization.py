"""Quantizing: as torch does it, and the same in float32 arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import FuncOp, ReturnOp

from edgec.context import EdgecContext
from edgec.dialects import nn, sq
from edgec.interpreter import interpret
from edgec.interpreter.arrays import AnyArray
from edgec.passes.decompose_quantization import DecomposeQuantization
from edgec.testing import Case, assert_pass_preserves
from edgec.testing.cases import type_of_array
from tests.quantized import OPS, RANGES

DTYPES = {torch.int8: "i8", torch.uint8: "ui8"}


@st.composite
def quantizers(draw: st.DrawFn) -> tuple[torch.dtype, tuple[int, int]]:
    dtype = draw(st.sampled_from(sorted(DTYPES, key=str)))
    return dtype, draw(st.sampled_from(RANGES[dtype]))


scales = st.floats(1e-6, 1e6) | st.sampled_from([2.0**-k for k in range(9)])


@st.composite
def values(draw: st.DrawFn, step: float) -> AnyArray:
    """Numbers of some shape, of which many lie in the middle between two steps."""
    shape = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    x = rng.uniform(-400, 400, shape)
    halves = np.floor(x) + 0.5
    kind = rng.integers(0, 3, shape)
    return (np.select([kind == 0, kind == 1], [x, halves], x / 300) * step).astype(
        np.float32
    )


def roundtrip(x: AnyArray, *types: sq.QuantType) -> Case:
    """Quantize to the first type, requantize to the others, dequantize twice."""
    function = FuncOp("main", ([type_of_array(x)], ()))
    block = function.body.block
    ops: list[sq.QuantizeOp | sq.RequantizeOp] = [
        sq.QuantizeOp(block.args[0], types[0])
    ]
    for type_ in types[1:]:
        ops.append(sq.RequantizeOp(ops[-1].result, type_))
    results = [sq.DequantizeOp(ops[-1].result) for _ in range(2)]
    returned = ReturnOp(*(op.result for op in results))
    block.add_ops([*ops, *results, returned])
    function.update_function_type()
    return Case(ModuleOp([function]), EdgecContext(), (x,))


def check(case: Case, expected: torch.Tensor) -> None:
    """The interpreter, before and after the pass, gives torch's bits."""
    found = interpret(case.module, case.inputs, case.ctx)
    assert found[0].tobytes() == expected.contiguous().numpy().tobytes()
    result = assert_pass_preserves(
        DecomposeQuantization(), *case, rtol=0, idempotent=True
    )
    assert result.statistics["shared"] == 1
    assert not any(op.name.startswith("sq.") for op in result.module.walk())
    after = interpret(result.module, case.inputs, case.ctx)
    assert after[1].tobytes() == found[0].tobytes()


@given(st.data(), quantizers(), scales)
def test_per_tensor(
    data: st.DataObject, quantizer: tuple[torch.dtype, tuple[int, int]], scale: float
) -> None:
    dtype, ends = quantizer
    zero_point = data.draw(st.integers(*ends))
    x = data.draw(values(scale))
    args = (scale, zero_point, *ends, dtype)
    expected = OPS.dequantize_per_tensor(
        OPS.quantize_per_tensor(torch.from_numpy(x), *args), *args
    )
    type_ = sq.QuantType.per_tensor(DTYPES[dtype], *ends, scale, zero_point)
    check(roundtrip(x, type_), expected)


@given(st.data(), quantizers())
def test_per_channel(
    data: st.DataObject, quantizer: tuple[torch.dtype, tuple[int, int]]
) -> None:
    dtype, ends = quantizer
    x = data.draw(values(0.1))
    axis = data.draw(st.integers(0, x.ndim - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    scale = rng.uniform(0.01, 1, x.shape[axis]).astype(np.float32)
    zero_point = rng.integers(*ends, x.shape[axis], np.int32)
    numbers = torch.from_numpy(scale), torch.from_numpy(zero_point)
    args = (*numbers, axis, *ends, dtype)
    expected = OPS.dequantize_per_channel(
        OPS.quantize_per_channel(torch.from_numpy(x), *args), *args
    )
    type_ = sq.QuantType.per_axis(DTYPES[dtype], *ends, ("s", "z"), axis)
    case = roundtrip(x, type_)
    case.ctx.weights.add("s", scale)
    case.ctx.weights.add("z", zero_point)
    check(case, expected)


@given(st.data(), st.integers(1, 4), st.integers(1, 3), st.integers(2, 5))
def test_constants_in_groups(
    data: st.DataObject, rows: int, groups: int, size: int
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    q = rng.integers(-8, 8, (rows, groups * size)).astype(np.int8)
    scale = rng.uniform(0.01, 1, (rows, groups)).astype(np.float32)
    zero_point = rng.integers(-8, 8, (rows, groups), np.int32)
    expected = OPS.dequantize_per_channel_group(
        *map(torch.from_numpy, (q, scale, zero_point)),
        *(-8, 7, torch.int8, size, torch.float32),
    )
    type_ = sq.QuantType.per_axis("i8", -8, 7, ("s", "z"), 0, size)
    ctx = EdgecContext()
    for name, array in (("q", q), ("s", scale), ("z", zero_point)):
        ctx.weights.add(name, array)
    constant = nn.ConstantOp("q", TensorType(type_, q.shape))
    op = sq.DequantizeOp(constant.result)
    function = FuncOp("main", ((), [op.result.type]))
    function.body.block.add_ops([constant, op, ReturnOp(op.result)])
    module = ModuleOp([function])
    result = assert_pass_preserves(
        DecomposeQuantization(), module, ctx, (), rtol=0, idempotent=True
    )
    assert result.statistics["constants"] == 1
    found = interpret(result.module, (), ctx)[0]
    assert found.tobytes() == expected.numpy().tobytes()


@given(st.data(), quantizers(), quantizers())
def test_requantize(
    data: st.DataObject,
    first: tuple[torch.dtype, tuple[int, int]],
    second: tuple[torch.dtype, tuple[int, int]],
) -> None:
    scales_of = [data.draw(st.floats(0.01, 1)) for _ in range(2)]
    x = data.draw(values(scales_of[0]))
    expected, types = torch.from_numpy(x), list[sq.QuantType]()
    for (dtype, ends), scale in zip((first, second), scales_of, strict=True):
        zero_point = data.draw(st.integers(*ends))
        args = (scale, zero_point, *ends, dtype)
        expected = OPS.dequantize_per_tensor(
            OPS.quantize_per_tensor(expected, *args), *args
        )
        types.append(sq.QuantType.per_tensor(DTYPES[dtype], *ends, scale, zero_point))
    check(roundtrip(x, *types), expected)


@given(st.data(), st.sampled_from(sq.KINDS), quantizers())
def test_scales_at_run_time(
    data: st.DataObject, kind: str, quantizer: tuple[torch.dtype, tuple[int, int]]
) -> None:
    dtype, ends = quantizer
    x = data.draw(values(0.01)) + np.float32(data.draw(st.integers(-9, 9)))
    function = FuncOp("main", ([type_of_array(x)], ()))
    block = function.body.block
    type_ = sq.QuantType.dynamic(DTYPES[dtype], *ends)
    choice = sq.ChooseQparamsOp(block.args[0], kind, ends, 1e-5)
    q = sq.QuantizeDynamicOp(block.args[0], choice.scale, choice.zero_point, type_)
    y = sq.DequantizeDynamicOp(q.result, choice.scale, choice.zero_point)
    block.add_ops([choice, q, y, ReturnOp(y.result, *choice.results)])
    function.update_function_type()
    case = Case(ModuleOp([function]), EdgecContext(), (x,))
    result = assert_pass_preserves(
        DecomposeQuantization(), *case, rtol=0, idempotent=True
    )
    assert result.statistics == {"pairs": 1, "constants": 0, "shared": 0, "choices": 1}
    assert not any(op.name.startswith("sq.") for op in result.module.walk())
