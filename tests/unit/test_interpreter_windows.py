"""Convolutions, pools and resizing mean what torch's functions compute."""

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
    data: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
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
    data: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    extra: tuple[int, ...],
    dilation: tuple[int, ...],
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
UNDILATED = [pool for pool in POOLS if set(pool[4]) == {1}]
FITTING = [pool for pool in POOLS if pool[0][2] >= pool[1][0]]
POOL = ("shape", "kernel", "stride", "padding", "dilation")
"""Without `ceil_mode` a window must fit; torch's average pools take no dilation."""


@pytest.mark.parametrize(
    (*POOL, "ceil_mode"),
    [*((*pool, True) for pool in POOLS), *((*pool, False) for pool in FITTING)],
)
def test_max_pool(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    ceil_mode: bool,
) -> None:
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
@pytest.mark.parametrize(
    (*POOL, "ceil_mode"),
    [
        *((*pool, True) for pool in UNDILATED),
        *((*pool, False) for pool in UNDILATED if pool in FITTING),
    ],
)
def test_avg_pool(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
) -> None:
    function = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][len(shape) - 3]
    options: dict[str, Any] = {"divisor_override": divisor or None}
    if function is F.avg_pool1d:  # the only one without a divisor
        divisor, options = 0, {}
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
