"""How often each kind of op of a kernel runs, without running it.

Loops over positions have constant bounds, those over columns or taps read theirs from
tables. So the indices of a kernel are computed, with its packed tables. A loop whose
turns all run the same ops, such as one over tiles, is walked once and multiplied. What
is in vectors is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from edgec.context import WeightStore
from edgec.dialects import lane
from edgec.dialects.lane import lanes_of
from edgec.errors import InvalidInput

Tables = Mapping[SSAValue, npt.NDArray[Any]]

ARITHMETIC: Mapping[type[Operation], Callable[[int, int], int]] = {
    arith.AddiOp: lambda x, y: x + y,
    arith.SubiOp: lambda x, y: x - y,
    arith.MuliOp: lambda x, y: x * y,
    arith.DivUIOp: lambda x, y: x // y,
    arith.RemUIOp: lambda x, y: x % y,
    arith.MinUIOp: min,
    arith.MaxUIOp: max,
}
"""Indices of kernels are never negative where it matters."""

COMPARE: Mapping[int, Callable[[int, int], bool]] = {
    0: lambda x, y: x == y,
    1: lambda x, y: x != y,
    6: lambda x, y: x < y,
    7: lambda x, y: x <= y,
    8: lambda x, y: x > y,
    9: lambda x, y: x >= y,
}
"""Number of a predicate of `arith.cmpi`, unsigned ones, → comparison."""


@dataclass
class Counts:
    """How often ops run, in all threads together."""

    vectors: int = 0
    """Loads of a vector: inputs, and partial sums."""
    weights: int = 0
    """Loads of one number, which is spread over a vector."""
    entries: int = 0
    """Loads from tables of integers."""
    products: int = 0
    """Multiply-adds of vectors."""

    @property
    def loads(self) -> int:
        """All loads."""
        return self.vectors + self.weights + self.entries

    def add(self, other: Counts, times: int = 1) -> None:
        """Add what runs `times` times."""
        for each in fields(self):
            total = getattr(self, each.name) + times * getattr(other, each.name)
            setattr(self, each.name, total)


def count_products(module: ModuleOp, weights: WeightStore) -> Counts:
    """The counts of all kernels of a program that multiply and add.

    `module` is `lane`, after `convert-to-lane`. Raises `InvalidInput` for a kernel
    whose loops depend on what is not in its tables.
    """
    kernels = {op.sym_name.data: op for op in module.ops if isinstance(op, func.FuncOp)}
    total = Counts()
    for launch in module.walk():
        if not isinstance(launch, lane.LaunchOp):
            continue
        kernel = kernels[launch.callee.string_value()]
        if not any(isinstance(op, lane.DotOp) for op in kernel.walk()):
            continue
        buffers = kernel.body.block.args[2:]
        tables: Tables = {
            buffer: weights[made.owner.resource.data]
            for buffer, made in zip(buffers, launch.arguments, strict=True)
            if isinstance(made.owner, lane.WeightsOp)
        }
        total.add(count_kernel(kernel, tables))
    return total


def count_kernel(kernel: func.FuncOp, tables: Tables) -> Counts:
    """The counts of one kernel; `tables` are the contents of its buffers, as known."""
    counter = _Counter(tables)
    thread, threads, *_ = kernel.body.block.args
    counter.known |= {thread: 0, threads: 1}
    return counter.run(kernel.body.block)


class _Counter:
    """One walk over a kernel, with the indices that are known."""

    def __init__(self, tables: Tables) -> None:
        self.tables = {
            buffer: array.reshape(-1)
            for buffer, array in tables.items()
            if np.issubdtype(array.dtype, np.integer)
        }
        self.known: dict[SSAValue, int | None] = {}
        self._uniform: dict[Block, bool] = {}

    def run(self, block: Block) -> Counts:
        """Count the ops of a block, given what is known when it is entered."""
        counts = Counts()
        for op in block.ops:
            if isinstance(op, lane.LoadOp):
                self._load(op, counts)
            elif isinstance(op, lane.DotOp):
                counts.products += 1
            elif isinstance(op, scf.ForOp):
                counts.add(self._loop(op))
            elif isinstance(op, scf.IfOp):
                counts.add(self._branch(op))
            elif isinstance(op, lane.ForUnitsOp):
                units = range(self._need(op.total, op))
                counts.add(self._turns(op.body.block, units))
            elif op.regions:
                raise InvalidInput(f"no rule to count what '{op.name}' runs")
            else:
                self._index(op)
        return counts

    def _load(self, op: lane.LoadOp, counts: Counts) -> None:
        if lanes_of(op.result.type) > 1:
            counts.vectors += 1
        elif op.buffer in self.tables:
            counts.entries += 1
            at = self.known.get(op.index)
            if at is not None:
                entry = int(self.tables[op.buffer][at + op.constant_offset])
                self.known[op.result] = entry
        else:
            counts.weights += 1

    def _index(self, op: Operation) -> None:
        """Compute an index, if its operands are known."""
        if isinstance(op, arith.ConstantOp) and isinstance(op.value, IntegerAttr):
            self.known[op.result] = op.value.value.data
            return
        values = [self.known.get(operand) for operand in op.operands]
        if not op.results or any(value is None for value in values):
            self.known |= dict.fromkeys(op.results)
            return
        found = [value for value in values if value is not None]
        if isinstance(op, arith.CmpiOp):
            compare = COMPARE[op.predicate.value.data]
            self.known[op.result] = int(compare(*found))
        elif isinstance(op, lane.IndexOp):
            self.known[op.result] = found[0]
        elif type(op) in ARITHMETIC:
            self.known[op.results[0]] = ARITHMETIC[type(op)](*found)

    def _loop(self, op: scf.ForOp) -> Counts:
        begin, end, step = (self._need(v, op) for v in (op.lb, op.ub, op.step))
        trips, carried = range(begin, end, step), op.body.block.args[1:]
        self._pass_on(op.iter_args, carried)
        counts = self._turns(op.body.block, trips)
        self._pass_on(carried, op.results)
        return counts

    def _turns(self, body: Block, trips: range) -> Counts:
        """All turns of a loop; leaves what is carried in the arguments of its body."""
        number, *carried = body.args
        counts = Counts()
        if trips and self._is_uniform(body):
            self.known |= dict.fromkeys(body.args)
            counts.add(self.run(body), len(trips))
            return counts
        for trip in trips:
            self.known[number] = trip
            counts.add(self.run(body))
            if carried:
                assert body.last_op is not None
                self._pass_on(body.last_op.operands, carried)
        return counts

    def _branch(self, op: scf.IfOp) -> Counts:
        is_true = self._need(op.cond, op)
        region = op.true_region if is_true else op.false_region
        if not region.blocks:
            return Counts()
        counts = self.run(region.block)
        assert region.block.last_op is not None
        self._pass_on(region.block.last_op.operands, op.results)
        return counts

    def _pass_on(self, values: Sequence[SSAValue], names: Sequence[SSAValue]) -> None:
        found = [self.known.get(value) for value in values]
        self.known |= dict(zip(names, found, strict=True))

    def _is_uniform(self, body: Block) -> bool:
        """Whether every turn of a loop runs the same ops."""
        if body not in self._uniform:
            varying = varying_values(body)
            self._uniform[body] = not any(
                value in varying for op in body.walk() for value in control(op)
            )
        return self._uniform[body]

    def _need(self, value: SSAValue, op: Operation) -> int:
        known = self.known.get(value)
        if known is None:
            raise InvalidInput(
                f"'{op.name}' op depends on {value}, which is not in the tables"
            )
        return known


def control(op: Operation) -> Sequence[SSAValue]:
    """Operands that say how often what is inside of an op runs."""
    if isinstance(op, scf.ForOp):
        return (op.lb, op.ub, op.step)
    return op.operands if isinstance(op, scf.IfOp | lane.ForUnitsOp) else ()


def varying_values(body: Block) -> set[SSAValue]:
    """Values that may differ from turn to turn of a loop with this body."""
    varying: set[SSAValue] = set(body.args)
    before = -1
    while len(varying) > before:
        before = len(varying)
        for op in body.walk():
            for value, names in _flow(op):
                if value in varying:
                    varying.update(names)
    return varying


def _flow(op: Operation) -> Iterator[tuple[SSAValue, Sequence[SSAValue]]]:
    """Operands of an op, each with the values that depend on it."""
    around = op.parent_op()
    if isinstance(op, scf.ForOp):
        names = zip(op.body.block.args[1:], op.results, strict=True)
        yield from zip(op.iter_args, names, strict=True)
    elif isinstance(op, scf.YieldOp) and isinstance(around, scf.ForOp):
        names = zip(around.body.block.args[1:], around.results, strict=True)
        yield from zip(op.operands, names, strict=True)
    elif isinstance(op, scf.YieldOp) and around is not None:
        yield from ((v, [r]) for v, r in zip(op.operands, around.results, strict=True))
    else:
        yield from ((value, op.results) for value in op.operands)
