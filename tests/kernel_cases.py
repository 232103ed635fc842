"""Ops with tensors and layouts that exercise every family of generic kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects.builtin import TensorType, f32
from xdsl.ir import Operation

from edgec.dialects import nn, sq
from tests.kernel_runner import Array, Case

Make = Callable[..., Operation]
lane, step = sq.LaneAttr.of, sq.StepAttr

GAPS = lane(10, 100, 12)
TIGHT = lane(9, 63, 5)
PHASES = lane(6, 40, 3, [2, 2])
WIDE = lane(31, 31 * 20, 32)
"""Layouts of planes of up to 7x9 (the last one: of up to 20x30)."""

SLABS = lane(11, 450, 12, [1, 1, 1], slab=8)
TIGHT_SLABS = lane(9, 5 * 63, 5, [1, 1, 1], slab=7)
DEEP_PHASES = lane(6, 90, 3, [2, 2, 2], slab=5)
"""Layouts of volumes of up to 5x7x9."""


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
VOLUMES = [(2, 3, 5, 7, 9)]


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
    "from slabs": (unary("relu"), Tensors(VOLUMES, (SLABS,))),
    "to slabs": (unary("relu"), Tensors(VOLUMES, (), SLABS)),
    "to few slabs": (unary("relu"), Tensors([(1, 3, 5, 7, 9)], (), SLABS)),
    "slabs": (
        binary("add"),
        Tensors([*VOLUMES, (3, 1, 1, 1)], (TIGHT_SLABS,), SLABS),
    ),
    "to deep phases": (unary("relu"), Tensors(VOLUMES, (SLABS,), DEEP_PHASES)),
    "from deep phases": (unary("relu"), Tensors(VOLUMES, (DEEP_PHASES,), SLABS)),
    "one slice in phases": (
        unary("relu"),
        Tensors([(2, 3, 1, 7, 9)], (), DEEP_PHASES),
    ),
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
    "split into deep phases": (
        lambda x: sq.ConvertLayoutOp(x, lane(11, 660, 13, [1, 2, 2], slab=11)),
        Tensors([(2, 3, 5, 19, 21)]),
    ),
    "transpose slabs": (
        transpose(0, 2, 1, 3, 4),
        Tensors(VOLUMES, (SLABS,), lane(9, 300, 4, [1, 1, 1], slab=9)),
    ),
    "pad slabs": (
        pad("reflect", [0, 0, 1, 2, 3], [0, 0, 1, -2, 4]),
        Tensors(VOLUMES, (SLABS,), lane(17, 1000, 3, [1, 1, 1], slab=8)),
    ),
    "concat slabs": (concat(1), Tensors([*VOLUMES, *VOLUMES], (SLABS,), TIGHT_SLABS)),
    "flatten slabs": (lambda x: nn.ReshapeOp(x, [2, 945]), Tensors(VOLUMES, (SLABS,))),
    "unflatten slabs": (
        lambda x: nn.ReshapeOp(x, VOLUMES[0]),
        Tensors([(2, 945)], (), SLABS),
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
        (
            "slabs",
            lambda k: pool(k, 2, 1, 1, rank=3, ceil_mode=True),
            Tensors(VOLUMES, (SLABS,), lane(12, 800, 5, [1, 1, 1], slab=9)),
        ),
        (
            "global slabs",
            lambda k: adaptive(k, 1, 1, 1),
            Tensors(VOLUMES, (SLABS,), lane(2, 8, 3, [1, 1, 1], slab=3)),
        ),
        ("uneven slabs", lambda k: adaptive(k, 2, 3, 4), Tensors(VOLUMES, (SLABS,))),
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
    "mean of slabs": (
        reduce("mean", (2, 3, 4), keep=False),
        Tensors(VOLUMES, (SLABS,)),
    ),
    "mean of deep phases": (reduce("mean", (2, 3)), Tensors(VOLUMES, (DEEP_PHASES,))),
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
    "group norm of slabs": (
        lambda x, s, t: nn.GroupNormOp(x, s, t, 1e-5, 3),
        Tensors([(2, 3, 5, 7, 9), (3,), (3,)], (SLABS,), TIGHT_SLABS),
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
    "nearest slabs": (
        resize("nearest", [4, 11, 18], [1.1, 0.63, 0.5]),
        Tensors(VOLUMES, (SLABS,), lane(20, 1200, 3, [1, 1, 1], slab=12)),
    ),
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
