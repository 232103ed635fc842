"""The body of one LLVM function under construction: names, blocks, loops, addresses.

Only LLVM's code generator runs on the text, so it must be good as it stands: loops
test at their end, constants are operands and never instructions, and the part of an
address that varies is computed once per block, so that the rest folds into loads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import (
    Float32Type,
    IndexType,
    IntegerAttr,
    MemRefType,
)
from xdsl.ir import Attribute, Block, Operation, SSAValue

from edgec.dialects import lane
from edgec.dialects.lane import element_of, lanes_of, width_of
from edgec.errors import CodegenFailed
from edgec.target import Target

# Any: each function takes the class of op that it stands under.
Emitter = Callable[["FunctionEmitter", Any], None]


def llvm_type(type_: Attribute) -> str:
    """LLVM's spelling of a scalar, vector or buffer type."""
    if lanes_of(type_) > 1:
        return f"<{lanes_of(type_)} x {llvm_type(element_of(type_))}>"
    if isinstance(type_, MemRefType):
        return "ptr"
    if isinstance(type_, IndexType):
        return "i64"
    if isinstance(type_, Float32Type):
        return "float"
    width = width_of(type_)
    if width is not None:
        return f"i{width}"
    raise CodegenFailed(
        f"code generation has no type for {type_}; it takes f32, integers, index, and "
        "vectors and flat buffers of those"
    )


