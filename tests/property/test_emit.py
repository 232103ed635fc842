"""Machine code of kernels against the interpreter of `lane`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8, i32, i64
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import buffer_type, vector
from edgec.dialects.nn import UNARY_PARAMS, BinaryKind, UnaryKind
from edgec.kernels.builder import KernelBuilder
from edgec.target import Target
from tests.effort import examples
from tests.guard import run_guarded
from tests.lanes import program, run_both, runnable_targets, unfused

Floats = npt.NDArray[np.float32]

SIZE = 96
"""Elements of the buffers of random kernels."""

PARAMS: dict[str, tuple[float, ...]] = {
    "leaky_relu": (0.125,),
    "elu": (1.5, 1.25, 0.75),
    "softplus": (0.5, 20.0),
    "clamp": (-1.5, 6.0),
}

EXACT = {
    *("neg", "abs", "sqrt", "floor", "ceil", "round", "sign", "relu", "clamp"),
    *("leaky_relu", "reciprocal"),
}
"""Kinds that round at most once, as the interpreter does."""

targets = pytest.mark.parametrize(
    "target",
    [*runnable_targets(), unfused(runnable_targets()[-1])],
    ids=lambda t: f"{t.name}{'' if t.fma else '-unfused'}",
)


def random_floats(size: int, seed: int) -> Floats:
    """Numbers of many sizes, with signs."""
    rng = np.random.default_rng(seed)
    scale = np.exp2(rng.integers(-6, 5, size))
    return (rng.standard_normal(size) * scale).astype(np.float32)


SPECIAL: Floats = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-30, -1e-30, 88.0, -88.0),
        *(2.5, -2.5, 0.5, -0.5, 3.0, -3.0, 6.0, 1e4, -1e4, 20.0),
    ],
    np.float32,
)


def unary_kernel(lanes: int, numbers: int) -> FuncOp:
    """Every kind on every number: whole vectors, the rest one by one."""
    kinds = list(UnaryKind)
    types = {"x": buffer_type(numbers), "y": buffer_type(numbers * len(kinds))}
    b = KernelBuilder("unary", types, lanes=lanes)
    whole = numbers // lanes * lanes
    for row, kind in enumerate(kinds):
        assert len(PARAMS.get(kind, ())) == UNARY_PARAMS.get(kind, 0)

        def body(
            i: SSAValue, *, row: int = row, kind: str = kind, width: int = lanes
        ) -> None:
            value = b.load("x", i, lanes=width)
            result = b.unary(kind, value, PARAMS.get(kind, ()))
            b.store(result, "y", i, offset=row * numbers)

        b.loop(0, whole, body, step=lanes)
        b.loop(whole, numbers, lambda i, f=body: f(i, width=1))
    return b.finish()


@targets
def test_unary_kinds(target: Target) -> None:
    x = np.concatenate([SPECIAL, random_floats(70, 1)])
    assert x.size % 16
    module = program(unary_kernel(target.lanes, x.size), 1)
    (found,), (expected,) = run_both(module, [x], target)
    shape = (len(UnaryKind), x.size)
    for kind, got, want in zip(
        UnaryKind, found.reshape(shape), expected.reshape(shape), strict=True
    ):
        if kind in EXACT:
            np.testing.assert_array_equal(got, want, err_msg=kind)
        else:
            np.testing.assert_allclose(got, want, 1e-6, 2e-7, err_msg=kind)


@targets
@pytest.mark.parametrize("kind", BinaryKind)
def test_binary_kinds(target: Target, kind: BinaryKind) -> None:
    x, y = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    size = x.size
    types = {name: buffer_type(size) for name in "xyz"}
    b = KernelBuilder("binary", types, lanes=target.lanes)
    whole = size // target.lanes * target.lanes

    def body(i: SSAValue, width: int = target.lanes) -> None:
        lhs, rhs = b.load("x", i, lanes=width), b.load("y", i, lanes=width)
        b.store(b.binary(kind, lhs, rhs), "z", i)

    b.loop(0, whole, body, step=target.lanes)
    b.loop(whole, size, lambda i: body(i, 1))
    (found,), (expected,) = run_both(program(b.finish(), 2), [x, y], target)
    if kind is BinaryKind.POW:
        np.testing.assert_allclose(found, expected, 1e-6)
    else:
        np.testing.assert_array_equal(found, expected)


@targets
def test_comparisons(target: Target) -> None:
    x, y = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    kinds, size = list(lane.CompareKind), x.size // target.lanes * target.lanes
    types = {"x": buffer_type(x.size), "y": buffer_type(x.size)}
    types["z"] = buffer_type(len(kinds) * size)
    b = KernelBuilder("compare", types, lanes=target.lanes)

    def body(i: SSAValue) -> None:
        lhs, rhs = b.load("x", i), b.load("y", i)
        for row, kind in enumerate(kinds):
            mask = b.compare(kind, lhs, rhs)
            value = b.select(mask, b.constant(1.0), b.constant(0.0))
            b.store(value, "z", i, offset=row * size)

    b.loop(0, size, body, step=target.lanes)
    (found,), (expected,) = run_both(program(b.finish(), 2), [x, y], target)
    np.testing.assert_array_equal(found, expected)


# Random kernels


class RandomKernel:
    """Draws ops that the interpreter computes exactly.

    Without fused multiply-add, `lane.dot` rounds twice, so that it gets small integers.
    """

    def __init__(self, data: st.DataObject, target: Target) -> None:
        self.draw = data.draw
        self.fma = target.fma
        self.lanes = target.lanes
        types = {
            "x": buffer_type(SIZE),
            "table": buffer_type(SIZE, i32),
            "bits": buffer_type(SIZE, i8),
            "y": buffer_type(SIZE),
        }
        self.b = KernelBuilder("random", types, lanes=target.lanes)

    def build(self) -> FuncOp:
        """Fill `y` with ones, then write to places of it."""
        b = self.b
        one = b.constant(1.0, lanes=1)
        b.loop(0, SIZE, lambda i: b.store(one, "y", i))
        self.block(b.thread, [self.load(b.thread), b.constant(0.5)], depth=0)
        return b.finish()

    def block(self, i: SSAValue, values: list[SSAValue], depth: int) -> list[SSAValue]:
        """A few steps, then a store; the new values."""
        values = list(values)
        steps: list[Callable[[], SSAValue]] = [
            lambda: self.load(i),
            lambda: self.arithmetic(values),
            lambda: self.fold(values),
            lambda: self.halves(values),
            lambda: self.choose(values),
        ]
        if depth < 2:
            steps.append(lambda: self.loop(i, values, depth))
            steps.append(lambda: self.branch(i, values, depth))
        for _ in range(self.draw(st.integers(1, 4))):
            values.append(self.draw(st.sampled_from(steps))())
        self.store(i, values[-1])
        return values

    def pick(self, values: Sequence[SSAValue]) -> SSAValue:
        """One of the values that exist."""
        return values[self.draw(st.integers(0, len(values) - 1))]

    def place(self, i: SSAValue, reach: int) -> tuple[SSAValue, int]:
        """An index and an offset so that `reach` elements fit; `i` is below 8."""
        limit = SIZE - reach - 8
        return self.b.value(self.b.plus(i, self.draw(st.integers(-3, 3)), 3)), (
            self.draw(st.integers(0, limit - 6))
        )

    def load(self, i: SSAValue) -> SSAValue:
        """Any kind of load."""
        b, way = self.b, self.draw(st.integers(0, 4))
        if way == 0:
            at, offset = self.place(i, 1)
            return b.splat(b.load("x", at, lanes=1, offset=offset))
        if way == 1:
            at, offset = self.place(i, 1)
            entry = b.load_index("table", at, offset)
            return b.load("x", entry)
        stride = self.draw(st.sampled_from([1, 1, 2, 3]))
        at, offset = self.place(i, stride * self.lanes)
        mask = self.mask(i) if way == 2 else None
        return b.load("x", at, offset=offset, stride=stride, mask=mask)

    def mask(self, i: SSAValue) -> SSAValue:
        """A mask from a count, from bits, or from a comparison."""
        b, way = self.b, self.draw(st.integers(0, 2))
        if way == 0:
            return b.tail_mask(b.plus(i, self.draw(st.integers(0, 9))))
        step = min(self.lanes, 8)
        first = self.draw(st.integers(0, 20)) * step
        if way == 1:
            return b.load_mask("bits", b.times(i, step), first)
        kind = self.draw(st.sampled_from(list(lane.CompareKind)))
        lhs = b.load("x", i)
        return b.compare(kind, lhs, b.constant(0.25))

    def arithmetic(self, values: Sequence[SSAValue]) -> SSAValue:
        """One op that rounds once."""
        b = self.b
        kinds = ["dot", "add", "sub", "mul", "min", "max", "prelu", *sorted(EXACT)]
        kind = self.draw(st.sampled_from(kinds))
        if kind in EXACT:
            return b.unary(kind, self.pick(values), PARAMS.get(kind, ()))
        lhs, rhs = self.pick(values), self.pick(values)
        if kind != "dot":
            return b.binary(kind, lhs, rhs)
        operands = [self.pick(values), lhs, rhs]
        return b.dot(*(operands if self.fma else map(self.small, operands)))

    def small(self, value: SSAValue) -> SSAValue:
        """A small integer."""
        return self.b.unary("round", self.b.unary("clamp", value, (-64, 64)))

    def fold(self, values: Sequence[SSAValue]) -> SSAValue:
        """All lanes, in every lane again."""
        kind = self.draw(st.sampled_from(["add", "mul", "max", "min"]))
        return self.b.splat(self.b.fold(kind, self.pick(values)))

    def halves(self, values: Sequence[SSAValue]) -> SSAValue:
        """Lanes of two vectors, from some lane on."""
        whole = self.b.concat([self.pick(values), self.pick(values)])
        return self.b.slice(whole, self.draw(st.integers(0, self.lanes)), self.lanes)

    def choose(self, values: Sequence[SSAValue]) -> SSAValue:
        """A selection by a mask."""
        mask = self.mask(self.b.thread)
        return self.b.select(mask, self.pick(values), self.pick(values))

    def loop(self, i: SSAValue, values: list[SSAValue], depth: int) -> SSAValue:
        """A loop with none, one or some rounds, whose number may be unknown."""
        begin, step = self.draw(st.integers(0, 3)), self.draw(st.integers(1, 3))
        end = self.draw(st.integers(0, 7))
        bound = self.draw(st.sampled_from([end, self.b.smaller(i, end)]))

        def body(j: SSAValue, *carried: SSAValue) -> list[SSAValue]:
            new = self.block(j, [*values, *carried], depth + 1)
            return [new[-1], carried[0]]

        carried = [self.pick(values), self.pick(values)]
        return self.b.loop(begin, bound, body, step=step, carried=carried)[1]

    def branch(self, i: SSAValue, values: list[SSAValue], depth: int) -> SSAValue:
        """A branch with a result, or one without."""

        def side() -> list[SSAValue]:
            return [self.block(i, values, depth + 1)[-1]]

        odd = self.b.equal(self.b.remainder(i, 2), 1)
        if self.draw(st.booleans()):
            return self.b.when(odd, side, side)[0]
        self.b.when(odd, lambda: self.store(i, self.pick(values)))
        return self.pick(values)

    def store(self, i: SSAValue, value: SSAValue) -> None:
        """A store of all lanes, of some, or of their sum."""
        at, offset = self.place(i, self.lanes)
        way = self.draw(st.integers(0, 2))
        if way == 0:
            value = self.b.fold("max", value)
        mask = self.mask(i) if way == 1 else None
        self.b.store(value, "y", at, offset=offset, mask=mask)


@targets
@examples(20)
@given(data=st.data(), seed=st.integers(0, 99))
def test_random_kernels(target: Target, data: st.DataObject, seed: int) -> None:
    module = program(RandomKernel(data, target).build(), 3)
    rng = np.random.default_rng(seed)
    x = random_floats(SIZE, seed)
    table = rng.integers(0, SIZE - 16, SIZE, dtype=np.int32)
    bits = rng.integers(-128, 128, SIZE, dtype=np.int8)
    (found,), (expected,) = run_both(module, [x, table, bits], target)
    np.testing.assert_array_equal(found, expected)


# Other types, memory


@targets
def test_positions_are_integers(target: Target) -> None:
    x, lanes = random_floats(40, 3), target.lanes
    types = {
        "x": buffer_type(40),
        "p": buffer_type(1, i64),
        "v": buffer_type(lanes, i32),
    }
    b = KernelBuilder("argmax", types, lanes=lanes)

    def body(i: SSAValue, best: SSAValue, where: SSAValue) -> list[SSAValue]:
        value = b.load("x", i, lanes=1)
        is_more = b.compare("gt", value, best)
        number = b.cast(i, i64)
        return [b.select(is_more, value, best), b.select(is_more, number, where)]

    first = b.load("x", 0, lanes=1)
    _, where = b.loop(0, 40, body, carried=[first, b.cast(b.value(0), i64)])
    b.store(where, "p", 0)
    whole = b.cast(b.load("x", 0), vector(lanes, i32))
    b.store(whole, "v", 0)
    found, expected = run_both(program(b.finish(), 1), [x], target)
    assert found[0][0] == np.argmax(x)
    np.testing.assert_array_equal(expected[0], found[0])
    np.testing.assert_array_equal(expected[1], found[1])
    np.testing.assert_array_equal(found[1], x[:lanes].astype(np.int32))


@targets
def test_scratch_is_memory(target: Target) -> None:
    x, lanes = random_floats(64, 4), target.lanes
    b = KernelBuilder("copy", {"x": buffer_type(64), "y": buffer_type(64)}, lanes=lanes)
    low, high = b.scratch(64), b.scratch(64, 256)
    for source, to in (("x", low), (low, high), (high, "y")):
        b.loop(0, 64, lambda i, s=source, t=to: b.store(b.load(s, i), t, i), step=lanes)
    (found,), (expected,) = run_both(program(b.finish(), 1), [x], target)
    np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(expected, x)


def edge_kernel(target: Target) -> tuple[FuncOp, int, int]:
    """Loads whose last element is the last one of the buffer."""
    lanes = target.lanes
    size, num_bits = 3 * lanes, max(lanes, 8)
    types = {
        "x": buffer_type(size),
        "bits": buffer_type(num_bits // 8, i8),
        "y": buffer_type(lanes),
    }
    b = KernelBuilder("edge", types, lanes=lanes)
    total = b.load("x", size - lanes)
    for stride in (2, 3):
        start = size - 1 - stride * (lanes - 1)
        total = b.binary("add", total, b.load("x", start, stride=stride))
    half = b.tail_mask(lanes // 2)
    for stride in (1, 2):
        start = size - 1 - stride * (lanes // 2 - 1)
        part = b.load("x", start, stride=stride, mask=half)
        total = b.binary("add", total, part)
    mask = b.load_mask("bits", 0)
    b.store(b.select(mask, total, b.constant(0.0)), "y", 0)
    b.store(total, "y", lanes // 2, mask=half)
    return b.finish(), size, num_bits // 8


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_nothing_outside_is_touched(target: Target) -> None:
    script = f"""
import numpy as np
from edgec.target import Target
from tests.guard import guarded_copy
from tests.lanes import program, run_both
from tests.property.test_emit import edge_kernel
target = Target.parse({target.name!r})
kernel, size, num_bytes = edge_kernel(target)
x = guarded_copy(np.arange(size, dtype=np.float32))
bits = guarded_copy(np.full(num_bytes, 0x5A, np.int8))
(found,), (expected,) = run_both(program(kernel, 2), [x, bits], target)
np.testing.assert_array_equal(found, expected)
"""
    result = run_guarded(script)
    assert result.returncode == 0, result.stderr


def test_the_same_module_gives_the_same_text() -> None:
    from edgec.codegen.emit import emit_module

    target = runnable_targets()[0]
    texts = {
        emit_module(program(edge_kernel(target)[0], 2), target).text for _ in range(3)
    }
    assert len(texts) == 1
