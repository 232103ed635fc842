"""Kernels of all families, natively, against the numpy interpreter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import TensorType, f32, i64
from xdsl.ir import Operation

from edgec.context import WeightStore
from edgec.dialects import nn, sq
from edgec.errors import PassFailed
from edgec.kernels.linear import pack_linear
from edgec.kernels.lowering import lower
from edgec.target import Target
from tests.guard import run_guarded
from tests.kernel_runner import Array, Case
from tests.lanes import runnable_targets

Make = Callable[..., Operation]
lane, step = sq.LaneAttr.of, sq.StepAttr

GAPS = lane(10, 100, 12)
TIGHT = lane(9, 63, 5)
PHASES = lane(6, 40, 3, [2, 2])
WIDE = lane(31, 31 * 20, 32)
"""Layouts of planes of up to 7x9 (the last one: of up to 20x30)."""

pytestmark = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda target: target.name
)


def random(*shape: int) -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.standard_normal(shape).astype(np.float32)


@dataclass
class Tensors:
    """Inputs of a case and where they lie."""

    shapes: list[tuple[int, ...]]
    inputs_in: tuple[sq.LaneAttr | None, ...] = ()
    result_in: sq.LaneAttr | None = None
    constants: tuple[str, ...] = ()


PLANES = [(2, 5, 7, 9)]


def unary(kind: str) -> Make:
    return lambda x: nn.UnaryOp(kind, x)


def binary(kind: str) -> Make:
    return lambda x, y: nn.BinaryOp(kind, x, y)


def fused(x: Any, other: Any, factor: Any) -> Operation:
    steps = [
        step.binary("sub", 0, swap=True),
        step.unary("relu"),
        step.binary("mul", 1),
    ]
    return sq.ElementwiseOp(x, [other, factor], steps, x.type)


ELEMENTWISE = {
    "scalar": (unary("relu"), Tensors([()])),
    "flat": (unary("gelu"), Tensors([(3, 50, 77)])),
    "channels": (binary("add"), Tensors([(2, 5, 7, 9), (5, 1, 1)])),
    "rows": (binary("add"), Tensors([(2, 5, 7, 37), (37,)])),
    "both broadcast": (binary("sub"), Tensors([(2, 1, 7, 37), (3, 1, 37)])),
    "epilogue": (fused, Tensors([(2, 5, 40), (5, 1), (2, 5, 40)])),
    "from gaps": (unary("relu"), Tensors(PLANES, (GAPS,))),
    "to gaps": (unary("relu"), Tensors(PLANES, (), GAPS)),
    "to few planes": (unary("relu"), Tensors([(1, 3, 7, 9)], (), GAPS)),
    "gaps": (binary("add"), Tensors([*PLANES, (5, 1, 1)], (TIGHT,), GAPS)),
    "from phases": (unary("relu"), Tensors(PLANES, (PHASES,))),
    "to phases": (unary("relu"), Tensors(PLANES, (), PHASES)),
    "phases": (unary("relu"), Tensors(PLANES, (PHASES,), lane(8, 50, 3, [2, 2]))),
}


def transpose(*permutation: int) -> Make:
    return lambda x: nn.TransposeOp(x, permutation)


def cut(starts: list[int], sizes: list[int], steps: list[int]) -> Make:
    return lambda x: nn.SliceOp(x, starts, sizes, steps)


def pad(kind: str, low: list[int], high: list[int]) -> Make:
    return lambda x: nn.PadOp(kind, x, low, high, 1.5)


def concat(axis: int) -> Make:
    return lambda *values: nn.ConcatOp(values, axis)


MOVES = {
    "split into phases": (
        lambda x: sq.ConvertLayoutOp(x, lane(11, 110, 13, [2, 2])),
        Tensors([(2, 9, 19, 21)]),
    ),
    "transpose": (transpose(0, 2, 3, 1), Tensors([(2, 5, 7, 19)])),
    "transpose heads": (transpose(0, 2, 1, 3), Tensors([(2, 5, 7, 19)])),
    "transpose phases": (
        transpose(3, 0, 1, 2),
        Tensors(PLANES, (PHASES,), lane(8, 70, 4, [2, 1])),
    ),
    "slice": (cut([0, 1, 2, 1], [2, 3, 2, 6], [1, 1, 2, 3]), Tensors([(2, 5, 7, 19)])),
    "slice phases": (
        cut([0, 1, 2, 1], [2, 3, 2, 3], [1, 1, 2, 2]),
        Tensors(PLANES, (PHASES,)),
    ),
    **{
        f"{name} {kind}": (pad(kind, low, high), tensors)
        for kind in ("constant", "reflect", "replicate")
        for name, low, high, tensors in (
            ("pad", [0, 0, 2, 3], [0, 0, 1, 4], Tensors(PLANES)),
            ("crop", [0, -1, -2, 3], [0, 2, -1, -4], Tensors(PLANES)),
            (
                "pad gaps",
                [0, 0, 2, 3],
                [0, 0, 1, 4],
                Tensors(PLANES, (PHASES,), lane(17, 187, 3)),
            ),
        )
    },
    "concat channels": (concat(1), Tensors([(2, 5, 7, 9), (2, 3, 7, 9)], (), GAPS)),
    "concat rows": (concat(3), Tensors([(2, 5, 7, 4), (2, 5, 7, 5)], (), GAPS)),
    "broadcast": (lambda x: nn.BroadcastOp(x, [4, 5, 6, 7]), Tensors([(5, 1, 7)])),
    "flatten": (lambda x: nn.ReshapeOp(x, [2, 315]), Tensors(PLANES, (GAPS,))),
    "unflatten": (
        lambda x: nn.ReshapeOp(x, [2, 5, 7, 9]),
        Tensors([(2, 315)], (), PHASES),
    ),
}


def pool(kind: str, kernel: int, stride: int, padding: int, **more: Any) -> Make:
    rank, dilation = more.pop("rank", 2), more.pop("dilation", 1)
    return lambda x: nn.PoolOp(
        kind,
        x,
        kernel=[kernel] * rank,
        stride=[stride] * rank,
        padding=[padding] * rank,
        dilation=[dilation] * rank,
        **more,
    )


def adaptive(kind: str, *sizes: int) -> Make:
    return lambda x: nn.AdaptivePoolOp(kind, x, sizes)


ODD = [(2, 3, 10, 21)]

POOLS = {
    f"{kind} {name}": (make(kind), tensors)
    for kind in ("max", "avg")
    for name, make, tensors in (
        ("2x2", lambda k: pool(k, 2, 2, 0), Tensors(ODD)),
        ("3x3", lambda k: pool(k, 3, 2, 1), Tensors([(2, 5, 11, 57)], (), WIDE)),
        ("1-d", lambda k: pool(k, 5, 3, 2, rank=1), Tensors([(2, 3, 77)])),
        ("3-d", lambda k: pool(k, 3, 2, 1, rank=3), Tensors([(2, 3, 5, 7, 9)])),
        ("ceil", lambda k: pool(k, 3, 2, 1, ceil_mode=True), Tensors([(2, 3, 10, 56)])),
        (
            "without padding",
            lambda k: pool(k, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            Tensors(PLANES, (PHASES,), lane(4, 20, 3, [2, 2])),
        ),
        (
            "joined phases",
            lambda k: pool(k, 3, 1, 1, divisor=7),
            Tensors(PLANES, (PHASES,), PHASES),
        ),
        ("global", lambda k: adaptive(k, 1, 1), Tensors(PLANES, (PHASES,), TIGHT)),
        ("even windows", lambda k: adaptive(k, 5, 3), Tensors(ODD)),
        ("uneven windows", lambda k: adaptive(k, 4, 8), Tensors(ODD, (), TIGHT)),
        ("uneven 3-d", lambda k: adaptive(k, 2, 3, 4), Tensors([(2, 3, 5, 7, 9)])),
    )
}
POOLS["max dilated"] = (pool("max", 3, 2, 1, dilation=2), Tensors(ODD))
POOLS["max of nothing"] = (pool("max", 2, 1, 1, dilation=2), Tensors([(1, 1, 1, 1)]))


def reduce(kind: str, axes: tuple[int, ...], *, keep: bool = True) -> Make:
    return lambda x: nn.ReduceOp(kind, x, axes, keep_dims=keep)


REDUCTIONS = {
    **{
        f"{kind} {axes}": (reduce(kind, axes, keep=False), Tensors([(2, 3, 7, 67)]))
        for kind in ("sum", "mean", "max", "min", "prod", "argmax", "argmin")
        for axes in ((0,), (1,), (2,), (3,), (2, 3), (1, 3), (0, 1, 2, 3))
        if not kind.startswith("arg") or len(axes) == 1
    },
    **{
        f"{kind} phases {axes}": (reduce(kind, axes), Tensors(PLANES, (PHASES,)))
        for kind in ("mean", "max", "argmax", "argmin")
        for axes in ((1,), (2,), (3,), (2, 3))
        if not kind.startswith("arg") or len(axes) == 1
    },
    "mean to gaps": (reduce("mean", (2, 3)), Tensors(PLANES, (TIGHT,), lane(2, 3, 1))),
    "one result": (reduce("sum", (0, 1)), Tensors([(300, 1000)])),
    "long columns": (reduce("sum", (0,)), Tensors([(1000, 300)])),
}

NORMS = {
    **{
        f"softmax {axis} {log}": (
            lambda x, axis=axis, log=log: nn.SoftmaxOp(x, axis, log=log),
            tensors,
        )
        for axis in range(4)
        for log, tensors in (
            (False, Tensors([(2, 3, 7, 67)])),
            (True, Tensors(PLANES, (GAPS,), TIGHT)),
        )
    },
    "softmax of columns": (
        lambda x: nn.SoftmaxOp(x, 2),
        Tensors([(2, 5, 7, 1)], (TIGHT,), GAPS),
    ),
    "layer norm": (
        lambda x, s, t: nn.LayerNormOp(x, s, t, 1e-5, 1),
        Tensors([(2, 3, 167), (167,), (167,)]),
    ),
    "layer norm of gaps": (
        lambda x, s, t: nn.LayerNormOp(x, s, t, 1e-5, 2),
        Tensors([(2, 5, 7, 9), (7, 9), (7, 9)], (GAPS,), TIGHT),
    ),
    "group norm": (
        lambda x, s, t: nn.GroupNormOp(x, s, t, 1e-5, 3),
        Tensors([(2, 6, 7, 9), (6,), (6,)], (GAPS,), TIGHT),
    ),
    "group norm of rows": (
        lambda x, s, t: nn.GroupNormOp(x, s, t, 1e-5, 3),
        Tensors([(2, 6), (6,), (6,)]),
    ),
}


def resize(kind: str, sizes: list[int], scales: list[float], **more: Any) -> Make:
    return lambda x: nn.ResizeOp(kind, x, sizes, scales, **more)


RESIZES = {
    "nearest": (
        resize("nearest", [14, 18], [0.5, 0.5]),
        Tensors(PLANES, (GAPS,), lane(20, 300, 3)),
    ),
    "nearest 1-d": (resize("nearest", [18], [0.5]), Tensors([(2, 6, 9)])),
    "nearest 3-d": (
        resize("nearest", [4, 11, 18], [1.1, 0.63, 0.5]),
        Tensors([(2, 6, 5, 7, 9)]),
    ),
    "bilinear": (
        resize("bilinear", [14, 18], [0.5, 0.5]),
        Tensors(PLANES, (GAPS,), lane(20, 300, 3)),
    ),
    "bilinear corners": (
        resize("bilinear", [5, 18], [6 / 4, 8 / 17], align_corners=True),
        Tensors(PLANES),
    ),
}


def fused_linear(x: Any, other: Any, factor: Any, w: Any, bias: Any) -> Operation:
    steps = [
        step.binary("add", 0),
        step.unary("relu"),
        step.binary("mul", 1, swap=True),
    ]
    type_ = TensorType(f32, [2, 3, 20])
    return sq.LinearOp(x, w, bias, [other, factor], steps, type_)


def linear_of_gaps(x: Any, w: Any) -> Operation:
    return sq.LinearOp(x, w, None, [], [], TensorType(f32, [2, 5, 7, 4]))


PRODUCTS = {
    **{
        f"linear {m}x{k}x{n}": (
            nn.LinearOp,
            Tensors([(m, k), (n, k), (n,)], constants=("w", "b")),
        )
        for m, k, n in ((1, 5, 7), (1, 64, 130), (9, 33, 50), (3, 4, 16), (37, 19, 65))
    },
    **{
        f"matmul {m}x{k}x{n}": (nn.MatmulOp, Tensors([(m, k), (k, n)]))
        for m, k, n in ((1, 5, 7), (9, 33, 50), (3, 4, 16), (150, 7, 40))
    },
    "batches": (nn.MatmulOp, Tensors([(2, 1, 5, 7), (3, 7, 40)])),
    "fused linear": (
        fused_linear,
        Tensors([(2, 3, 9), (3, 20), (2, 1, 1), (20, 9), (20,)], constants=("w", "b")),
    ),
    "linear of gaps": (
        linear_of_gaps,
        Tensors([(2, 5, 7, 9), (4, 9)], (GAPS,), GAPS, ("w",)),
    ),
}

CASES = {
    **ELEMENTWISE,
    **MOVES,
    **POOLS,
    **REDUCTIONS,
    **NORMS,
    **RESIZES,
    **PRODUCTS,
}


def case(name: str) -> Case:
    make, tensors = CASES[name]
    return Case(
        make,
        [random(*shape) for shape in tensors.shapes],
        inputs_in=tensors.inputs_in,
        result_in=tensors.result_in,
        constants=tensors.constants,
    )


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_what_the_interpreter_says(name: str, target: Target) -> None:
    one = case(name)
    np.testing.assert_allclose(one.run(target), one.expected(), rtol=1e-5, atol=1e-5)


GUARDED = """
from tests.guard import guarded_zeros
from tests.lanes import runnable_targets
from tests.unit import test_kernels_generic as cases

