"""Every `nn` op means what torch's function of the same name computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    ModuleOp,
    TensorType,
    f32,
    i1,
    i64,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.errors import InvalidInput
from edgec.interpreter import interpret

Array = npt.NDArray[Any]
Build = Callable[..., nn.NNOperation]

ELEMENTS = {np.dtype(np.float32): f32, np.dtype(np.int64): i64, np.dtype(bool): i1}


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def run(build: Build, *inputs: Array) -> Array:
    """The result of the op that `build` makes of block arguments."""
    types = [TensorType(ELEMENTS[x.dtype], x.shape) for x in inputs]
    function = FuncOp("main", (types, ()))
    op = build(*function.body.block.args)
    function.body.block.add_ops([op, ReturnOp(op)])
    function.update_function_type()
    module = ModuleOp([function])
    module.verify()
    (result,) = interpret(module, inputs, EdgecContext())
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


CONVOLUTIONS = [
    # input, weight, stride, padding, dilation, groups
    ((1, 3, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 9, 7), (6, 2, 3, 2), (2, 1), (1, 0), (1, 2), 2),
    ((3, 5, 6, 5), (5, 1, 3, 3), (1, 2), (2, 1), (2, 1), 5),
    ((1, 2, 1, 1), (3, 2, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 11), (4, 3, 4), (3,), (2,), (2,), 1),
    ((1, 4, 5, 6, 7), (2, 2, 3, 1, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 2),
]


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    ("data", "weight", "stride", "padding", "dilation", "groups"), CONVOLUTIONS
)
def test_conv(
    data: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *,
    has_bias: bool,
) -> None:
    function = [F.conv1d, F.conv2d, F.conv3d][len(data) - 3]
    bias = [normal(weight[0], seed=2)] if has_bias else []
    check(
        lambda *args: nn.ConvOp(
            *args,
            stride=stride,
            padding_low=padding,
            padding_high=padding,
            dilation=dilation,
            groups=groups,
        ),
        lambda *args: function(
            *args, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        normal(*data),
        normal(*weight, seed=1),
        *bias,
    )


def test_conv_pads_each_side_by_its_own_amount() -> None:
    check(
        lambda x, w: nn.ConvOp(
            x,
            w,
            stride=(2, 2),
            padding_low=(0, 1),
            padding_high=(1, 2),
            dilation=(1, 1),
        ),
        lambda x, w: F.conv2d(F.pad(x, (1, 2, 0, 1)), w, stride=2),
        normal(1, 3, 8, 8),
        normal(4, 3, 3, 3, seed=1),
    )


@pytest.mark.parametrize(
    ("data", "weight", "stride", "padding", "extra", "dilation", "groups"),
    [
        ((1, 3, 4, 5), (3, 4, 3, 3), (2, 2), (1, 1), (1, 0), (1, 1), 1),
        ((2, 4, 5, 3), (4, 3, 2, 3), (1, 3), (0, 2), (0, 1), (2, 1), 2),
        ((2, 3, 7), (3, 2, 4), (2,), (1,), (0,), (1,), 1),
        (
            (1, 2, 2, 3, 2),
            (2, 2, 2, 2, 2),
            (2, 1, 2),
            (0, 1, 0),
            (1, 0, 0),
            (1,) * 3,
            1,
        ),
    ],
)
def test_conv_transpose(
    data: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    extra: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> None:
    function = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][
        len(data) - 3
    ]
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "dilation": dilation,
        "groups": groups,
    }
    check(
        lambda *args: nn.ConvTransposeOp(*args, **options),
        lambda *args: function(*args, **options),
        normal(*data),
        normal(*weight, seed=1),
        normal(weight[1] * groups, seed=2),
    )


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
    x = np.append(normal(40) * 3, np.float32(corners)).astype(np.float32)
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


POOLS = [
    # input, kernel, stride, padding, dilation
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((1, 2, 7, 9), (3, 2), (2, 3), (1, 1), (1, 1)),
    ((1, 2, 6, 5), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1, 2, 5), (3, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 2, 10), (3,), (4,), (1,), (1,)),
    ((1, 2, 5, 6, 4), (2, 3, 2), (2, 2, 1), (1, 0, 1), (1, 1, 1)),
    ((1, 2, 9, 9), (3, 2), (2, 1), (1, 0), (2, 3)),
]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), POOLS)
def test_max_pool(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil_mode: bool,
) -> None:
    if not ceil_mode and shape[2] < kernel[0]:
        pytest.skip("no window fits without ceil_mode")
    function = [F.max_pool1d, F.max_pool2d, F.max_pool3d][len(shape) - 3]
    check(
        lambda x: nn.PoolOp(
            "max",
            x,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
        ),
        lambda x: function(x, kernel, stride, padding, dilation, ceil_mode),
        normal(*shape) - 5,
    )


@pytest.mark.parametrize("divisor", [0, 3])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), POOLS)
def test_avg_pool(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
) -> None:
    rank = len(shape) - 2
    if set(dilation) != {1} or (rank == 1 and divisor):
        pytest.skip("torch has no such pool")
    if not ceil_mode and shape[2] < kernel[0]:
        pytest.skip("no window fits without ceil_mode")
    function = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][rank - 1]
    options: dict[str, Any] = {"divisor_override": divisor} if divisor else {}
    check(
        lambda x: nn.PoolOp(
            "avg",
            x,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor=divisor,
        ),
        lambda x: function(
            x, kernel, stride, padding, ceil_mode, count_include_pad, **options
        ),
        normal(*shape),
    )


@pytest.mark.parametrize(
    ("shape", "spatial"),
    [
        ((2, 3, 7, 7), (1, 1)),
        ((1, 2, 7, 5), (3, 2)),
        ((1, 2, 3, 4), (7, 5)),
        ((2, 2, 9), (4,)),
        ((1, 2, 5, 4, 3), (2, 4, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_adaptive_pool(
    kind: str, shape: tuple[int, ...], spatial: tuple[int, ...]
) -> None:
    name = f"adaptive_{kind}_pool{len(spatial)}d"
    check(
        lambda x: nn.AdaptivePoolOp(kind, x, spatial),
        lambda x: getattr(F, name)(x, spatial),
        normal(*shape),
    )


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
    x = np.float32([[1, 3, 3], [2, 2, 2]])
    found = run(lambda v: nn.ReduceOp("argmax", v, (1,), keep_dims=False), x)
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("shape", "spatial"), [((1, 2, 4, 5), (8, 10)), ((2, 1, 7, 3), (5, 11))]
)
def test_resize_nearest(shape: tuple[int, ...], spatial: tuple[int, ...]) -> None:
    scales = [a / b for a, b in zip(shape[2:], spatial, strict=True)]
    check(
        lambda x: nn.ResizeOp("nearest", x, spatial, scales),
        lambda x: F.interpolate(x, size=spatial, mode="nearest"),
        normal(*shape),
    )


@pytest.mark.parametrize("size", range(1, 60, 7))
def test_resize_nearest_rounds_positions_as_torch(size: int) -> None:
    out = size * 3 + 1
    check(
        lambda x: nn.ResizeOp("nearest", x, (out,), (size / out,)),
        lambda x: F.interpolate(x, size=out, mode="nearest"),
        normal(1, 1, size),
    )


def test_resize_nearest_by_factor() -> None:
    check(
        lambda x: nn.ResizeOp("nearest", x, (7, 9, 2), (1 / 1.5, 1 / 1.9, 1.0)),
        lambda x: F.interpolate(
            x,
            scale_factor=(1.5, 1.9, 1.0),
            mode="nearest",
            recompute_scale_factor=False,
        ),
        normal(2, 3, 5, 5, 2),
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("shape", "spatial"),
    [((1, 2, 4, 5), (8, 10)), ((2, 1, 7, 3), (3, 11)), ((1, 1, 2, 3), (5, 1))],
)
def test_resize_bilinear(
    shape: tuple[int, ...], spatial: tuple[int, ...], *, align_corners: bool
) -> None:
    scales = [
        ((a - 1) / (b - 1) if b > 1 else 0.0) if align_corners else a / b
        for a, b in zip(shape[2:], spatial, strict=True)
    ]
    check(
        lambda x: nn.ResizeOp(
            "bilinear", x, spatial, scales, align_corners=align_corners
        ),
        lambda x: F.interpolate(
            x, size=spatial, mode="bilinear", align_corners=align_corners
        ),
        normal(*shape),
    )


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
    x = np.float32([-2.7, -0.5, 0, 0.5, 3.9])
    check(lambda v: nn.CastOp(v, i64), lambda v: v.to(torch.int64), x)
    check(lambda v: nn.CastOp(v, i1), lambda v: v.to(torch.bool), x)
    check(lambda v: nn.CastOp(v, f32), lambda v: v.float(), np.array([3, -(2**30)]))


def constant_module(op: nn.ConstantOp) -> ModuleOp:
    function = FuncOp("main", ((), (op.result.type,)))
    function.body.block.add_ops([op, ReturnOp(op)])
    return ModuleOp([function])


def test_constant_in_the_ir() -> None:
    type_ = TensorType(f32, (2, 2))
    value = DenseIntOrFPElementsAttr.from_list(type_, [1.0, 2.0, 3.0, 4.5])
    (found,) = interpret(
        constant_module(nn.ConstantOp(value, type_)), (), EdgecContext()
    )
    np.testing.assert_array_equal(found, np.float32([[1, 2], [3, 4.5]]))
    assert found.dtype == np.float32


def test_named_constant_is_not_copied() -> None:
    ctx = EdgecContext()
    array = normal(3, 2)
    ctx.weights.add("w", array)
    op = nn.ConstantOp("w", TensorType(f32, (3, 2)))
    (found,) = interpret(constant_module(op), (), ctx)
    assert np.shares_memory(found, array)


def test_named_constant_must_fit_its_type() -> None:
    ctx = EdgecContext()
    ctx.weights.add("w", normal(3, 2))
    wrong = constant_module(nn.ConstantOp("w", TensorType(f32, (2, 3))))
    with pytest.raises(InvalidInput, match=r"weights 'w' must be float32\[2, 3\]"):
        interpret(wrong, (), ctx)
    missing = constant_module(nn.ConstantOp("v", TensorType(f32, (2, 3))))
    with pytest.raises(InvalidInput, match="no weights named 'v'"):
        interpret(missing, (), ctx)


def test_inputs_must_fit_the_function() -> None:
    function = FuncOp("main", ([TensorType(f32, (2,))], [TensorType(f32, (2,))]))
    function.body.block.add_op(ReturnOp(SSAValue.get(function.body.block.args[0])))
    module, ctx = ModuleOp([function]), EdgecContext()
    with pytest.raises(InvalidInput, match="takes 1 inputs, got 0"):
        interpret(module, (), ctx)
    with pytest.raises(InvalidInput, match=r"must be float32\[2\], got float32\[3\]"):
        interpret(module, (normal(3),), ctx)
    with pytest.raises(InvalidInput, match=r"must be float32\[2\], got float64\[2\]"):
        interpret(module, (np.zeros(2),), ctx)
    with pytest.raises(InvalidInput, match="no function named 'other'"):
        interpret(module, (normal(2),), ctx, "other")
