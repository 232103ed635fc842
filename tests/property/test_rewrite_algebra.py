"""rewrite-algebra: same numbers, never more work, and each rule where it applies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from xdsl.builder import Builder
from xdsl.dialects.builtin import ModuleOp, TensorType, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import InsertPoint

from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.interpreter import interpret
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.work import work_of
from edgec.passes.rewrite_algebra import RewriteAlgebra, patterns_of
from edgec.testing import Case, assert_pass_preserves, nn_modules
from tests.effort import examples

RULES = patterns_of(EdgecContext().weights)


class Graph:
    """A function that is built op by op, with constants in the store."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.ctx = EdgecContext()
        self.function = FuncOp("main", ([TensorType(f32, shape)], ()))
        block = self.function.body.block
        self.builder = Builder(InsertPoint.at_end(block))
        self.x: SSAValue = block.args[0]
        self.input = self.rng.standard_normal(shape).astype(np.float32)

    def add(self, op: Operation) -> SSAValue:
        return self.builder.insert(op).results[0]

    def full(self, value: float, *shape: int) -> SSAValue:
        return self.store(np.full(shape, value, np.float32))

    def random(self, *shape: int) -> SSAValue:
        return self.store(self.rng.uniform(0.5, 2, shape).astype(np.float32))

    def store(self, array: AnyArray) -> SSAValue:
        name = self.ctx.weights.add("w", array)
        return self.add(nn.ConstantOp(name, TensorType(f32, array.shape)))

    def binary(self, kind: str, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        return self.add(nn.BinaryOp(kind, lhs, rhs))

    def unary(self, kind: str, value: SSAValue) -> SSAValue:
        return self.add(nn.UnaryOp(kind, value))

    def case(self, *values: SSAValue) -> Case:
        self.builder.insert(ReturnOp(*values))
        self.function.update_function_type()
        return Case(ModuleOp([self.function]), self.ctx, (self.input,))

    def layer(self, *, bias: bool = False) -> SSAValue:
        """A linear layer for an input of three columns."""
        return self.add(
            nn.LinearOp(self.x, self.random(4, 3), self.random(4) if bias else None)
        )

    def conv(self, *, bias: bool = False) -> SSAValue:
        """A convolution for an input of three channels."""
        return self.add(
            nn.ConvOp(
                self.x,
                self.random(4, 3, 2, 2),
                self.random(4) if bias else None,
                stride=(1, 1),
                padding_low=(1, 0),
                padding_high=(0, 1),
                dilation=(1, 1),
            )
        )


def run(case: Case, rtol: float = 0) -> tuple[dict[str, int], list[str]]:
    """What was applied, and the ops that are left; numbers and work are checked."""
    before = work_of(case.module.walk())
    result = assert_pass_preserves(RewriteAlgebra(), *case, rtol=rtol, idempotent=True)
    after = work_of(result.module.walk())
    applied = {k: n for k, n in result.statistics.items() if n and k != "dead_ops"}
    assert after == before or after.is_less_than(before)
    assert not applied or after != before
    ops = [op.name.removeprefix("nn.") for op in result.module.walk()]
    skip = ("builtin.module", "func.func", "func.return", "constant")
    return applied, [name for name in ops if name not in skip]


# Every rule, alone. Exact rules are held to equal bits.

Build = Callable[[Graph], SSAValue]


def heads(g: Graph) -> SSAValue:
    """Scores of attention, scaled after the product as the importer writes them."""
    q = g.add(
        nn.TransposeOp(g.add(nn.ReshapeOp(g.layer(), (2, 5, 2, 2))), (0, 2, 1, 3))
    )
    k = g.add(nn.TransposeOp(g.add(nn.ReshapeOp(g.x, (2, 1, 5, 3))), (0, 1, 3, 2)))
    k = g.add(nn.SliceOp(k, (0,) * 4, (2, 1, 2, 5), (1,) * 4))
    return g.binary("mul", g.add(nn.MatmulOp(q, k)), g.full(0.5))


def mean_as_sum(g: Graph) -> SSAValue:
    total = g.add(nn.ReduceOp("sum", g.x, (1, 2), keep_dims=True))
    return g.binary("div", total, g.full(15))


def two_transposes(g: Graph) -> SSAValue:
    left = g.add(nn.TransposeOp(g.x, (0, 2, 1)))
    product = g.add(nn.MatmulOp(left, g.random(2, 5, 2)))
    return g.add(nn.TransposeOp(product, (0, 2, 1)))


EXACT: dict[str, tuple[Build, str, list[str]]] = {
    "x + 0": (lambda g: g.binary("add", g.full(0, 3), g.x), "neutrals_dropped", []),
    "x - 0": (lambda g: g.binary("sub", g.x, g.full(0)), "neutrals_dropped", []),
    "x * 1": (lambda g: g.binary("mul", g.x, g.full(1, 1)), "neutrals_dropped", []),
    "x / 1": (lambda g: g.binary("div", g.x, g.full(1, 5, 1)), "neutrals_dropped", []),
    "-(-x)": (lambda g: g.unary("neg", g.unary("neg", g.x)), "pairs_cancelled", []),
    "abs(-x)": (
        lambda g: g.unary("abs", g.unary("neg", g.x)),
        "pairs_cancelled",
        ["unary"],
    ),
    "relu(exp(x))": (
        lambda g: g.unary("relu", g.unary("exp", g.x)),
        "pairs_cancelled",
        ["unary"],
    ),
    "x / -8": (
        lambda g: g.binary("div", g.x, g.full(-8)),
        "divisions_replaced",
        ["binary"],
    ),
    "linear * 0.5": (
        lambda g: g.binary("mul", g.layer(), g.full(0.5, 4)),
        "scales_folded",
        ["linear"],
    ),
    "attention": (
        heads,
        "scales_folded",
        ["linear", *["reshape", "transpose"] * 2, "slice", "matmul"],
    ),
}

ROUNDED: dict[str, tuple[Build, str, list[str]]] = {
    "log(exp(x))": (
        lambda g: g.unary("log", g.unary("exp", g.x)),
        "pairs_cancelled",
        [],
    ),
    "exp(log(abs(x)))": (
        lambda g: g.unary("exp", g.unary("log", g.unary("abs", g.x))),
        "pairs_cancelled",
        ["unary"],
    ),
    "sqrt(x * x)": (
        lambda g: g.unary("sqrt", g.binary("mul", g.x, g.x)),
        "pairs_cancelled",
        ["unary"],
    ),
    "(x * 3) / 7": (
        lambda g: g.binary("div", g.binary("mul", g.x, g.full(3, 3)), g.full(7)),
        "steps_merged",
        ["binary"],
    ),
    "(x + a) - b": (
        lambda g: g.binary("sub", g.binary("add", g.x, g.random(3)), g.full(7)),
        "steps_merged",
        ["binary"],
    ),
    "linear / c": (
        lambda g: g.binary("div", g.layer(bias=True), g.random(4)),
        "scales_folded",
        ["linear"],
    ),
    "linear - c": (
        lambda g: g.binary("sub", g.layer(bias=True), g.random(1, 4)),
        "shifts_folded",
        ["linear"],
    ),
    "sum(x * c)": (
        lambda g: g.add(
            nn.ReduceOp("sum", g.binary("mul", g.x, g.full(3)), (2,), keep_dims=False)
        ),
        "scales_after_sums",
        ["reduce", "binary"],
    ),
    "sum / n": (mean_as_sum, "sums_to_means", ["reduce"]),
    "(A B)^T": (two_transposes, "products_transposed", ["transpose", "matmul"]),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_rules(name: str) -> None:
    build, rule, left = EXACT[name]
    graph = Graph(2, 5, 3)
    assert run(graph.case(build(graph))) == ({rule: 1}, left)


@pytest.mark.parametrize("name", ROUNDED)
def test_rules_that_round(name: str) -> None:
    build, rule, left = ROUNDED[name]
    graph = Graph(2, 5, 3)
    assert run(graph.case(build(graph)), rtol=1e-6) == ({rule: 1}, left)


def test_the_square_of_a_root() -> None:
    graph = Graph(2, 3)
    root = graph.unary("sqrt", graph.unary("abs", graph.x))
    case = graph.case(graph.binary("mul", root, root))
    assert run(case, rtol=1e-6) == ({"roots_squared": 1}, ["unary"])


@pytest.mark.parametrize("kind", ["add", "sub"])
def test_a_common_factor(kind: str) -> None:
    graph = Graph(4, 3)
    a, b = graph.unary("sin", graph.x), graph.unary("tanh", graph.x)
    left, right = graph.binary("mul", a, graph.x), graph.binary("mul", graph.x, b)
    case = graph.case(graph.binary(kind, left, right))
    applied, ops = run(case, rtol=1e-6)
    assert (applied, ops) == ({"factors_out": 1}, ["unary", "unary", *["binary"] * 2])


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1), (1, 4, 1, 1), ()])
@pytest.mark.parametrize("bias", [True, False])
def test_scale_and_shift_behind_a_convolution(
    shape: tuple[int, ...], bias: bool
) -> None:
    graph = Graph(1, 3, 5, 4)
    scaled = graph.binary("mul", graph.conv(bias=bias), graph.random(*shape))
    case = graph.case(graph.binary("add", scaled, graph.random(*shape)))
    applied, ops = run(case, rtol=1e-6)
    by_column = shape == (4,)  # of the plane, not of the filters
    expected = {} if by_column else {"scales_folded": 1, "shifts_folded": 1}
    assert (applied, ops) == (expected, ["conv", *["binary"] * 2 * by_column])


