"""Random `nn` modules: small graphs with awkward sizes.

A graph starts from one input and grows by steps (see `edgec.testing.steps`). Each takes
the value made last, and perhaps an earlier one, and adds an op or two. Weights are
scaled so that values stay near one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from hypothesis import strategies as st
from xdsl.builder import Builder
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.rewriter import InsertPoint

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.errors import InvalidInput
from edgec.testing.cases import Case
from edgec.testing.steps import STEPS, Graph


@st.composite
def nn_modules(
    draw: st.DrawFn,
    *,
    steps: Collection[str] = tuple(STEPS),
    max_steps: int = 6,
    max_batch: int = 3,
    spatial_ranks: Collection[int] = (2,),
) -> Case:
    """Random valid modules in `nn` with weights and inputs.

    Args:
        draw: given by hypothesis.
        steps: names of the steps to use, keys of `STEPS`.
        max_steps: largest number of steps in a graph.
        max_batch: largest batch size.
        spatial_ranks: numbers of spatial dimensions of the input, each 1, 2 or 3.
    """
    unknown = sorted(set(steps) - set(STEPS))
    if unknown:
        raise InvalidInput(f"no steps named {unknown}; known are {sorted(STEPS)}")
    rank = draw(st.sampled_from(sorted(spatial_ranks)))
    shape = (
        draw(st.integers(1, max_batch)),
        draw(st.integers(1, 8)),
        *(draw(st.integers(1, 11 if rank < 3 else 5)) for _ in range(rank)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    function = FuncOp("main", ([TensorType(f32, shape)], ()))
    block = function.body.block
    builder = Builder(InsertPoint.at_end(block))
    graph = Graph(draw, rng, EdgecContext(), builder, [block.args[0]])
    names = [name for name in STEPS if name in set(steps)]
    for _ in range(draw(st.integers(1, max_steps))):
        _grow(graph, names)
    results = [graph.values[-1]]
    if graph.flag():
        results.append(graph.pick(graph.values))
    graph.builder.insert(ReturnOp(*results))
    function.update_function_type()
    module = ModuleOp([function])
    module.verify()
    return Case(module, graph.ctx, (rng.standard_normal(shape, np.float32),))


def _grow(graph: Graph, names: list[str]) -> None:
    """Add one step that fits the value made last, if there is one."""
    value = graph.values[-1]
    rank = len(nn.shape_of(value))
    steps = [STEPS[name] for name in names if rank in STEPS[name].ranks]
    if steps:
        step = graph.pick([step for step in steps for _ in range(step.share)])
        graph.values.append(step.run(graph, value))