def size_of(type_: Attribute) -> int:
    """Bytes of one element in a buffer."""
    if isinstance(type_, Float32Type):
        return 4
    if isinstance(type_, IndexType):
        return 8
    width = width_of(type_)
    if width is not None:
        return -(-width // 8)
    raise CodegenFailed(f"code generation has no buffers of {type_}")


def float_text(value: float) -> str:
    """A float32 constant; LLVM writes it as a double in hex."""
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:  # beyond float32, which rounds to infinity
        rounded = float("inf") if value > 0 else -float("inf")
    (bits,) = struct.unpack("<Q", struct.pack("<d", rounded))
    return f"0x{bits:016X}"


def splat_text(scalar_type: str, text: str, lanes: int) -> str:
    """The constant `text` in every lane."""
    return text if lanes == 1 else f"splat ({scalar_type} {text})"


class FunctionEmitter:
    """Emits the ops of one function.

    Args:
        target: the machine; decides which instructions are used.
        table: op class to the function that emits it.
    """

    def __init__(
        self, target: Target, table: Mapping[type[Operation], Emitter]
    ) -> None:
        self.target = target
        self.lines: list[str] = ["entry:"]
        self.scratch_bytes = 0
        self.definitions: dict[str, str] = {}
        """Constants and functions of the module that the function needs, by name."""
        self.has_tiles = False
        """Whether tiles are registers, as the target has all products asked for."""
        self._table = table
        self._values: dict[SSAValue, str] = {}
        self._num_names = 0
        self._num_labels = 0
        self._label = "entry"
        self._addresses: dict[str, str] = {}
        self._yielded: tuple[str, ...] = ()

    # Values

    def fresh_name(self) -> str:
        """A local name that was never used before in this function."""
        self._num_names += 1
        return f"%v{self._num_names}"

    def emit(self, instruction: str) -> str:
        """Append an instruction with a result and return the result's name."""
        name = self.fresh_name()
        self.lines.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {instruction}")

    def define(self, value: SSAValue, text: str) -> None:
        """Say what stands for `value` from now on: a name or a constant."""
        self._values[value] = text

    def value(self, value: SSAValue) -> str:
        """What stands for `value`."""
        return self._values[value]

    def typed(self, value: SSAValue) -> str:
        """`value` with its type in front."""
        return f"{llvm_type(value.type)} {self._values[value]}"

    # Ops

    def emit_block(self, block: Block) -> tuple[str, ...]:
        """Emit all ops of `block`; what its terminator yields."""
        for op in block.ops:
            emitter = self._table.get(type(op))
            if emitter is None:
                raise CodegenFailed(
                    f"'{op.name}' op has no code generation; lower it first"
                )
            emitter(self, op)
        return self._yielded

    def yields(self, values: Sequence[SSAValue]) -> None:
        """Remember what the block that ends here gives to the op around it."""
        self._yielded = tuple(self.value(value) for value in values)

    def _start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self._label = label
        self._addresses.clear()

    def _fresh_label(self) -> int:
        self._num_labels += 1
        return self._num_labels

    # Addresses

    def address(self, buffer: SSAValue, index: SSAValue, offset: int, size: int) -> str:
        """A pointer to `buffer[index + offset]`, elements of `size` bytes.

        The part `buffer[index]` is computed once per basic block; what is constant is
        added last, where it becomes part of the load or store.
        """
        index, known = split_constant(index)
        offset += known
        pointer, text = self.value(buffer), self.value(index)
        if is_literal(text):
            offset += int(text)
        else:
            pointer = self.shared(
                f"getelementptr i{8 * size}, ptr {pointer}, i64 {text}"
            )
        if offset == 0:
            return pointer
        return self.shared(f"getelementptr i8, ptr {pointer}, i64 {offset * size}")

    def shared(self, instruction: str) -> str:
        """The result of `instruction`, which is emitted once per basic block."""
        if instruction not in self._addresses:
            self._addresses[instruction] = self.emit(instruction)
        return self._addresses[instruction]

    # Control flow

    def emit_for(self, op: scf.ForOp) -> None:
        """A loop that tests at its end; before it, a test unless it runs for sure."""
        begin, end, step = map(constant_of, (op.lb, op.ub, op.step))
        trips = None
        if begin is not None and end is not None and step is not None:
            trips = max(0, -(-(end - begin) // step))
        arguments, inits = op.body.block.args, op.iter_args
        if trips in {0, 1}:
            results = tuple(self.value(value) for value in inits)
            if trips:
                for argument, value in zip(arguments, (op.lb, *inits), strict=True):
                    self.define(argument, self.value(value))
                results = self.emit_block(op.body.block)
        else:
            results = self._emit_loop(op, runs_for_sure=trips is not None)
        for result, text in zip(op.results, results, strict=True):
            self.define(result, text)

    def _emit_loop(self, op: scf.ForOp, *, runs_for_sure: bool) -> tuple[str, ...]:
        """The loop; what it gives."""
        number, before = self._fresh_label(), self._label
        loop, done = f"loop{number}", f"done{number}"
        begin, end, step = map(self.value, (op.lb, op.ub, op.step))
        inits = [self.value(value) for value in op.iter_args]
        if runs_for_sure:
            self.do(f"br label %{loop}")
        else:
            is_entered = self.emit(f"icmp slt i64 {begin}, {end}")
            self.do(f"br i1 {is_entered}, label %{loop}, label %{done}")
        self._start(loop)
        place = len(self.lines)
        arguments = op.body.block.args
        for argument in arguments:
            self.define(argument, self.fresh_name())
        following = self.emit_block(op.body.block)
        counter = self.emit(f"add nsw i64 {self.value(arguments[0])}, {step}")
        latch = self._label
        self.lines[place:place] = [
            f"  {self.value(argument)} = phi {llvm_type(argument.type)} "
            f"[ {init}, %{before} ], [ {next_value}, %{latch} ]"
            for argument, init, next_value in zip(
                arguments, (begin, *inits), (counter, *following), strict=True
            )
        ]
        goes_on = self.emit(f"icmp slt i64 {counter}, {end}")
        self.do(f"br i1 {goes_on}, label %{loop}, label %{done}")
        self._start(done)
        if runs_for_sure:
            return following
        return tuple(
            self._phi(value.type, (init, before), (next_value, latch))
            for value, init, next_value in zip(
                op.iter_args, inits, following, strict=True
            )
        )

    def emit_for_units(self, op: lane.ForUnitsOp) -> None:
        """Claim units one by one: this thread's, then those of the threads after it."""
        number, before = self._fresh_label(), self._label
        owners, claim = f"owners{number}", f"claim{number}"
        body, next_owner, done = f"unit{number}", f"owner{number}", f"done{number}"
        thread, threads, total = map(self.value, (op.thread, op.threads, op.total))
        self.do(f"br label %{owners}")
        self._start(owners)
        turn, following = self.fresh_name(), self.fresh_name()
        self.lines.append(
            f"  {turn} = phi i64 [ 0, %{before} ], [ {following}, %{next_owner} ]"
        )
        number_of = self.emit(f"add i64 {thread}, {turn}")
        is_past = self.emit(f"icmp uge i64 {number_of}, {threads}")
        wrapped = self.emit(f"sub i64 {number_of}, {threads}")
        owner = self.emit(f"select i1 {is_past}, i64 {wrapped}, i64 {number_of}")
        after = self.emit(f"add i64 {owner}, 1")
        first, last = (
            self.emit(f"udiv i64 {self.emit(f'mul i64 {n}, {total}')}, {threads}")
            for n in (owner, after)
        )
        offset = self.emit(f"mul i64 {owner}, %counter_stride")
        counter = self.emit(f"getelementptr i8, ptr %counters, i64 {offset}")
        self.do(f"br label %{claim}")
        self._start(claim)
        taken = self.emit(f"atomicrmw add ptr {counter}, i64 1 monotonic")
        unit = self.emit(f"add i64 {first}, {taken}")
        is_left = self.emit(f"icmp ult i64 {unit}, {last}")
        self.do(f"br i1 {is_left}, label %{body}, label %{next_owner}")
        self._start(body)
        self.define(op.unit, unit)
        self.emit_block(op.body.block)
        self.do(f"br label %{claim}")
        self._start(next_owner)
        self.lines.append(f"  {following} = add i64 {turn}, 1")
        goes_on = self.emit(f"icmp ult i64 {following}, {threads}")
        self.do(f"br i1 {goes_on}, label %{owners}, label %{done}")
        self._start(done)

    def emit_if(self, op: scf.IfOp) -> None:
        """Two branches that meet again; one of them may be empty."""
        number, ends = self._fresh_label(), list[tuple[tuple[str, ...], str]]()
        has_else = bool(op.false_region.blocks)
        then, other, done = f"then{number}", f"else{number}", f"end{number}"
        condition = self.value(op.cond)
        target = other if has_else else done
        self.do(f"br i1 {condition}, label %{then}, label %{target}")
        branches = [(then, op.true_region), (other, op.false_region)]
        for label, region in branches[: 1 + has_else]:
            self._start(label)
            values = self.emit_block(region.block)
            ends.append((values, self._label))
            self.do(f"br label %{done}")
        self._start(done)
        for index, result in enumerate(op.results):
            incoming = [(values[index], label) for values, label in ends]
            self.define(result, self._phi(result.type, *incoming))

    def _phi(self, type_: Attribute, *incoming: tuple[str, str]) -> str:
        """The value that comes from the block that ran before."""
        listed = ", ".join(f"[ {text}, %{label} ]" for text, label in incoming)
        return self.emit(f"phi {llvm_type(type_)} {listed}")


def is_literal(text: str) -> bool:
    """Whether the text of an index is a number, not a name."""
    return not text.startswith("%")


def constant_of(value: SSAValue) -> int | None:
    """The number, if `value` is an integer constant."""
    if isinstance(value.owner, arith.ConstantOp):
        attribute = value.owner.value
        if isinstance(attribute, IntegerAttr):
            return attribute.value.data
    return None


def split_constant(index: SSAValue) -> tuple[SSAValue, int]:
    """`index` as a value plus a constant, taken from the additions that make it."""
    known = 0
    while isinstance(index.owner, arith.AddiOp):
        lhs, rhs = index.owner.lhs, index.owner.rhs
        left, right = constant_of(lhs), constant_of(rhs)
        if right is not None:
            index, known = lhs, known + right
        elif left is not None:
            index, known = rhs, known + left
        else:
            break
    return index, known


def emit_yield(emitter: FunctionEmitter, op: scf.YieldOp) -> None:
    """Hand the operands to the op around the block."""
    emitter.yields(op.operands)


def emit_for(emitter: FunctionEmitter, op: scf.ForOp) -> None:
    """`scf.for`."""
    emitter.emit_for(op)


def emit_for_units(emitter: FunctionEmitter, op: lane.ForUnitsOp) -> None:
    """`lane.for_units`."""
    emitter.emit_for_units(op)


def emit_if(emitter: FunctionEmitter, op: scf.IfOp) -> None:
    """`scf.if`."""
    emitter.emit_if(op)


CONTROL_FLOW: Mapping[type[Operation], Emitter] = {
    scf.ForOp: emit_for,
    lane.ForUnitsOp: emit_for_units,
    scf.IfOp: emit_if,
    scf.YieldOp: emit_yield,
}
"""Ops with regions, and their ends."""