# What must stay


def test_a_product_that_others_read_keeps_its_weight() -> None:
    graph = Graph(2, 3)
    layer = graph.layer()
    scaled = graph.binary("mul", layer, graph.full(0.5))
    assert run(graph.case(layer, scaled)) == ({}, ["linear", "binary"])


def test_a_weight_of_two_products_is_copied_for_one() -> None:
    graph = Graph(2, 3)
    weight = graph.random(4, 3)
    first, second = (graph.add(nn.LinearOp(graph.x, weight)) for _ in range(2))
    case = graph.case(graph.binary("mul", first, graph.full(0.5)), second)
    assert run(case) == ({"scales_folded": 1}, ["linear", "linear"])


def test_products_that_others_read_stay() -> None:
    graph = Graph(4, 3)
    left = graph.binary("mul", graph.unary("sin", graph.x), graph.x)
    right = graph.binary("mul", graph.unary("cos", graph.x), graph.x)
    total = graph.binary("add", left, right)
    assert run(graph.case(total, left))[0] == {}


def test_a_sum_that_grows_is_not_factored_out() -> None:
    """`a` is a column and `b` a row: products with a number are smaller than a sum."""
    graph = Graph(1, 1)
    a = graph.unary("sin", graph.random(6, 1))
    b = graph.unary("cos", graph.random(1, 7))
    left, right = graph.binary("mul", a, graph.x), graph.binary("mul", b, graph.x)
    assert run(graph.case(graph.binary("add", left, right)))[0] == {}


