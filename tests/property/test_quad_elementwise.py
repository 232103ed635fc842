"""Elementwise kernels on quads and float32, exact to the bit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.host import host_features
from edgec.dialects.lane import QUAD
from edgec.dialects.sq import Step
from edgec.errors import InvalidInput
from edgec.kernels.elementwise_quads import ElementwiseQuads, Operand
from edgec.kernels.layout import SLACK, Layout, plain
from edgec.kernels.requantize import Dequantize, Requantize
from edgec.target import Target
from tests.convs import Array, Floats, put, rooms, spaced
from tests.effort import examples
from tests.lanes import program, run_both, runnable_targets
from tests.quad_convs import check, quads_in

machines = (*runnable_targets(), Target.native(host_features()))
targets = pytest.mark.parametrize("target", machines, ids=lambda t: t.name)

shapes = st.one_of(
    *(
        st.tuples(st.integers(1, 2), st.integers(1, 10 if sizes else 300), *sizes)
        for sizes in (
            (),
            (st.integers(1, 90),),
            (st.integers(1, 5), st.integers(1, 37)),
            (st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
        )
    )
)
KINDS = ("quads", "float", "channel", "image", "scalar")
MEANS = Dequantize(0.37, 7)


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> Layout:
    """With gaps or without."""
    if len(shape) < 4 or draw(st.booleans()):
        return plain(shape, SLACK)
    return spaced(shape, shape[-1] + draw(st.integers(0, 3)), draw(rooms))


@st.composite
def operands(
    draw: st.DrawFn, shape: tuple[int, ...], kinds: tuple[str, ...]
) -> tuple[Operand, Array, Floats]:
    """An input, its buffer and its numbers."""
    kind = draw(st.sampled_from(kinds))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if kind == "quads":
        q = rng.integers(0, 256, shape).astype(np.uint8)
        groups = -(-shape[1] // QUAD)
        layout = draw(layouts((shape[0], groups, *shape[2:])))
        values = (q.astype(np.float32) - 7) * np.float32(0.37)
        return Operand(layout, MEANS), quads_in(layout, q, 7), values
    if kind == "float":
        layout = draw(layouts(shape))
    else:
        small = {
            "channel": (1, shape[1]),
            "image": shape[:2],
            "scalar": (1, 1),
        }[kind]
        strides = (small[1], 0 if kind == "scalar" else 1, *(1 for _ in shape[2:]))
        layout = Layout((*small, *(1 for _ in shape[2:])), strides, slack=0)
    values = rng.standard_normal(layout.shape).astype(np.float32)
    is_channel = kind != "float"
    buffer = values.reshape(-1) if is_channel else put(layout, values)
    return Operand(layout, None, is_channel), buffer, values


@targets
@examples(15)
@given(data=st.data())
def test_exact(target: Target, data: st.DataObject) -> None:
    shape = data.draw(shapes)
    first = data.draw(operands(shape, ("quads", "float")))
    others = data.draw(st.lists(operands(shape, KINDS), max_size=2))
    steps = [
        Step(data.draw(st.sampled_from(["add", "sub", "mul"])), (), k, k == 1)
        for k in range(len(others))
    ]
    if data.draw(st.booleans()):
        steps.append(Step("relu", (), -1, False))
    bytes_ = st.just(Requantize(3.7, 9, 1, 254))
    to = data.draw(bytes_ if len(shape) == 2 else st.none() | bytes_)
    groups = -(-shape[1] // QUAD)
    stored = shape if to is None else (shape[0], groups, *shape[2:])
    result = data.draw(layouts(stored))
    inputs = [first, *others]
    spec = ElementwiseQuads(
        shape, tuple(operand for operand, _, _ in inputs), result, tuple(steps), to
    )
    module = program(spec.build("kernel", target.lanes), len(inputs))
    buffers = [buffer for _, buffer, _ in inputs]
    ((one,), (other,)) = run_both(module, buffers, target)

    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
    v: npt.NDArray[np.float32] = first[2]
    for step in steps:
        if step.operand < 0:
            v = np.maximum(v, np.float32(0))
        else:
            pair = (v, others[step.operand][2])
            v = functions[step.kind](*(pair[::-1] if step.swap else pair))
    if to is None:
        own = result.elements - result.slack
        for found in (one, other):
            np.testing.assert_array_equal(found[:own], put(result, v)[:own])
        return
    rounded = np.rint(np.clip(v * np.float32(3.7), 1 - 9, 254 - 9))
    wanted = quads_in(result, (rounded + 9).astype(np.uint8), 9)
    for found in (one, other):
        check(result, 9, shape[1], found, wanted)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidInput, match="the rank must be 2 to 5"):
        ElementwiseQuads((4,), (), plain((1,)), (), Requantize(1.0, 0))
    with pytest.raises(InvalidInput, match="a matrix must become bytes"):
        ElementwiseQuads((1, 4), (), plain((1, 4)), (), None)
    quads = Operand(plain((1, 2, 3, 3)), MEANS)
    with pytest.raises(InvalidInput, match=r"must have the shape \(1, 1, 3, 3\)"):
        ElementwiseQuads((1, 4, 3, 3), (quads,), plain((1, 4, 3, 3)), (), None)
