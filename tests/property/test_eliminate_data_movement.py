"""Moves as addresses: strides are those of numpy, and kernels compute the same."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from xdsl.builder import Builder
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.dialects.shapes import Shape
from edgec.interpreter import interpret
from edgec.kernels.strides import common_refinement, reshaped_strides
from edgec.passes.base import run_pass
from edgec.passes.convert_to_lane import ConvertToLane
from edgec.passes.eliminate_data_movement import EliminateDataMovement
from edgec.passes.fuse import Fuse
from edgec.passes.plan_memory import PlanMemory
from edgec.testing import Case, assert_pass_preserves, assert_results_close
from edgec.testing.steps import Graph, activation, layer_norm, linear, matmul, softmax
from tests.effort import examples

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def divisors(size: int) -> list[int]:
    return [d for d in range(1, size + 1) if size % d == 0]


@st.composite
def regrouped(draw: st.DrawFn, shape: Shape) -> Shape:
    """The same number of elements: dimensions split and merged."""
    result: list[int] = []
    for size in shape:
        one = draw(st.sampled_from(divisors(size)))
        result += [one, size // one]
    merged: list[int] = []
    for size in result:
        if merged and draw(st.booleans()):
            merged[-1] *= size
        elif size > 1 or draw(st.booleans()):
            merged.append(size)
    return tuple(merged) or (1,)


@given(st.data(), sizes)
def test_reshaped_strides_are_those_of_a_view(
    data: st.DataObject, shape: list[int]
) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    steps = tuple(data.draw(st.integers(1, 2)) for _ in shape)
    base = np.arange(math.prod(shape) * 2 ** len(shape), dtype=np.int32)
    whole = base.reshape([2 * size for size in shape])
    cut = tuple(slice(0, s * n, n) for s, n in zip(shape, steps, strict=True))
    view = whole[cut].transpose(order)
    wanted = data.draw(regrouped(view.shape))
    strides = tuple(s // 4 for s in view.strides)
    found = reshaped_strides(view.shape, strides, wanted)
    moved = view.reshape(wanted)
    assert (found is not None) == np.shares_memory(moved, base)
    if found is not None:
        seen = np.lib.stride_tricks.as_strided(base, wanted, [4 * s for s in found])
        np.testing.assert_array_equal(seen, moved)


@given(st.data(), sizes)
def test_refinements_split_both_shapes(data: st.DataObject, shape: list[int]) -> None:
    one = tuple(shape)
    other = data.draw(regrouped(one))
    common = common_refinement(one, other)
    assert common is not None
    for coarse in (one, other):
        rest = list(reversed(common))
        for size in reversed(coarse):
            taken = 1
            while taken < size:
                taken *= rest.pop(0)
            assert taken == size
        assert not rest


def test_shapes_that_overlap_have_no_refinement() -> None:
    assert common_refinement((4, 6), (6, 4)) is None
    assert common_refinement((4, 6), (24,)) == (4, 6)


def move(graph: Graph, x: SSAValue) -> SSAValue:
    """A reshape, transpose, slice, broadcast or concatenation."""
    shape = nn.shape_of(x)
    kind = graph.pick(["reshape", "transpose", "slice", "broadcast", "concat"])
    if kind == "reshape":
        return graph.add(nn.ReshapeOp(x, graph.draw(regrouped(shape))))
    if kind == "transpose":
        order = graph.draw(st.permutations(range(len(shape))))
        return graph.add(nn.TransposeOp(x, order))
    if kind == "slice":
        starts = graph.integers(0, [size - 1 for size in shape])
        room = [size - start for size, start in zip(shape, starts, strict=True)]
        ones = [1] * len(shape)
        return graph.add(nn.SliceOp(x, starts, graph.integers(1, room), ones))
    if kind == "broadcast" and len(shape) < 4 and math.prod(shape) < 200:
        return graph.add(nn.BroadcastOp(x, (graph.integer(1, 2), *shape)))
    others = [graph.earlier(lambda found: found == shape) for _ in range(2)]
    fresh = [graph.add(nn.UnaryOp("tanh", other)) for other in others]
    parts = [x, *graph.pick([fresh, fresh[:1], others])]
    return graph.add(nn.ConcatOp(parts, graph.integer(0, len(shape) - 1)))


COMPUTE = (activation, linear, softmax, matmul, layer_norm)


@st.composite
def moving_modules(draw: st.DrawFn) -> Case:
    """Random modules, half of whose ops move elements."""
    shape = tuple(draw(st.sampled_from([1, 2, 3, 4, 6, 12])) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    function = FuncOp("main", ([TensorType(f32, shape)], ()))
    block = function.body.block
    builder = Builder(InsertPoint.at_end(block))
    graph = Graph(draw, rng, EdgecContext(), builder, [block.args[0]])
    for _ in range(draw(st.integers(2, 8))):
        value = graph.values[-1]
        can_compute = len(nn.shape_of(value)) > 1 and graph.flag()
        step = graph.pick(COMPUTE) if can_compute else move
        graph.values.append(step(graph, value))
    results = [graph.values[-1], *([graph.pick(graph.values)] if graph.flag() else [])]
    graph.builder.insert(ReturnOp(*results))
    function.update_function_type()
    module = ModuleOp([function])
    module.verify()
    return Case(module, graph.ctx, (rng.standard_normal(shape, np.float32),))


@examples(60)
@given(moving_modules())
def test_kernels_compute_the_same_with_fewer_copies(case: Case) -> None:
    run_pass(Fuse(), case.ctx, case.module)
    before = interpret(case.module, case.inputs, case.ctx)
    plain = case.module.clone()
    result = assert_pass_preserves(
        EliminateDataMovement(), *case, rtol=0, idempotent=True
    )
    folded, counts = result
    launches: list[int] = []
    for module in (plain, folded):
        found = run_pass(ConvertToLane(lanes=4), case.ctx, module)
        run_pass(PlanMemory(), case.ctx, module)
        launches.append(found["launches"])
        after = interpret(module, case.inputs, case.ctx)
        assert_results_close(after, before, rtol=2e-4)
    assert launches[1] <= launches[0]
    assert counts["copies"] <= counts["moves"]
