"""The interpreter of `lane` as a machine that checks what kernels do."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8
from xdsl.utils.exceptions import InterpretationError

from edgec.context import EdgecContext
from edgec.dialects.lane import buffer_type
from edgec.errors import InvalidInput
from edgec.interpreter import interpret
from edgec.interpreter.lane import fused_multiply_add
from edgec.kernels.builder import KernelBuilder
from tests.lanes import Array, program

X = np.arange(16, dtype=np.float32)


def builder() -> KernelBuilder:
    types = {"x": buffer_type(16), "y": buffer_type(16)}
    return KernelBuilder("kernel", types, lanes=4)


def run(b: KernelBuilder, threads: int = 1) -> Array:
    module = program(b.finish(), 1)
    module.verify()
    (y,) = interpret(module, [X], EdgecContext(), threads=threads)
    return y


OUTSIDE: dict[str, Callable[[KernelBuilder], object]] = {
    "'lane.load' op of 'kernel' accesses element 16 of a buffer of 16": (
        lambda b: b.load("x", 13)
    ),
    "'lane.load' op of 'kernel' accesses element -1 of a buffer of 16": (
        lambda b: b.load("x", b.minus(b.thread, 1))
    ),
    "'lane.load' op of 'kernel' accesses element 17 of a buffer of 16": (
        lambda b: b.load("x", 11, stride=2)
    ),
    "'lane.store' op of 'kernel' accesses element 16 of a buffer of 16": (
        lambda b: b.store(b.constant(0.0), "y", 13)
    ),
    "'lane.store' op writes to an input": (lambda b: b.store(b.constant(0.0), "x", 0)),
    "'arith.divui' op divides by zero": lambda b: b.quotient(b.threads, b.thread),
}


@pytest.mark.parametrize("message", OUTSIDE)
def test_a_wrong_access_is_named(message: str) -> None:
    b = builder()
    OUTSIDE[message](b)
    with pytest.raises(InterpretationError, match=message):
        run(b)


def test_masked_lanes_are_not_accessed() -> None:
    b = builder()
    mask = b.tail_mask(3)
    b.store(b.load("x", 13, mask=mask), "y", 13, mask=mask)
    y = run(b)
    np.testing.assert_array_equal(y[13:], X[13:])
    assert np.isnan(y[:13]).all()


def test_mask_bits_start_where_a_load_can() -> None:
    types = {"bits": buffer_type(2, i8), "y": buffer_type(8)}
    b = KernelBuilder("kernel", types, lanes=8)
    b.load_mask("bits", b.times(b.threads, 4))
    module = program(b.finish(), 1)
    with pytest.raises(InterpretationError, match="a multiple of 8 bits, got 4"):
        interpret(module, [np.zeros(2, np.int8)], EdgecContext())


def test_undefined_memory_shows() -> None:
    b = builder()
    b.store(b.load(b.scratch(4), 0), "y", 0)
    assert np.isnan(run(b)).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_share_the_work(threads: int) -> None:
    b = builder()
    begin, end = b.share(16)
    b.loop(begin, end, lambda i: b.store(b.load("x", i, lanes=1), "y", i))
    np.testing.assert_array_equal(run(b, threads), X)


def test_each_thread_has_its_number() -> None:
    b = builder()
    zero, one = b.constant(0.0, lanes=1), b.constant(1.0, lanes=1)
    b.store(b.select(b.equal(b.thread, 2), one, zero), "y", b.thread)
    y = run(b, threads=4)
    np.testing.assert_array_equal(y[:4], [0, 0, 1, 0])


def test_a_lowered_function_checks_its_inputs() -> None:
    module = program(builder().finish(), 1)
    with pytest.raises(InvalidInput, match=r"must be float32\[16\], got float32\[2\]"):
        interpret(module, [X[:2]], EdgecContext())


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(numbers, numbers, numbers)
def test_multiply_add_rounds_once(x: float, y: float, z: float) -> None:
    with np.errstate(all="ignore"):
        wide = fused_multiply_add(*(np.array(v, np.float32) for v in (x, y, z)))
        found = np.float32(wide)
    if not np.isfinite(found):
        return
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    error = abs(Fraction(float(found)) - exact)
    for neighbour in np.nextafter(found, np.array([-np.inf, np.inf], np.float32)):
        if np.isfinite(neighbour):
            assert error <= abs(Fraction(float(neighbour)) - exact)


def test_threads_see_what_was_written_before_a_barrier() -> None:
    b = builder()
    b.store(b.load("x", b.thread, lanes=1), "y", b.thread)
    b.barrier()
    other = b.minus(2, b.thread)
    b.store(b.load("y", other, lanes=1), "y", b.plus(b.thread, 3))
    np.testing.assert_array_equal(run(b, threads=3)[:6], [0, 1, 2, 2, 1, 0])


def test_scratch_stays_a_threads_own_across_barriers() -> None:
    b = builder()
    own = b.scratch(1)
    b.store(b.load("x", b.thread, lanes=1), own, 0)
    b.barrier()
    b.store(b.load(own, 0, lanes=1), "y", b.thread)
    np.testing.assert_array_equal(run(b, threads=3)[:3], [0, 1, 2])


def test_a_wrong_access_of_one_thread_ends_all() -> None:
    b = builder()
    b.barrier()
    b.load("x", b.plus(b.thread, 14), lanes=1)
    b.barrier()
    with pytest.raises(InterpretationError, match="accesses element 16 of a buffer"):
        run(b, threads=3)
