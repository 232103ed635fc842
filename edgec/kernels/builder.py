"""Building kernels: `func.func`s of `lane`, `scf` and `arith` ops.

`KernelBuilder` keeps the insertion point, folds index arithmetic on constants, and
shares constants. Index arguments may be Python ints or values.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import (
    FunctionType,
    IndexType,
    IntegerAttr,
    MemRefType,
    f32,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import (
    buffer_type,
    element_of,
    lanes_of,
    vector,
    width_of,
)
from edgec.dialects.nn import int_attr

Index = int | SSAValue
index = IndexType()


class KernelBuilder:
    """One kernel function under construction.

    Args:
        name: symbol of the function.
        buffers: name and type of each buffer argument, in order.
        lanes: f32 lanes of a vector register of the target.
    """

    def __init__(
        self, name: str, buffers: Mapping[str, MemRefType[Any]], *, lanes: int
    ) -> None:
        self.lanes = lanes
        self._entry = Block(arg_types=[index, index, *buffers.values()])
        self._function = func.FuncOp(
            name,
            FunctionType.from_lists([index, index, *buffers.values()], []),
            Region(self._entry),
        )
        self.thread, self.threads, *arguments = self._entry.args
        self.thread.name_hint, self.threads.name_hint = "thread", "threads"
        self._buffers = dict(zip(buffers, arguments, strict=True))
        for hint, value in self._buffers.items():
            value.name_hint = hint
        self._block = self._entry
        self._constants: dict[tuple[object, str], SSAValue] = {}
        self._num_constants = 0

    def __getitem__(self, name: str) -> SSAValue:
        """The buffer argument of that name."""
        return self._buffers[name]

    def finish(self) -> func.FuncOp:
        """Close the function and return it."""
        self._entry.add_op(func.ReturnOp())
        return self._function

    def add(self, operation: Operation) -> SSAValue:
        """Append an op with one result and return the result."""
        self._block.add_op(operation)
        return operation.results[0]

    def do(self, operation: Operation) -> None:
        """Append an op without results."""
        self._block.add_op(operation)

    # Index arithmetic

    def value(self, number: Index) -> SSAValue:
        """`number` as a value; constants stand at the start of the function."""
        if isinstance(number, SSAValue):
            return number
        return self._constant(
            (number, "index"), arith.ConstantOp(IntegerAttr(number, index))
        )

    def plus(self, *numbers: Index) -> Index:
        """The sum."""
        known = sum(n for n in numbers if isinstance(n, int))
        result: Index | None = None
        for number in numbers:
            if isinstance(number, SSAValue):
                result = (
                    number
                    if result is None
                    else self.add(arith.AddiOp(self.value(result), number))
                )
        if result is None:
            return known
        if known:
            result = self.add(arith.AddiOp(self.value(result), self.value(known)))
        return result

    def minus(self, lhs: Index, rhs: Index) -> Index:
        """The difference."""
        if isinstance(rhs, int):
            return self.plus(lhs, -rhs)
        return self.add(arith.SubiOp(self.value(lhs), rhs))

    def times(self, lhs: Index, rhs: Index) -> Index:
        """The product."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs * rhs
        for one, other in ((lhs, rhs), (rhs, lhs)):
            if one == 1:
                return other
            if isinstance(one, int) and one == 0:
                return 0
        return self.add(arith.MuliOp(self.value(lhs), self.value(rhs)))

    def quotient(self, lhs: Index, rhs: Index) -> Index:
        """`lhs / rhs` rounded down; both not negative."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs // rhs
        if isinstance(rhs, int) and rhs == 1:
            return lhs
        return self.add(arith.DivUIOp(self.value(lhs), self.value(rhs)))

    def remainder(self, lhs: Index, rhs: Index) -> Index:
        """`lhs mod rhs`; both not negative."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs % rhs
        if isinstance(rhs, int) and rhs == 1:
            return 0
        return self.add(arith.RemUIOp(self.value(lhs), self.value(rhs)))

    def smaller(self, lhs: Index, rhs: Index) -> Index:
        """The smaller one; both not negative."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return min(lhs, rhs)
        return self.add(arith.MinUIOp(self.value(lhs), self.value(rhs)))

    def larger(self, lhs: Index, rhs: Index) -> Index:
        """The larger one; both not negative."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return max(lhs, rhs)
        return self.add(arith.MaxUIOp(self.value(lhs), self.value(rhs)))

    def less(self, lhs: Index, rhs: Index) -> SSAValue:
        """Whether `lhs < rhs`, as an i1; both not negative."""
        return self._compare(lhs, rhs, "ult")

    def equal(self, lhs: Index, rhs: Index) -> SSAValue:
        """Whether `lhs == rhs`, as an i1."""
        return self._compare(lhs, rhs, "eq")

    def _compare(self, lhs: Index, rhs: Index, predicate: str) -> SSAValue:
        return self.add(arith.CmpiOp(self.value(lhs), self.value(rhs), predicate))

    # Control flow

    def loop(
        self,
        begin: Index,
        end: Index,
        body: Callable[..., Sequence[SSAValue] | None],
        *,
        step: Index = 1,
        carried: Sequence[SSAValue] = (),
    ) -> tuple[SSAValue, ...]:
        """`scf.for`: `body(i, *carried)` returns the next values of `carried`."""
        types = [value.type for value in carried]
        block = Block(arg_types=[index, *types])
        bounds = (self.value(begin), self.value(end), self.value(step))
        with self._inside(block):
            next_values = body(*block.args) or ()
            block.add_op(scf.YieldOp(*next_values))
        loop = scf.ForOp(*bounds, list(carried), Region(block))
        self._block.add_op(loop)
        return tuple(loop.results)

    def when(
        self,
        condition: SSAValue,
        then: Callable[[], Sequence[SSAValue] | None],
        otherwise: Callable[[], Sequence[SSAValue] | None] | None = None,
    ) -> tuple[SSAValue, ...]:
        """`scf.if`: both branches return the results, if there are any."""
        blocks = [Block(), Block()]
        values: Sequence[SSAValue] = ()
        for block, branch in zip(blocks, (then, otherwise), strict=True):
            with self._inside(block):
                values = (branch() if branch else None) or ()
                block.add_op(scf.YieldOp(*values))
        operation = scf.IfOp(
            condition,
            [value.type for value in values],
            Region(blocks[0]),
            Region(blocks[1]) if otherwise else None,
        )
        self._block.add_op(operation)
        return tuple(operation.results)

    def repeat(self, count: int, body: Callable[[Index], None]) -> None:
        """`body(i)` for `i` in `0..count-1`; no loop where one call does."""
        if count == 1:
            body(0)
        elif count:
            self.loop(0, count, body)

    def units(self, total: Index, body: Callable[[SSAValue], None]) -> None:
        """`lane.for_units`: `body(unit)` for each of `total` units, on some thread."""
        block = Block(arg_types=[index])
        end = self.value(total)
        with self._inside(block):
            body(block.args[0])
        self._block.add_op(lane.ForUnitsOp(self.thread, self.threads, end, block))

    def barrier(self) -> None:
        """`lane.barrier`: all threads meet."""
        self._block.add_op(lane.BarrierOp())

    def share(
        self, total: Index, part: tuple[Index, Index] | None = None
    ) -> tuple[Index, Index]:
        """This thread's part `[begin, end)` of `total`, or number `k` of `n` parts."""
        number, count = part or (self.thread, self.threads)
        begin = self.quotient(self.times(number, total), count)
        after = self.times(self.plus(number, 1), total)
        return begin, self.quotient(after, count)

    # Lanes

    def vector_type(self) -> Attribute:
        """A full vector of f32."""
        return vector(self.lanes)

    def load(
        self,
        buffer: SSAValue | str,
        at: Index,
        *,
        lanes: int | None = None,
        offset: int = 0,
        stride: int = 1,
        mask: SSAValue | None = None,
        filter_: int | None = None,
    ) -> SSAValue:
        """`lane.load` of a full vector, or of `lanes` elements (1 = a scalar).

        `filter_` says which filter of a register block the load serves.
        """
        memory = self._memory(buffer)
        at, offset = self._split(at, offset)
        element = _element(memory)
        result = vector(self.lanes if lanes is None else lanes, element)
        load = lane.LoadOp(memory, at, result, offset=offset, stride=stride, mask=mask)
        if filter_ is not None:
            load.attributes["filter"] = int_attr(filter_)
        return self.add(load)

    def store(
        self,
        value: SSAValue,
        buffer: SSAValue | str,
        at: Index,
        *,
        offset: int = 0,
        mask: SSAValue | None = None,
    ) -> None:
        """`lane.store` of a vector or scalar."""
        at, offset = self._split(at, offset)
        memory = self._memory(buffer)
        self._block.add_op(lane.StoreOp(value, memory, at, offset=offset, mask=mask))

    def prefetch(self, buffer: SSAValue | str, at: Index, *, offset: int = 0) -> None:
        """`lane.prefetch`."""
        at, offset = self._split(at, offset)
        self._block.add_op(lane.PrefetchOp(self._memory(buffer), at, offset=offset))

    def load_mask(self, buffer: SSAValue | str, at: Index, offset: int = 0) -> SSAValue:
        """`lane.load_mask` of a full vector; `at` and `offset` count bits."""
        at, offset = self._split(at, offset)
        return self.add(
            lane.LoadMaskOp(self._memory(buffer), at, self.lanes, offset=offset)
        )

    def tail_mask(self, count: Index, lanes: int | None = None) -> SSAValue:
        """`lane.tail_mask` of a full vector, or of `lanes` elements."""
        width = self.lanes if lanes is None else lanes
        return self.add(lane.TailMaskOp(self.value(count), width))

    def load_index(
        self, buffer: SSAValue | str, at: Index, offset: int = 0
    ) -> SSAValue:
        """An i32 table entry as an index."""
        entry = self.load(buffer, at, lanes=1, offset=offset)
        return self.add(lane.IndexOp(entry))

    def constant(self, number: float, *, lanes: int | None = None) -> SSAValue:
        """`lane.constant`, shared, at the start of the function."""
        type_ = vector(self.lanes if lanes is None else lanes)
        return self._constant(
            (repr(float(number)), str(type_)), lane.ConstantOp(number, type_)
        )

    def integer(self, number: int) -> SSAValue:
        """A constant of i32."""
        return self._constant(
            (number, "i32"), arith.ConstantOp.from_int_and_width(number, 32)
        )

    def splat(self, scalar: SSAValue) -> SSAValue:
        """`lane.splat` to a full vector."""
        return self.add(lane.SplatOp(scalar, vector(self.lanes, scalar.type)))

    def dot(self, acc: SSAValue, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """`lane.dot`: `acc + lhs * rhs`."""
        return self.add(lane.DotOp(acc, lhs, rhs))

    def dot_quads(
        self, acc: SSAValue, x: SSAValue, w: SSAValue, *, bounded: bool = False
    ) -> SSAValue:
        """`lane.dot_quads`: unsigned bytes of `x` times signed ones of `w`."""
        return self.add(lane.DotQuadsOp(acc, x, w, bounded=bounded))

    def unpack_quads(
        self, quads: SSAValue, *, signed: bool = False, in_order: bool = False
    ) -> Sequence[SSAValue]:
        """`lane.unpack_quads`: the four bytes of each lane, as lanes of i32."""
        operation = lane.UnpackQuadsOp(quads, signed=signed, in_order=in_order)
        self.add(operation)
        return operation.results

    def pack_quads(
        self, parts: Sequence[SSAValue], offset: int = 0, *, transposed: bool = False
    ) -> SSAValue:
        """`lane.pack_quads`: the nearest bytes of four vectors."""
        return self.add(lane.PackQuadsOp(parts, offset, transposed=transposed))

    def transpose_quads(self, parts: Sequence[SSAValue]) -> Sequence[SSAValue]:
        """`lane.transpose_quads` of four vectors."""
        operation = lane.TransposeQuadsOp(parts)
        self.add(operation)
        return operation.results

    def max_quads(self, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """`lane.max_quads`."""
        return self.add(lane.MaxQuadsOp(lhs, rhs))

    def min_quads(self, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """`lane.min_quads`."""
        return self.add(lane.MinQuadsOp(lhs, rhs))

    def decode_quads(self, codes: SSAValue, table: SSAValue, part: int) -> SSAValue:
        """`lane.decode_quads`: the quads that one half of each byte stands for."""
        return self.add(lane.DecodeQuadsOp(codes, table, part))

    def look_up_bytes(self, quads: SSAValue, table: SSAValue | str) -> SSAValue:
        """`lane.look_up_bytes`: what a table of 256 bytes has for each byte."""
        return self.add(lane.LookUpBytesOp(quads, self._memory(table)))

    def unary(
        self, kind: str, value: SSAValue, params: Sequence[float] = ()
    ) -> SSAValue:
        """`lane.unary`."""
        return self.add(lane.UnaryOp(kind, value, params))

    def binary(self, kind: str, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """`lane.binary`."""
        return self.add(lane.BinaryOp(kind, lhs, rhs))

    def select(self, mask: SSAValue, on: SSAValue, off: SSAValue) -> SSAValue:
        """`lane.select`."""
        return self.add(lane.SelectOp(mask, on, off))

    def compare(self, kind: str, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        """`lane.compare`: a mask, or an i1 for scalars."""
        return self.add(lane.CompareOp(kind, lhs, rhs))

    def cast(self, value: SSAValue, type_: Attribute) -> SSAValue:
        """`lane.cast` to a vector or scalar type."""
        return self.add(lane.CastOp(value, type_))

    def fold(self, kind: str, value: SSAValue) -> SSAValue:
        """`lane.fold`: all lanes to one scalar."""
        return self.add(lane.FoldOp(kind, value))

    def concat(self, parts: Sequence[SSAValue]) -> SSAValue:
        """`lane.concat` of a power of two of equal vectors."""
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.add(lane.ConcatOp(low, high)) for low, high in pairs]
        return parts[0]

    def slice(self, value: SSAValue, first: int, lanes: int) -> SSAValue:
        """`lane.slice`; the value itself if that is all of it."""
        if lanes == lanes_of(value.type):
            return value
        return self.add(lane.SliceOp(value, first, lanes))

    def scratch(
        self, elements: int, offset: int = 0, element: Attribute = f32
    ) -> SSAValue:
        """`lane.scratch`; `offset` counts bytes, a multiple of 64."""
        return self.add(lane.ScratchOp(buffer_type(elements, element), offset))

    @contextmanager
    def _inside(self, block: Block) -> Generator[None]:
        """Build in another block for a while."""
        outer, self._block = self._block, block
        try:
            yield
        finally:
            self._block = outer

    def _memory(self, buffer: SSAValue | str) -> SSAValue:
        return self._buffers[buffer] if isinstance(buffer, str) else buffer

    def _split(self, at: Index, offset: int) -> tuple[SSAValue, int]:
        if isinstance(at, int):
            return self.value(0), offset + at
        return at, offset

    def _constant(self, key: tuple[object, str], operation: Operation) -> SSAValue:
        if key not in self._constants:
            anchor = self._entry.ops
            first = list(anchor)[self._num_constants :][:1]
            if first:
                self._entry.insert_op_before(operation, first[0])
            else:
                self._entry.add_op(operation)
            self._num_constants += 1
            self._constants[key] = operation.results[0]
        return self._constants[key]


def _element(memory: SSAValue) -> Attribute:
    element = element_of(memory.type)
    assert width_of(element) is not None or element == f32
    return element
