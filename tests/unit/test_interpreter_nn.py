"""Every `nn` op on elements, rows or shapes means what torch's function computes."""

# torch's functions, and the lambdas that are compared with them, are untyped.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from xdsl.dialects.builtin import (
    f32,
    i1,
    i64,
)

from edgec.dialects import nn
from edgec.interpreter import interpret
from edgec.testing import op_case

Array = npt.NDArray[Any]
Build = Callable[..., nn.NNOperation]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def run(build: Build, *inputs: Array) -> Array:
    case = op_case(build, *inputs)
    (result,) = interpret(case.module, case.inputs, case.ctx)
    return result


def check(build: Build, torch_function: Callable[..., Any], *inputs: Array) -> None:
    """Results agree with torch's to float32 precision, and exactly for integers."""
    expected = torch_function(*(torch.from_numpy(x) for x in inputs)).numpy()
    found = run(build, *inputs)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if found.dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(5,), (2, 5), (3, 1, 5)])
def test_linear(shape: tuple[int, ...]) -> None:
    arrays = normal(*shape), normal(7, 5, seed=1), normal(7, seed=2)
    check(nn.LinearOp, F.linear, *arrays)
    check(nn.LinearOp, F.linear, *arrays[:2])


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [((3, 4), (4, 5)), ((2, 1, 3, 4), (6, 4, 2)), ((2, 3, 1), (2, 1, 3))],
)
def test_matmul(lhs: tuple[int, ...], rhs: tuple[int, ...]) -> None:
    check(nn.MatmulOp, torch.matmul, normal(*lhs), normal(*rhs, seed=1))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (1, 3, 4, 5), (2, 3, 2, 3, 1)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    scale, shift, mean = (normal(3, seed=seed) for seed in (1, 2, 3))
    check(
        lambda *args: nn.BatchNormOp(*args, eps=1e-3),
        lambda x, a, b, m, v: F.batch_norm(x, m, v, a, b, eps=1e-3),
        normal(*shape),
        scale,
        shift,
        mean,
        normal(3, seed=4) ** 2,
    )


@pytest.mark.parametrize("rank", [1, 2])
def test_layer_norm(rank: int) -> None:
    shape = (2, 3, 4, 5)
    check(
        lambda x, a, b: nn.LayerNormOp(x, a, b, 1e-5, rank),
        lambda x, a, b: F.layer_norm(x, shape[-rank:], a, b, 1e-5),
        normal(*shape),
        normal(*shape[-rank:], seed=1),
        normal(*shape[-rank:], seed=2),
    )


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    check(
        lambda x, a, b: nn.GroupNormOp(x, a, b, 1e-5, groups),
        lambda x, a, b: F.group_norm(x, groups, a, b, 1e-5),
        normal(2, 6, 3, 5),
        normal(6, seed=1),
        normal(6, seed=2),
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("log", [False, True])
def test_softmax(axis: int, *, log: bool) -> None:
    check(
        lambda x: nn.SoftmaxOp(x, axis, log=log),
        lambda x: (F.log_softmax if log else F.softmax)(x, dim=axis),
        normal(2, 3, 5) * 40,
    )


UNARY: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "neg": (torch.neg, ()),
    "abs": (torch.abs, ()),
    "sqrt": (torch.sqrt, ()),
    "rsqrt": (torch.rsqrt, ()),
    "reciprocal": (torch.reciprocal, ()),
    "exp": (torch.exp, ()),
    "log": (torch.log, ()),
    "sin": (torch.sin, ()),
    "cos": (torch.cos, ()),
    "floor": (torch.floor, ()),
    "ceil": (torch.ceil, ()),
    "round": (torch.round, ()),
    "sign": (torch.sign, ()),
    "erf": (torch.erf, ()),
    "relu": (F.relu, ()),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), (0.2,)),
    "elu": (F.selu, (1.6732632423543772, 1.0507009873554805, 1.0)),
    "silu": (F.silu, ()),
    "gelu": (F.gelu, ()),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), ()),
    "hardswish": (F.hardswish, ()),
    "hardsigmoid": (F.hardsigmoid, ()),
    "sigmoid": (F.sigmoid, ()),
    "tanh": (F.tanh, ()),
    "softplus": (lambda x: F.softplus(x, 2.0, 3.0), (2.0, 3.0)),
    "clamp": (lambda x: torch.clamp(x, -0.5, 1.25), (-0.5, 1.25)),
    "mish": (F.mish, ()),
}


@pytest.mark.parametrize("kind", [kind.value for kind in nn.UnaryKind])
def test_unary(kind: str) -> None:
    function, params = UNARY[kind]
    corners = [-90, -3, -2.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, 3, 90, np.inf, np.nan]
    if kind == "gelu":
        corners.remove(np.inf)  # torch gives nan there, the limit is inf
    x = np.append(normal(40) * 3, np.array(corners, np.float32)).astype(np.float32)
    check(lambda value: nn.UnaryOp(kind, value, params), function, x)