def allocate(side):
    return lambda elements, dtype: guarded_zeros((elements,), dtype, side)

for target in runnable_targets():
    if target.name != {target!r}:
        continue
    for name in cases.CASES:
        for side in ("end", "begin"):
            cases.case(name).run(target, threads=(1,), allocate=allocate(side))
"""


def test_no_access_outside_of_buffers(target: Target) -> None:
    done = run_guarded(GUARDED.format(target=target.name))
    assert done.returncode == 0, done.stderr[-2000:]


def test_mean_is_precise(target: Target) -> None:
    for shape, axes in (
        ((1, 1 << 20), (1,)),
        ((1 << 16, 3), (0,)),
        ((99, 9999), (0, 1)),
    ):
        x = random(*shape) + np.float32(1)
        found = Case(reduce("mean", axes), [x]).run(target, threads=(1,))
        expected = x.astype(np.float64).mean(axes, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("kind", ["argmax", "argmin"])
def test_position_is_of_the_first_extreme_or_nan(kind: str, target: Target) -> None:
    nan = np.nan
    rows = [[1, 3, 3, -2, -2], [1, nan, 3, nan, 5], [nan, 9, -9, 0, 0], [0, 0, 0, 0, 0]]
    x = np.array(rows, np.float32)
    found = Case(reduce(kind, (1,), keep=False), [x]).run(target)
    assert found.dtype == np.int64
    first = {"argmax": [1, 1, 0, 0], "argmin": [3, 1, 0, 0]}
    assert found.tolist() == first[kind]


def test_pool_and_reduction_keep_nan(target: Target) -> None:
    x = random(1, 2, 9, 40)
    x[0, 1, 4, 17] = np.nan
    for make in (pool("max", 3, 2, 1), reduce("max", (2, 3)), reduce("min", (1,))):
        one = Case(make, [x])
        np.testing.assert_array_equal(
            np.isnan(one.run(target)), np.isnan(one.expected())
        )


def test_softmax_of_large_and_masked_rows(target: Target) -> None:
    x = np.array([[1e30, 0, -np.inf], [-np.inf, 5, 5], [-1e4, -1e4, -1e4]], np.float32)
    found = Case(lambda v: nn.SoftmaxOp(v, 1), [x]).run(target)
    np.testing.assert_allclose(found, [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3], 1e-6)


def test_cast_and_moves_of_integers(target: Target) -> None:
    x = np.array([[1.9, -1.9, 0.5], [2.0, -3.0, 1e6]], np.float32)
    found = Case(lambda v: nn.CastOp(v, i64), [x]).run(target)
    assert found.tolist() == [[1, -1, 0], [2, -3, 1000000]]
    numbers = np.arange(24).reshape(2, 3, 4) * (1 << 40)
    for make in (transpose(2, 0, 1), lambda v: nn.CastOp(v, f32)):
        one = Case(make, [numbers])
        np.testing.assert_array_equal(one.run(target), one.expected())


def test_batch_norm_with_and_without_constants(target: Target) -> None:
    inputs = [random(2, 6, 7, 9), *(np.abs(random(6, k)[:, 0]) for k in (2, 3, 4, 5))]

    def make(x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Operation:
        return nn.BatchNormOp(x, scale, shift, mean, variance, 1e-5)

    for constants in ((), ("scale", "shift", "mean", "variance")):
        one = Case(
            make, inputs, inputs_in=(GAPS,), result_in=PHASES, constants=constants
        )
        np.testing.assert_allclose(
            one.run(target), one.expected(), rtol=1e-5, atol=1e-6
        )


def test_packed_weights_have_every_column_once(target: Target) -> None:
    weight = random(37, 5)
    width = 2 * target.lanes
    packed, start = pack_linear(weight, target.lanes, 2), 0
    for first in range(0, 37, width):
        part = weight[first : first + width]
        wide = -(-part.shape[0] // target.lanes) * target.lanes
        block = packed[start : start + 5 * wide].reshape(5, wide)
        np.testing.assert_array_equal(block[:, : part.shape[0]], part.T)
        assert not block[:, part.shape[0] :].any()
        start += 5 * wide
    assert start == packed.size


@pytest.mark.parametrize(
    ("make", "inputs", "layouts", "message"),
    [
        (
            lambda x: nn.SoftmaxOp(x, 1),
            [random(2, 5, 7, 9)],
            (PHASES,),
            r"'nn.softmax' op softmax takes layouts of phase \(1, 1\), got \(2, 2\)",
        ),
        (
            lambda x: nn.BinaryOp("add", x, x),
            [np.arange(4)],
            (),
            "'nn.binary' op element type must be f32, got i64",
        ),
        (
            nn.LinearOp,
            [random(2, 3), random(4, 3)],
            (),
            "'nn.linear' op weight must be a constant",
        ),
    ],
)
def test_what_no_kernel_takes_is_named(
    make: Make,
    inputs: list[Array],
    layouts: tuple[sq.LaneAttr, ...],
    message: str,
    target: Target,
) -> None:
    one = Case(make, inputs, inputs_in=layouts)
    with pytest.raises(PassFailed, match=message):
        lower(one.op, WeightStore(), target.lanes)


def test_reshape_between_gaps_is_refused(target: Target) -> None:
    one = Case(
        lambda x: nn.ReshapeOp(x, [5, 2, 7, 9]),
        [random(2, 5, 7, 9)],
        inputs_in=(GAPS,),
        result_in=GAPS,
    )
    with pytest.raises(PassFailed, match="needs a plain layout on one side"):
        lower(one.op, WeightStore(), target.lanes)