@pytest.mark.parametrize("factor", [0.0, np.inf, 1e30, 1e-30])
def test_extreme_factors_stay(factor: float) -> None:
    graph = Graph(2, 3)
    case = graph.case(graph.binary("mul", graph.layer(), graph.full(factor)))
    assert run(case)[0] == {}


OTHERS: dict[str, Build] = {
    "x / 3": lambda g: g.binary("div", g.x, g.full(3)),
    "0 - x": lambda g: g.binary("sub", g.full(0), g.x),
    "1 / x": lambda g: g.binary("div", g.full(1), g.x),
    "exp(log(x))": lambda g: g.unary("exp", g.unary("log", g.x)),
    "broadcast": lambda g: g.binary("add", g.x, g.full(0, 4, 2, 5, 3)),
    "(x B)^T": lambda g: g.add(
        nn.TransposeOp(g.add(nn.MatmulOp(g.x, g.random(2, 3, 4))), (0, 2, 1))
    ),
}


@pytest.mark.filterwarnings("ignore:.*encountered in log:RuntimeWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_what_no_rule_is_for(name: str) -> None:
    graph = Graph(2, 5, 3)
    assert run(graph.case(OTHERS[name](graph)))[0] == {}


# Random graphs


@st.composite
def expressions(draw: st.DrawFn) -> Case:
    """Sums, products and functions of some values, of which any may be read twice."""
    graph = Graph(2, 4, 3, seed=draw(st.integers(0, 99)))
    weight = graph.random(3, 3)
    shapes = st.sampled_from([(), (1,), (3,), (4, 1), (2, 4, 3)])
    values = [graph.x]
    for _ in range(draw(st.integers(2, 9))):
        lhs = draw(st.sampled_from(values[-3:]))
        step = draw(st.sampled_from(["constant", "value", "unary", "linear", "matmul"]))
        if step == "constant":
            number = draw(st.sampled_from([0.0, 1.0, 0.5, 3.0, -2.0, None]))
            kind = draw(st.sampled_from(["add", "sub", "mul", "div"]))
            if number is None or (number == 0 and kind in ("mul", "div")):
                rhs = graph.random(*draw(shapes))
            else:
                rhs = graph.full(number, *draw(shapes))
            values.append(graph.binary(kind, lhs, rhs))
        elif step == "value":
            kind = draw(st.sampled_from(["add", "sub", "mul"]))
            values.append(graph.binary(kind, lhs, draw(st.sampled_from(values))))
        elif step == "unary":
            kinds = ["neg", "abs", "relu", "tanh", "sigmoid"]
            values.append(graph.unary(draw(st.sampled_from(kinds)), lhs))
        elif step == "linear":
            values.append(graph.add(nn.LinearOp(lhs, weight)))
        else:
            values.append(graph.add(nn.MatmulOp(lhs, graph.random(2, 3, 3))))
    axes = draw(st.sampled_from([(), (1,), (2,), (1, 2)]))
    last = values[-1]
    if axes:
        last = graph.add(nn.ReduceOp("sum", last, axes, keep_dims=True))
    others = draw(st.lists(st.sampled_from(values[1:]), max_size=1))
    return graph.case(last, *others)


@examples(200)
@given(expressions())
def test_random_expressions(case: Case) -> None:
    run(case, rtol=1e-5 * cancellation(case))


def cancellation(case: Case) -> float:
    """By how much the largest value on the way exceeds the smallest result.

    Rounding is relative to what is added; where little is left of it, the same error
    is a larger part of the result.
    """
    module = case.module.clone()
    function = next(iter(module.ops))
    assert isinstance(function, FuncOp)
    last = function.body.block.last_op
    assert last is not None
    results = interpret(module, case.inputs, case.ctx)
    values = [v for op in function.body.block.ops for v in op.results]
    last.operands = values
    function.update_function_type()
    largest = max(
        float(np.abs(v).max()) for v in interpret(module, case.inputs, case.ctx)
    )
    least = min(float(np.abs(v).max()) for v in results)
    assume(np.isfinite(largest) and least > 1e-3 * largest)
    return largest / least


@given(nn_modules(max_steps=8))
def test_random_networks(case: Case) -> None:
    run(case, rtol=1e-5)


def test_every_rule_has_a_test() -> None:
    tested = {rule for _, rule, _ in (*EXACT.values(), *ROUNDED.values())}
    assert tested | {"roots_squared", "factors_out"} == set(RULES)
