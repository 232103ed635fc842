"""Recurrent kernels as machine code and in the interpreter, against `nn.recurrent`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp

from edgec.context import EdgecContext
from edgec.dialects import lane, nn
from edgec.interpreter import interpret
from edgec.kernels.recurrent import layer as recurrent
from edgec.passes.base import run_pass
from edgec.passes.convert_to_lane import ConvertToLane
from edgec.passes.load_redundancy_elimination import LoadRedundancyElimination
from edgec.passes.plan_memory import PlanMemory
from edgec.target import Target
from edgec.testing import Case
from tests.lanes import AnyArray, compiled, runnable_targets

Draw = st.DrawFn
KINDS = tuple(kind.value for kind in nn.RecurrentKind)
TOLERANCE = 1e-5


def recurrent_case(
    kind: str,
    sizes: tuple[int, int, int],
    *,
    reverse: bool = False,
    bias: bool = True,
    slope: float = 1.0,
    seed: int = 0,
) -> Case:
    """One layer of `[steps, rows, hidden]`; all results are returned."""
    steps, rows, hidden = sizes
    wide = nn.RecurrentKind(kind).gates * hidden
    rng = np.random.default_rng(seed)
    ctx = EdgecContext()

    def normal(*shape: int) -> AnyArray:
        return rng.standard_normal(shape).astype(np.float32)

    inputs = [normal(steps, rows, wide), normal(rows, hidden)]
    if kind == "lstm":
        inputs.append(normal(rows, hidden))
    main = FuncOp("main", ([TensorType(f32, x.shape) for x in inputs], ()))
    gates, *states = main.body.block.args
    arrays = {"w": normal(wide, hidden) * slope / hidden, "b": normal(wide)}
    weights = [
        nn.ConstantOp(ctx.weights.add(name, array), TensorType(f32, array.shape))
        for name, array in arrays.items()
        if name == "w" or bias
    ]
    w, b = [*(weight.result for weight in weights), None][:2]
    assert w is not None
    op = nn.RecurrentOp(kind, gates, w, b, *states, reverse=reverse)
    main.body.block.add_ops([*weights, op, ReturnOp(*op.results)])
    main.update_function_type()
    return Case(ModuleOp([main]), ctx, tuple(inputs))


def lowered(case: Case, lanes: int) -> ModuleOp:
    """The kernel and its launch."""
    module = case.module.clone()
    passes = (ConvertToLane(lanes=lanes), LoadRedundancyElimination(), PlanMemory())
    for pass_ in passes:
        run_pass(pass_, case.ctx, module)
        module.verify()
    return module


@st.composite
def cases(draw: Draw, most: int) -> Case:
    sizes = (
        draw(st.integers(1, 5)),
        draw(st.integers(1, 9)),
        draw(st.integers(1, most)),
    )
    return recurrent_case(
        draw(st.sampled_from(KINDS)),
        sizes,
        reverse=draw(st.booleans()),
        bias=draw(st.booleans()),
        slope=draw(st.sampled_from([1.0, 8.0])),
        seed=draw(st.integers(0, 99)),
    )


@pytest.fixture(params=[0, 1 << 30], ids=["barriers", "rows"])
def _either_way(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every size is divided in both ways."""
    monkeypatch.setattr(recurrent, "SMALL", request.param)


@pytest.mark.usefixtures("_either_way")
@settings(max_examples=30, deadline=None)
@given(cases(70), st.sampled_from(runnable_targets()))
def test_machine_code(case: Case, target: Target) -> None:
    expected = interpret(case.module, case.inputs, case.ctx)
    module = lowered(case, target.lanes)
    first = None
    for threads in (1, 2, 3):
        program = compiled(module, target, case.ctx.weights, threads)
        found: list[AnyArray] = program(case.inputs)
        for mine, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, right, rtol=TOLERANCE, atol=TOLERANCE)
        first = first or [array.tobytes() for array in found]
        assert first == [array.tobytes() for array in found], "depends on threads"


@pytest.mark.usefixtures("_either_way")
@settings(max_examples=10, deadline=None)
@given(cases(11), st.sampled_from([4, 8, 16]), st.integers(1, 4))
def test_interpreted_kernel(case: Case, lanes: int, threads: int) -> None:
    expected = interpret(case.module, case.inputs, case.ctx)
    found = interpret(lowered(case, lanes), case.inputs, case.ctx, threads=threads)
    for mine, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, right, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgotten_barrier_shows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above rely on: in the interpreter, threads depend on barriers."""
    monkeypatch.setattr(recurrent, "SMALL", 0)
    case = recurrent_case(kind, (3, 2, 9))
    module = lowered(case, 4)
    for op in list(module.walk()):
        if isinstance(op, lane.BarrierOp):
            op.detach()
    expected = interpret(case.module, case.inputs, case.ctx)[0]
    found = interpret(module, case.inputs, case.ctx, threads=2)[0]
    assert not np.allclose(found, expected, equal_nan=False)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("hidden", [8, 300])
def test_barriers_only_where_they_are_worth_it(steps: int, hidden: int) -> None:
    module = lowered(recurrent_case("gru", (steps, 1, hidden)), 8)
    barriers = sum(isinstance(op, lane.BarrierOp) for op in module.walk())
    assert barriers == (steps > 1 and hidden == 300)
