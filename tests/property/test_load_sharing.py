"""Sharing loads: same numbers; as many removed as an independent count says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from edgec.context import EdgecContext
from edgec.dialects import lane
from edgec.dialects.lane import buffer_type
from edgec.interpreter import interpret
from edgec.kernels.builder import KernelBuilder
from edgec.kernels.conv.dense import DenseConv
from edgec.kernels.layout import Layout
from edgec.passes import LoadRedundancyElimination
from edgec.passes.base import run_pass
from edgec.testing import assert_pass_preserves
from tests.effort import examples
from tests.lanes import program

LANES = 4
SIZE = 48


class RandomKernel:
    """Loads of few addresses, so that many are equal, with stores in between.

    `y` and the scratch are read and written, `x` is only read.
    """

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        types = {"x": buffer_type(SIZE), "y": buffer_type(SIZE)}
        self.b = KernelBuilder("kernel", types, lanes=LANES)

    def build(self) -> FuncOp:
        """Fill what is read, then load and store."""
        b = self.b
        self.scratch = b.scratch(SIZE)
        for memory in ("y", self.scratch):
            b.loop(0, SIZE, lambda i, m=memory: b.store(b.load("x", i, lanes=1), m, i))
        self.mask = b.tail_mask(b.plus(b.thread, 2))
        self.block(b.value(4), depth=0)
        return b.finish()

    def block(self, i: SSAValue, depth: int) -> SSAValue:
        """A few steps; the sum of what was loaded."""
        total = self.load(i)
        for _ in range(self.draw(st.integers(1, 5))):
            step = self.draw(st.sampled_from("llllssfi" if depth < 2 else "llls"))
            if step == "l":
                total = self.b.binary("add", total, self.load(i))
            elif step == "s":
                self.store(i, total)
            else:
                total = (
                    self.loop(total, depth)
                    if step == "f"
                    else self.branch(i, total, depth)
                )
        self.store(i, total)
        return total

    def memory(self) -> SSAValue | str:
        """One of the three buffers."""
        return self.draw(st.sampled_from(["x", "y", self.scratch]))

    def load(self, i: SSAValue) -> SSAValue:
        """Vectors with and without a mask or stride, and scalars."""
        b = self.b
        lanes = self.draw(st.sampled_from([LANES, LANES, 1]))
        is_plain = lanes == 1 or self.draw(st.booleans())
        value = b.load(
            self.memory(),
            i,
            lanes=lanes,
            offset=self.draw(st.integers(0, 1)),
            stride=1 if is_plain else self.draw(st.sampled_from([1, 2])),
            mask=None if is_plain else self.draw(st.sampled_from([None, self.mask])),
            filter_=self.draw(st.sampled_from([None, 0, 1])),
        )
        return value if lanes > 1 else b.splat(value)

    def store(self, i: SSAValue, value: SSAValue) -> None:
        """A vector, perhaps masked, kept from growing."""
        value = self.b.unary("clamp", value, (-8.0, 8.0))
        mask = self.draw(st.sampled_from([None, self.mask]))
        to = self.draw(st.sampled_from(["y", self.scratch]))
        offset = self.draw(st.integers(0, 2))
        self.b.store(value, to, i, offset=offset, mask=mask)

    def loop(self, total: SSAValue, depth: int) -> SSAValue:
        """None, one or two rounds."""

        def body(j: SSAValue, value: SSAValue) -> list[SSAValue]:
            new = self.b.binary("add", value, self.block(j, depth + 1))
            return [self.b.unary("clamp", new, (-8.0, 8.0))]

        end = self.draw(st.integers(0, 2))
        return self.b.loop(0, end, body, carried=[total])[0]

    def branch(self, i: SSAValue, total: SSAValue, depth: int) -> SSAValue:
        """Two sides, one of them empty."""

        def then() -> list[SSAValue]:
            return [self.block(i, depth + 1)]

        return self.b.when(self.b.equal(i, 4), then, lambda: [total])[0]


# The independent count: a number per buffer that grows with each store stands for its
# content; a load is redundant if the same address was seen with the same numbers in
# this block or around it.

Versions = Mapping[SSAValue, int]


def stores_in(op: Operation) -> Counter[SSAValue]:
    return Counter(o.buffer for o in op.walk() if isinstance(o, lane.StoreOp))


def count_redundant(
    block: Block, versions: Counter[SSAValue], seen: frozenset[tuple[object, ...]]
) -> int:
    count, now, known = 0, Counter(versions), set(seen)
    for op in block.ops:
        if isinstance(op, lane.LoadOp):
            mask, place = op.mask, (op.constant_offset, op.lane_stride)
            key = (op.buffer, now[op.buffer], op.index, mask, *place, op.result.type)
            count += key in known
            known.add(key)
        elif isinstance(op, lane.StoreOp):
            now[op.buffer] += 1
        elif op.regions:
            # A loop's body may run after its own stores.
            now += stores_in(op)
            for region in op.regions:
                inner = Counter(now)
                count += count_redundant(region.block, inner, frozenset(known))
            now += stores_in(op)
    return count


def num_loads(module: ModuleOp) -> int:
    return sum(isinstance(op, lane.LoadOp) for op in module.walk())


@examples(40)
@given(st.data())
def test_random_kernels(data: st.DataObject) -> None:
    module = program(RandomKernel(data).build(), 1)
    kernel = next(op for op in module.ops if isinstance(op, FuncOp))
    redundant = count_redundant(kernel.body.block, Counter(), frozenset())
    x = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    result = assert_pass_preserves(
        LoadRedundancyElimination(),
        module,
        EdgecContext(),
        [x],
        rtol=0,
        idempotent=True,
    )
    counts = result.statistics
    removed = counts["removed_kernel_level"] + counts["removed_filter_level"]
    assert counts["loads_before"] == num_loads(module)
    assert num_loads(result.module) == num_loads(module) - removed
    assert removed == redundant


def dense_block(filters: int, vectors: int, taps: tuple[int, ...]) -> ModuleOp:
    """One tile of one channel of planes that have rows of 8."""
    plane = 8 * vectors
    source = Layout((1, 1, 12, 8), (96, 96, 8, 1), slack=64)
    result = Layout((1, filters, vectors, 8), (plane * filters, plane, 8, 1))
    spec = DenseConv(source, result, taps, 1, False, (), (), filters, vectors, 8)
    return program(spec.build("kernel", 8), 2)


@pytest.mark.parametrize("filters", [1, 2, 5])
@pytest.mark.parametrize("vectors", [1, 3])
def test_filters_share_inputs(filters: int, vectors: int) -> None:
    module = dense_block(filters, vectors, (0, 1, 3, 5))
    before = num_loads(module)
    counts = run_pass(LoadRedundancyElimination(), EdgecContext(), module)
    assert before == counts["loads_before"] == 4 * filters * (1 + vectors)
    assert counts["removed_filter_level"] == 4 * (filters - 1) * vectors
    assert counts["removed_kernel_level"] == 0


def test_taps_share_rows() -> None:
    """With rows as long as a vector, the tap below reads what the next vector reads."""
    module = dense_block(1, 3, (0, 8, 16))
    counts = run_pass(LoadRedundancyElimination(), EdgecContext(), module)
    assert counts["removed_kernel_level"] == 3 * 3 - 5
    assert counts["removed_filter_level"] == 0


def test_a_store_inside_of_a_loop_is_seen_before_it() -> None:
    b = KernelBuilder("kernel", {"x": buffer_type(8), "y": buffer_type(8)}, lanes=4)
    b.store(b.load("x", 0), "y", 0)
    first = b.load("y", 0)

    def body(_: SSAValue, total: SSAValue) -> list[SSAValue]:
        again = b.load("y", 0)
        b.store(b.binary("add", again, again), "y", 0)
        return [b.binary("add", total, again)]

    (total,) = b.loop(0, 3, body, carried=[first])
    b.store(total, "y", 4)
    module = program(b.finish(), 1)
    x = np.ones(8, np.float32)
    (expected,) = interpret(module, [x], EdgecContext())
    counts = run_pass(LoadRedundancyElimination(), EdgecContext(), module)
    (found,) = interpret(module, [x], EdgecContext())
    assert sum(counts.values()) == counts["loads_before"] == 3
    np.testing.assert_array_equal(found, expected)
    assert found[4] == 1 + 1 + 2 + 4
