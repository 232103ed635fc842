"""Generic kernels on random shapes and layouts, against the numpy interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgec.dialects import nn, sq
from tests.effort import examples
from tests.kernel_runner import Array, Case
from tests.lanes import runnable_targets

Draw = st.DrawFn
targets = st.sampled_from(runnable_targets())
seeds = st.integers(0, 2**16)
few = examples(25)


def numbers(shape: tuple[int, ...], seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32)


@st.composite
def shapes(draw: Draw, rank: int | None = None, most: int = 400) -> tuple[int, ...]:
    """Small shapes, but for one dimension that may be long."""
    rank = draw(st.integers(0, 5)) if rank is None else rank
    sizes = [draw(st.integers(1, 7)) for _ in range(rank)]
    if sizes and draw(st.booleans()):
        sizes[draw(st.integers(0, rank - 1))] = draw(st.integers(1, most // 4))
    return tuple(sizes)


@st.composite
def lane_layouts(
    draw: Draw, shape: tuple[int, ...], *, phases: bool = True
) -> sq.LaneAttr | None:
    """A layout that a tensor of the shape can have."""
    if len(shape) not in (4, 5) or draw(st.booleans()):
        return None
    phase = [draw(st.integers(1, 3)) if phases else 1 for _ in shape[2:]]
    *deep, rows, columns = (-(-s // p) for s, p in zip(shape[2:], phase, strict=True))
    pitch, slab = columns + draw(st.integers(0, 20)), None
    if deep:
        slab = rows + draw(st.integers(0, 3))
        rows += (deep[0] - 1) * slab
    plane = rows * pitch + draw(st.integers(0, 40))
    return sq.LaneAttr.of(pitch, plane, draw(st.integers(0, 40)), phase, slab=slab)


def check(one: Case, target: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(
        one.run(target), one.expected(), rtol=tolerance, atol=tolerance
    )


@few
@given(st.data(), targets, seeds)
def test_elementwise(data: st.DataObject, target: Any, seed: int) -> None:
    shape = data.draw(shapes())
    extra = tuple(1 if data.draw(st.booleans()) else size for size in shape)
    extra = extra[data.draw(st.integers(0, len(extra))) :]
    steps = [sq.StepAttr.binary("sub", 0, swap=data.draw(st.booleans()))]
    layouts = [data.draw(lane_layouts(s)) for s in (shape, extra, shape)]
    one = Case(
        lambda x, e: sq.ElementwiseOp(
            x, [e], [*steps, sq.StepAttr.unary("relu")], nn.like(x, shape)
        ),
        [numbers(shape, seed), numbers(extra, seed + 1)],
        inputs_in=layouts[:2],
        result_in=layouts[2],
    )
    check(one, target)


@few
@given(st.data(), targets, seeds)
def test_moves(data: st.DataObject, target: Any, seed: int) -> None:
    shape = data.draw(shapes(data.draw(st.integers(1, 4))))
    rank = len(shape)
    kinds = ["transpose", "slice", "pad", "concat", "convert"]
    kind = data.draw(st.sampled_from(kinds))
    x = numbers(shape, seed)
    low = [data.draw(st.integers(-(s // 3), s - 1)) for s in shape]
    high = [data.draw(st.integers(-(s // 3), s - 1)) for s in shape]
    pad = data.draw(st.sampled_from(["constant", "reflect", "replicate"]))
    order = data.draw(st.permutations(range(rank)))
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    steps = [data.draw(st.integers(1, 3)) for _ in shape]
    sizes = [-(-(a - b) // c) for a, b, c in zip(shape, starts, steps, strict=True)]
    make = {
        "transpose": lambda v: nn.TransposeOp(v, order),
        "slice": lambda v: nn.SliceOp(v, starts, sizes, steps),
        "pad": lambda v: nn.PadOp(pad, v, low, high, 0.5),
        "concat": lambda v: nn.ConcatOp([v, v], order[0]),
        "convert": lambda v: nn.BroadcastOp(v, shape),
    }[kind]
    source = data.draw(lane_layouts(shape))
    result = nn.shape_of(Case(make, [x]).result)
    one = Case(make, [x], inputs_in=[source], result_in=data.draw(lane_layouts(result)))
    check(one, target, 0)


@few
@given(st.data(), targets, seeds)
def test_pools(data: st.DataObject, target: Any, seed: int) -> None:
    rank = data.draw(st.integers(1, 3))
    kind = data.draw(st.sampled_from(["max", "avg"]))
    kernel = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    stride = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    dilation = [data.draw(st.integers(1, 2)) if kind == "max" else 1 for _ in kernel]
    padding = [data.draw(st.integers(0, k // 2)) for k in kernel]
    sizes = [
        data.draw(st.integers(d * (k - 1) + 1, 30))
        for k, d in zip(kernel, dilation, strict=True)
    ]
    shape = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), *sizes)
    more: dict[str, Any] = {
        "ceil_mode": data.draw(st.booleans()),
        "count_include_pad": data.draw(st.booleans()),
        "divisor": data.draw(st.sampled_from([0, 0, 5])),
    }

    def make(x: Any) -> nn.PoolOp:
        return nn.PoolOp(
            kind,
            x,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            **more,
        )

    x = numbers(shape, seed)
    result = nn.shape_of(Case(make, [x]).result)
    # A volume is split into phases for convolutions only.
    layouts = [data.draw(lane_layouts(s, phases=rank < 3)) for s in (shape, result)]
    check(Case(make, [x], inputs_in=layouts[:1], result_in=layouts[1]), target)


@few
@given(st.data(), targets, seeds)
def test_reductions(data: st.DataObject, target: Any, seed: int) -> None:
    shape = data.draw(shapes(data.draw(st.integers(1, 5))))
    kind = data.draw(st.sampled_from(["sum", "mean", "max", "min", "argmax", "argmin"]))
    most = 1 if kind.startswith("arg") else len(shape)
    dims = st.sampled_from(range(len(shape)))
    axes = sorted(data.draw(st.sets(dims, min_size=1, max_size=most)))
    keep = data.draw(st.booleans())
    one = Case(
        lambda x: nn.ReduceOp(kind, x, axes, keep_dims=keep),
        [numbers(shape, seed)],
        inputs_in=[data.draw(lane_layouts(shape))],
    )
    check(one, target)


@few
@given(st.data(), targets, seeds)
def test_softmax(data: st.DataObject, target: Any, seed: int) -> None:
    shape = data.draw(shapes(data.draw(st.integers(1, 5))))
    axis, log = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.booleans())
    layouts = [data.draw(lane_layouts(shape, phases=False)) for _ in range(2)]
    one = Case(
        lambda x: nn.SoftmaxOp(x, axis, log=log),
        [numbers(shape, seed) * 9],
        inputs_in=layouts[:1],
        result_in=layouts[1],
    )
    check(one, target)


@few
@given(st.data(), targets, seeds)
def test_products(data: st.DataObject, target: Any, seed: int) -> None:
    rows, depth, columns = (data.draw(st.integers(1, n)) for n in (40, 20, 70))
    batch = data.draw(shapes(data.draw(st.integers(0, 2)), 4))
    a = numbers((*batch, rows, depth), seed)
    if data.draw(st.booleans()):
        b = numbers((columns, depth), seed + 1)
        one = Case(nn.LinearOp, [a, b], constants=("w",))
    else:
        lead = tuple(1 if data.draw(st.booleans()) else size for size in batch)
        one = Case(nn.MatmulOp, [a, numbers((*lead, depth, columns), seed + 1)])
    check(one, target)


@few
@given(st.data(), targets, seeds)
def test_matmul_with_epilogue(data: st.DataObject, target: Any, seed: int) -> None:
    rows, depth, columns = (data.draw(st.integers(1, n)) for n in (40, 20, 70))
    batch = data.draw(shapes(data.draw(st.integers(0, 2)), 4))
    shape = (*batch, rows, columns)
    extras = [
        tuple(1 if data.draw(st.booleans()) else size for size in shape)[skip:]
        for skip in data.draw(st.lists(st.integers(0, len(shape)), max_size=2))
    ]
    steps = [sq.StepAttr.binary("sub", k, swap=k == 1) for k in range(len(extras))]
    one = Case(
        lambda a, b, *more: sq.MatmulOp(
            a, b, more, [*steps, sq.StepAttr.unary("relu")], nn.like(a, shape)
        ),
        [
            numbers((*batch, rows, depth), seed),
            numbers((depth, columns), seed + 1),
            *(numbers(extra, seed + 2) for extra in extras),
        ],
    )
    check(one, target)


@few
@given(st.data(), targets, seeds)
def test_resizing(data: st.DataObject, target: Any, seed: int) -> None:
    kind = data.draw(st.sampled_from(["nearest", "bilinear"]))
    rank = data.draw(st.sampled_from([2, 3])) if kind == "nearest" else 2
    shape = (1, 2, *(data.draw(st.integers(1, 20 // rank)) for _ in range(rank)))
    out = [data.draw(st.integers(1, 40 // rank)) for _ in range(rank)]
    scales = [s / o for s, o in zip(shape[2:], out, strict=True)]
    align = kind == "bilinear" and data.draw(st.booleans())
    layouts = [
        data.draw(lane_layouts(s, phases=False)) for s in (shape, (*shape[:2], *out))
    ]
    one = Case(
        lambda x: nn.ResizeOp(kind, x, out, scales, align_corners=align),
        [numbers(shape, seed)],
        inputs_in=layouts[:1],
        result_in=layouts[1],
    )
    check(one, target)