BINARY: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "min": torch.minimum,
    "max": torch.maximum,
    "pow": torch.pow,
    "prelu": lambda x, slope: torch.where(x > 0, x, x * slope),
}


@pytest.mark.parametrize("kind", [kind.value for kind in nn.BinaryKind])
@pytest.mark.parametrize(
    ("lhs", "rhs"), [((2, 3, 4), (2, 3, 4)), ((2, 1, 4), (3, 1)), ((1,), (5, 2))]
)
def test_binary(kind: str, lhs: tuple[int, ...], rhs: tuple[int, ...]) -> None:
    check(
        lambda a, b: nn.BinaryOp(kind, a, b),
        BINARY[kind],
        normal(*lhs),
        normal(*rhs, seed=1),
    )


def test_binary_on_integers() -> None:
    a, b = np.array([7, -3, 2**40]), np.array([2, 5, 1])
    check(lambda x, y: nn.BinaryOp("mul", x, y), torch.mul, a, b)


REDUCE: dict[str, Callable[..., Any]] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}


@pytest.mark.parametrize("keep_dims", [False, True])
@pytest.mark.parametrize("axes", [(1,), (0, 2), (2, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("kind", sorted(REDUCE))
def test_reduce(kind: str, axes: tuple[int, ...], *, keep_dims: bool) -> None:
    check(
        lambda x: nn.ReduceOp(kind, x, axes, keep_dims=keep_dims),
        lambda x: REDUCE[kind](x, dim=axes, keepdim=keep_dims),
        normal(2, 3, 4, 5),
    )


@pytest.mark.parametrize("keep_dims", [False, True])
@pytest.mark.parametrize("kind", ["prod", "argmax", "argmin"])
def test_reduce_along_one_axis(kind: str, *, keep_dims: bool) -> None:
    check(
        lambda x: nn.ReduceOp(kind, x, (1,), keep_dims=keep_dims),
        lambda x: getattr(torch, kind)(x, 1, keepdim=keep_dims),
        normal(3, 4, 5),
    )


def test_argmax_takes_the_first_of_equals() -> None:
    x = np.array([[1, 3, 3], [2, 2, 2]], np.float32)
    found = run(lambda v: nn.ReduceOp("argmax", v, (1,), keep_dims=False), x)
    assert found.tolist() == [1, 0]


def test_reshape_and_transpose() -> None:
    x = normal(2, 3, 4)
    check(lambda v: nn.ReshapeOp(v, (4, 6)), lambda v: v.reshape(4, 6), x)
    check(lambda v: nn.TransposeOp(v, (2, 0, 1)), lambda v: v.permute(2, 0, 1), x)


def test_concat() -> None:
    check(
        lambda *args: nn.ConcatOp(args, 1),
        lambda *args: torch.cat(args, 1),
        normal(2, 3, 4),
        normal(2, 1, 4, seed=1),
        normal(2, 5, 4, seed=2),
    )


def test_slice() -> None:
    check(
        lambda x: nn.SliceOp(x, (1, 0, 2), (2, 3, 2), (1, 1, 3)),
        lambda x: x[1:3, :, 2:6:3],
        normal(4, 3, 7),
    )


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("constant", "constant"), ("reflect", "reflect"), ("replicate", "replicate")],
)
def test_pad(kind: str, mode: str) -> None:
    options = {"value": -1.5} if kind == "constant" else {}
    check(
        lambda x: nn.PadOp(kind, x, (0, 0, 1, 2), (0, 0, 3, 0), -1.5),
        lambda x: F.pad(x, (2, 0, 1, 3), mode=mode, **options),
        normal(1, 2, 4, 5),
    )


def test_pad_crops_by_negative_entries() -> None:
    check(
        lambda x: nn.PadOp("constant", x, (-1, 2), (1, -2), 7.0),
        lambda x: F.pad(x, (2, -2, -1, 1), value=7.0),
        normal(3, 5),
    )


def test_broadcast() -> None:
    check(
        lambda x: nn.BroadcastOp(x, (4, 2, 3)),
        lambda x: x.expand(4, 2, 3),
        normal(2, 1),
    )


def test_cast() -> None:
    x = np.array([-2.7, -0.5, 0, 0.5, 3.9], np.float32)
    check(lambda v: nn.CastOp(v, i64), lambda v: v.to(torch.int64), x)
    check(lambda v: nn.CastOp(v, i1), lambda v: v.to(torch.bool), x)
    check(lambda v: nn.CastOp(v, f32), lambda v: v.float(), np.array([3, -(2**30)]))
