"""Recurrent kernels as machine code and in the interpreter, against `nn.recurrent`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import SSAValue

from edgec.context import EdgecContext
from edgec.dialects import columns, lane, nn, sq
from edgec.interpreter import interpret
from edgec.kernels.recurrent import layer as recurrent
from edgec.kernels.recurrent.column_gates import ColumnGates
from edgec.passes.base import run_pass
from edgec.passes.convert_to_lane import ConvertToLane
from edgec.passes.load_redundancy_elimination import LoadRedundancyElimination
from edgec.passes.plan_memory import PlanMemory
from edgec.target import Target
from edgec.testing import Case
from tests.effort import examples
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
    block: int | None = None,
    seed: int = 0,
) -> Case:
    """One layer of `[steps, rows, hidden]`; all results are returned.

    With a `block` the weight keeps some columns of each so many rows, and is stored so.
    """
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
    weights: list[nn.ConstantOp | sq.WeightOp] = []

    def constant(name: str, array: AnyArray) -> SSAValue:
        weights.append(
            nn.ConstantOp(ctx.weights.add(name, array), TensorType(f32, array.shape))
        )
        return weights[-1].result

    weight = normal(wide, hidden) * np.float32(slope / hidden)
    if block is None:
        w = constant("w", weight)
    else:
        keep = rng.random((-(-wide // block), hidden)) < rng.choice([0, 0.2, 0.7])
        weight *= np.repeat(keep, block, axis=0)[:wide]
        stored = columns.pack(weight, block)
        names = {k: ctx.weights.add(k, array) for k, array in stored.arrays().items()}
        encoding = sq.ColumnsAttr.of(block, stored.num_columns, reordered=False)
        weights.append(sq.WeightOp(names, TensorType(f32, weight.shape, encoding)))
        w = weights[-1].result
    b = constant("b", normal(wide)) if bias else None
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
        block=draw(st.sampled_from([None, 4, 8, 16, 32])),
        seed=draw(st.integers(0, 99)),
    )


@pytest.fixture(params=[0, 1 << 30], ids=["barriers", "rows"])
def _either_way(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every size is divided in both ways."""
    monkeypatch.setattr(recurrent, "SMALL", request.param)


@pytest.mark.usefixtures("_either_way")
@examples(30)
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
@examples(10)
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


@given(st.integers(1, 40), st.integers(1, 4), st.sampled_from([4, 8, 16, 3]), st.data())
def test_column_gates_hold_the_weight(
    hidden: int, gates: int, block: int, data: st.DataObject
) -> None:
    """Packed blocks put back in place are the weight, whatever the pruner's blocks."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    keep = rng.random((-(-gates * hidden // block), hidden)) < 0.3
    weight = rng.standard_normal((gates * hidden, hidden)).astype(np.float32)
    weight *= np.repeat(keep, block, axis=0)[: gates * hidden]
    spec = ColumnGates.of(weight, gates, rows=1)
    arrays = spec.pack(weight)
    blocks = -(-hidden // spec.block)
    dense = np.zeros((gates, blocks * spec.block, hidden), np.float32)
    stream = arrays["w"].reshape(-1, spec.block) if spec.columns else ()
    for number, (start, end) in enumerate(pairwise(arrays["starts"])):
        first = number // gates * spec.block
        for column in range(start, end):
            where = arrays["where"][column]
            dense[number % gates, first : first + spec.block, where] = stream[column]
    assert (dense[:, :hidden] == weight.reshape(gates, hidden, hidden)).all()
    assert spec.work >= np.count_nonzero(weight)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("hidden", [8, 300])
def test_barriers_only_where_they_are_worth_it(steps: int, hidden: int) -> None:
    module = lowered(recurrent_case("gru", (steps, 1, hidden)), 8)
    barriers = sum(isinstance(op, lane.BarrierOp) for op in module.walk())
    assert barriers == (steps > 1 and hidden == 300)
