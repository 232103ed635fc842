"""Ops on quads: machine code of every instruction set against plain integers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i32
from xdsl.dialects.func import FuncOp
from xdsl.utils.exceptions import InterpretationError

from edgec.codegen.host import host_features
from edgec.codegen.intrinsics import PREFERRED, intrinsics_for
from edgec.context import EdgecContext
from edgec.dialects import lane
from edgec.dialects.lane import buffer_type
from edgec.interpreter import interpret
from edgec.kernels.builder import KernelBuilder
from edgec.target import Target
from tests.effort import examples
from tests.lanes import compiled, program, run_both

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]


def machines() -> list[Target]:
    """This machine with each instruction set that it has, and with none."""
    features = host_features()
    native = Target.native(features)
    dots = frozenset().union(*(found.features for found in PREFERRED))
    made = [Target.parse("generic")]
    for found in PREFERRED:
        if not found.features or not found.features <= native.features:
            continue
        for lanes in found.lanes:
            kept = native.features - (dots - found.features - {"avx2"})
            name = "-".join((*sorted(found.features), str(lanes)))
            target = replace(native, name=name, features=kept, lanes=lanes)
            assert intrinsics_for(target, lanes) is found
            made.append(target)
    return made


ROWS = 27
"""Results of `kernel`."""

targets = pytest.mark.parametrize("target", machines(), ids=lambda t: t.name)


def kernel(lanes: int, *, bounded: bool) -> FuncOp:
    """All ops on one vector; the results one after the other."""
    quads = buffer_type(lanes, i32)
    types = {"acc": quads, "x": quads, "w": quads, "y": buffer_type(ROWS * lanes, i32)}
    b = KernelBuilder("quads", types, lanes=lanes)
    acc, x, w = (b.load(name, 0) for name in ("acc", "x", "w"))
    unpack, signed = lane.UnpackQuadsOp(x), lane.UnpackQuadsOp(x, signed=True)
    ordered = lane.UnpackQuadsOp(x, in_order=True)
    for op in (unpack, signed, ordered):
        b.add(op)
    parts = list(unpack.results)
    transpose = lane.TransposeQuadsOp([x, w, acc, x])
    b.add(transpose)
    results = [
        b.dot_quads(acc, x, w, bounded=bounded),
        b.add(lane.MaxQuadsOp(x, w)),
        *parts,
        b.add(lane.PackQuadsOp(parts)),
        b.add(lane.PackQuadsOp(parts[::-1], offset=200)),
        b.add(lane.MinQuadsOp(x, w)),
        b.add(lane.PackQuadsOp([acc, parts[1], acc, acc], offset=7)),
        b.add(lane.PackQuadsOp([acc] * 4)),
        b.add(lane.PackQuadsOp(parts, transposed=True)),
        b.add(lane.PackQuadsOp([acc, *parts[:3]], offset=9, transposed=True)),
        *transpose.results,
        *signed.results,
        *ordered.results,
        *(b.add(lane.DotWordsOp(acc, x, w, odd=odd)) for odd in (False, True)),
    ]
    for number, result in enumerate(results):
        b.store(result, "y", 0, offset=number * lanes)
    return b.finish()


def quad(values: Iterable[int]) -> int:
    """The nearest bytes."""
    return int.from_bytes([min(max(value, 0), 255) for value in values], "little")


def reference(acc: Ints, x: Bytes, w: Bytes) -> Ints:
    """The same in plain integers of Python; `x` and `w` are `[lanes, 4]`."""
    rows: list[list[int]] = [[] for _ in range(ROWS)]
    for a, some, others in zip(acc.tolist(), x.tolist(), w.tolist(), strict=True):
        signed = [value - 256 if value > 127 else value for value in others]
        rows[0].append(a + sum(p * q for p, q in zip(some, signed, strict=True)))
        larger = [max(pair) for pair in zip(some, others, strict=True)]
        rows[1].append(int.from_bytes(larger, "little"))
        for number in range(4):
            rows[2 + number].append(some[number])
            rows[17 + number].append((some[number] ^ 128) - 128)
        rows[6].append(int.from_bytes(some, "little"))
        rows[7].append(quad(value + 200 for value in some[::-1]))
        smaller = [min(pair) for pair in zip(some, others, strict=True)]
        rows[8].append(int.from_bytes(smaller, "little"))
        rows[9].append(quad([a + 7, some[1] + 7, a + 7, a + 7]))
        rows[10].append(quad([a] * 4))
    add_transposed(rows, acc, x, w)
    rows[21:25] = x.reshape(4, -1).tolist()
    for odd in (0, 1):
        halves = w.view("<i2").tolist()
        rows[25 + odd] = [
            a + some[odd] * low + some[2 + odd] * high
            for a, some, (low, high) in zip(
                acc.tolist(), x.tolist(), halves, strict=True
            )
        ]
    return np.array(rows, np.int64).astype(np.int32).reshape(-1)


def add_transposed(rows: list[list[int]], acc: Ints, x: Bytes, w: Bytes) -> None:
    """Results of blocks of four lanes."""
    inputs = (x, w, acc.view(np.uint8).reshape(-1, 4), x)
    for at in range(len(acc)):
        first, j = at - at % 4, at % 4
        rows[11].append(quad(int(x[first + b, j]) for b in range(4)))
        values = [
            int(acc[first + b]) if j == 0 else int(x[first + b, j - 1])
            for b in range(4)
        ]
        rows[12].append(quad(value + 9 for value in values))
        for number in range(4):
            lanes = (int(each[first + number, j]) for each in inputs)
            rows[13 + number].append(quad(lanes))


def check(
    target: Target, acc: Ints, x: Bytes, w: Bytes, *, bounded: bool = False
) -> None:
    """Interpreter and machine code agree with the reference."""
    module = program(kernel(target.lanes, bounded=bounded), 3)
    inputs = [acc, x.view("<i4").reshape(-1), w.view("<i4").reshape(-1)]
    ((native,), (interpreted,)) = run_both(module, inputs, target)
    expected = reference(acc, x, w)
    assert np.array_equal(interpreted, expected)
    assert np.array_equal(native, expected)


@targets
@examples(8)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_bytes(target: Target, seed: int) -> None:
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**31), 2**31, target.lanes).astype(np.int32)
    acc[::2] = rng.integers(-300, 300, acc[::2].shape)
    x, w = rng.integers(0, 256, (2, target.lanes, 4), np.uint8)
    check(target, acc, x, w)


@targets
def test_corners_do_not_saturate(target: Target) -> None:
    """Pairs of such products do not fit 16 bits."""
    module, shape = program(kernel(target.lanes, bounded=False), 3), (target.lanes, 4)
    run = compiled(module, target)
    for start, x, w in itertools.product(
        (0, -1, 255, 300, 40000, -40000, -(2**31), 2**31 - 1),
        (255, 128, 127, 0),
        (127, -127, -128, 0),
    ):
        acc = np.full(target.lanes, start, np.int32)
        ends = (np.full(shape, x, np.uint8), np.full(shape, w % 256, np.uint8))
        inputs = [acc, *(end.view("<i4").reshape(-1) for end in ends)]
        expected = reference(acc, *ends)
        (interpreted,) = interpret(module, inputs, EdgecContext())
        assert np.array_equal(run(inputs)[0], expected)
        assert np.array_equal(interpreted, expected)


@targets
@examples(8)
@given(seed=st.integers(0, 2**32 - 1), largest=st.booleans())
def test_bounded_weights(target: Target, seed: int, largest: bool) -> None:
    """Pairs of weights that sum to no more than 128, with either sign."""
    rng = np.random.default_rng(seed)
    first = rng.integers(-128, 128, (target.lanes, 2))
    room = lane.PAIR_BOUND - np.abs(first)
    other = np.where(largest, room, rng.integers(0, room + 1)) * np.sign(first)
    w = np.stack([first, other.clip(-128, 127)], -1).reshape(target.lanes, 4)
    x = np.where(largest, 255, rng.integers(0, 256, w.shape)).astype(np.uint8)
    acc = rng.integers(-(2**31), 2**31, target.lanes).astype(np.int32)
    check(target, acc, x, w.astype(np.int8).view(np.uint8), bounded=True)


def test_a_broken_promise_shows() -> None:
    target = machines()[0]
    x = np.zeros((target.lanes, 4), np.uint8)
    w = np.full((target.lanes, 4), 127, np.uint8)
    with pytest.raises(InterpretationError, match="is bounded, but got weights"):
        check(target, np.zeros(target.lanes, np.int32), x, w, bounded=True)
