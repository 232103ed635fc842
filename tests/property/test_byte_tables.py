"""Tables of 256 bytes: of which chains there is one, and looking up in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from xdsl.dialects.builtin import ModuleOp, TensorType, f32, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, SSAValue

from edgec.codegen.host import host_features
from edgec.codegen.intrinsics.lookup_bytes import (
    Loads,
    Permutes,
    Rows,
    byte_lookup_for,
)
from edgec.context import EdgecContext, WeightStore
from edgec.dialects import nn, sq
from edgec.dialects.lane import BYTE_TABLE_LANES, BYTE_VALUES, QUAD, buffer_type
from edgec.errors import PassFailed
from edgec.interpreter import interpret
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.byte_table import byte_table
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.look_up import LookUpBytes
from edgec.kernels.lowering import lower
from edgec.target import Target
from tests.convs import Room, rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in

native = Target.native(host_features())
short = replace(native, name="4 lanes", lanes=4)
targets = pytest.mark.parametrize(
    "target", [*runnable_targets(), short, native], ids=lambda t: t.name
)


@targets
@examples(5)
@given(seed=st.integers(0, 2**32 - 1))
def test_each_byte(target: Target, seed: int) -> None:
    """Of all bytes, in any order and any table."""
    rng, lanes = np.random.default_rng(seed), target.lanes
    table = rng.integers(0, BYTE_VALUES, BYTE_VALUES, np.uint8)
    x = rng.permutation(BYTE_VALUES).astype(np.uint8)
    quads = buffer_type(BYTE_TABLE_LANES, i32)
    b = KernelBuilder("look_up", dict.fromkeys(("x", "table", "y"), quads), lanes=lanes)
    for at in range(0, BYTE_TABLE_LANES, lanes):
        b.store(b.look_up_bytes(b.load("x", at), "table"), "y", at)
    inputs = [array.view("<i4") for array in (x, table)]
    ((found,), (interpreted,)) = run_both(program(b.finish(), 2), inputs, target)
    assert found.view(np.uint8).tolist() == table[x].tolist()
    assert interpreted.view(np.uint8).tolist() == table[x].tolist()
    assert len(x) == QUAD * BYTE_TABLE_LANES


@pytest.mark.parametrize(
    ("name", "lanes", "kind"),
    [
        ("generic", 4, Loads),
        ("x86-64-v3", 4, Rows),
        ("x86-64-v3", 8, Rows),
        ("x86-64-v3", 16, Loads),
        ("x86-64-v4", 16, Rows),
        ("x86-64-v4+vbmi", 16, Permutes),
        ("x86-64-v4+vbmi", 8, Rows),
        ("aarch64", 4, Rows),
    ],
)
def test_which_instruction(name: str, lanes: int, kind: type) -> None:
    assert type(byte_lookup_for(Target.parse(name), lanes)) is kind


shapes = st.one_of(
    *(
        st.tuples(st.integers(1, 3), st.integers(1, 70 if not sizes else 9), *sizes)
        for sizes in (
            (),
            (st.integers(1, 90),),
            (st.integers(1, 5), st.integers(1, 37)),
            (st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
        )
    )
)


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> Layout:
    """With gaps or without, and a result of a caller without slack."""
    if len(shape) < 4 or draw(st.booleans()):
        return plain(shape, draw(st.sampled_from([0, SLACK])))
    room = draw(rooms)
    return spaced(shape, shape[-1] + draw(st.integers(0, 3)), room)


@targets
@examples(12)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_kernel(target: Target, data: st.DataObject, seed: int) -> None:
    shape, rng = data.draw(shapes), np.random.default_rng(seed)
    stored = (shape[0], -(-shape[1] // QUAD), *shape[2:])
    source, result = data.draw(layouts(stored)), data.draw(layouts(stored))
    table = rng.integers(0, BYTE_VALUES, BYTE_VALUES, np.uint8)
    q = rng.integers(0, BYTE_VALUES, shape).astype(np.uint8)
    spec = LookUpBytes(source, result, 9)
    module = program(spec.build("kernel", target.lanes), 2)
    inputs = [quads_in(source, q, 7), table.view("<i4")]
    ((one,), (other,)) = run_both(module, inputs, target)
    for found in (one, other):
        check(result, 9, shape[1], found, quads_in(result, table[q], 9))


def test_gaps_of_both_sides_differ() -> None:
    """Zero points become those of the result, whatever the table says of them."""
    shape, room = (1, 3, 4, 5), Room(1, 16, 16, 0)
    source, result = spaced(shape, 6, room), spaced(shape, 7, room)
    q = np.full((1, 12, 4, 5), 3, np.uint8)
    spec, target = LookUpBytes(source, result, 200), runnable_targets()[-1]
    table = np.full(BYTE_VALUES, 77, np.uint8)
    inputs = [quads_in(source, q, 3), table.view("<i4")]
    ((one,), _) = run_both(program(spec.build("k", target.lanes), 2), inputs, target)
    check(result, 200, 12, one, quads_in(result, np.full_like(q, 77), 200))


# Tables

Unary = Callable[[torch.Tensor], torch.Tensor]
FUNCTIONS: dict[str, tuple[Unary, float, int]] = {
    "sigmoid": (torch.sigmoid, 0.0039, 1),
    "hardswish": (functional.hardswish, 0.031, 12),
    "hardsigmoid": (functional.hardsigmoid, 0.0041, 3),
    "silu": (functional.silu, 0.033, 9),
    "gelu": (functional.gelu, 0.029, 5),
    "tanh": (torch.tanh, 0.0081, 128),
    "mish": (functional.mish, 0.035, 9),
    "exp": (torch.exp, 0.07, 1),
}
"""Function of torch; scale and zero point of the result."""
SOURCE = sq.QuantType.per_tensor("ui8", 0, 255, 0.0517, 131)


@dataclass(frozen=True)
class Chain:
    """A function of bytes and of numbers that is one chain of steps."""

    ctx: EdgecContext
    module: ModuleOp
    op: sq.ElementwiseOp

    @property
    def table(self) -> list[int] | None:
        found = byte_table(self.op, self.ctx.weights)
        return None if found is None else found.tolist()


def chain(
    target: sq.QuantType, steps: list[sq.StepAttr], extras: tuple[str, ...] = ()
) -> Chain:
    """Steps from bytes to bytes on 12 channels; extra operands by name."""
    shape, ctx = (1, 12, 1, 5), EdgecContext()
    types = [TensorType(SOURCE, shape), TensorType(f32, shape)]
    function = FuncOp("main", (types, ()))
    block = function.body.block
    rng = np.random.default_rng(0)
    forms = {
        "one number": np.full((1, 12, 1, 1), 0.3, np.float32),
        "channels": rng.standard_normal((1, 12, 1, 1)).astype(np.float32),
    }
    x, other = block.args
    known: dict[str, SSAValue] = {"input": x, "other": other}
    for name, array in forms.items():
        type_ = TensorType(f32, array.shape)
        constant = nn.ConstantOp(ctx.weights.add(name, array), type_)
        block.add_op(constant)
        known[name] = constant.result
    result = TensorType(target, shape)
    op = sq.ElementwiseOp(x, [known[name] for name in extras], steps, result)
    block.add_ops([op, ReturnOp(op.result)])
    function.update_function_type()
    return Chain(ctx, ModuleOp([function]), op)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_as_torch_and_the_interpreter(name: str) -> None:
    function, scale, zero_point = FUNCTIONS[name]
    target = sq.QuantType.per_tensor("ui8", 1, 250, scale, zero_point)
    made = chain(target, [sq.StepAttr.unary(name, ())])
    x = (torch.arange(BYTE_VALUES) - 131).float() * torch.tensor(0.0517)
    y = torch.round(function(x) * (1 / scale)) + zero_point
    assert made.table is not None
    assert made.table == y.clamp(1, 250).int().tolist()
    assert len(set(made.table)) > 50
    q = np.random.default_rng(0).integers(0, 256, (1, 12, 1, 5)).astype(np.uint8)
    unread = np.zeros(q.shape, np.float32)
    (found,) = interpret(made.module, [q, unread], made.ctx)
    assert found.tolist() == np.array(made.table)[q].tolist()


def test_extra_operands() -> None:
    """The input again and single numbers are functions of a byte, nothing else is."""
    target = sq.QuantType.per_tensor("ui8", 0, 255, 0.9, 11)
    steps = [sq.StepAttr.binary("add", 0), sq.StepAttr.binary("mul", 1)]
    x = (np.arange(BYTE_VALUES, dtype=np.float32) - 131) * np.float32(0.0517)
    y = np.rint((x + np.float32(0.3)) * x * (1 / np.float32(0.9))) + 11
    table = chain(target, steps, ("one number", "input")).table
    assert table == y.clip(0, 255).tolist()
    assert chain(target, steps, ("channels", "input")).table is None
    assert chain(target, steps, ("one number", "other")).table is None


def test_requantizing_what_is_no_byte_is_refused() -> None:
    """Of signed bytes: they have no kernels."""
    signed = sq.QuantType.per_tensor("i8", -128, 127, 0.5, 3)
    (x,) = Block(arg_types=[TensorType(SOURCE, (1, 4))]).args
    with pytest.raises(PassFailed, match="bytes must be unsigned with one scale"):
        lower(sq.RequantizeOp(x, signed), WeightStore(), 8)
