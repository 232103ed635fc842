"""Lane IR to LLVM IR text.

A module of `lane` (see `edgec.dialects.lane`) becomes one internal function per kernel
and `edgec_main`, which every thread of a team runs; `edgec.codegen.entry` has their
interface and adds `edgec_entry`. The same module and target give the same text.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from edgec.codegen.emit_codes import CODES
from edgec.codegen.emit_function import (
    CONTROL_FLOW,
    Emitter,
    FunctionEmitter,
    llvm_type,
)
from edgec.codegen.emit_memory import MEMORY, buffer_bytes
from edgec.codegen.emit_pairs import PAIRS
from edgec.codegen.emit_quads import QUADS
from edgec.codegen.emit_tiles import TILES
from edgec.codegen.emit_values import VALUES
from edgec.codegen.entry import MAIN_SYMBOL, entry_text
from edgec.dialects import lane
from edgec.errors import CodegenFailed
from edgec.target import MAX_THREADS, Target

MAIN = "main"
"""The function that launches the kernels."""

_SYMBOL_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.$-")

ALIGNMENT = 64
"""Bytes that sizes of memory are rounded up to: a cache line."""

COUNTER_BYTES = 8
"""Of the counter that a thread has for each launch."""

_MAIN_PARAMETERS = (
    *("i64 %tid", "i64 %nthreads", "ptr %args", "ptr %weights"),
    *("ptr %arena", "ptr %scratch", "ptr %barrier"),
)


@dataclass(frozen=True)
class EmittedProgram:
    """A program as LLVM IR, and what it needs to run."""

    text: str
    """A whole LLVM module; it exports `edgec_entry`."""
    weight_names: tuple[str, ...]
    """Names of the arrays in the weight table, in its order."""
    arena_bytes: int
    """Memory for activations, shared by the threads of one call."""
    scratch_bytes_per_thread: int
    """Memory that each thread has for itself."""


def emit_module(module: ModuleOp, target: Target) -> EmittedProgram:
    """Emit the program in `module` for `target`.

    Every `lane.buffer` must have its place in the arena (`plan-memory`). Raises
    `CodegenFailed` naming the op or function that has no code generation.
    """
    functions = [op for op in module.ops if isinstance(op, func.FuncOp)]
    others = [op.name for op in module.ops if not isinstance(op, func.FuncOp)]
    if others:
        raise CodegenFailed(f"a lowered module holds functions only, got '{others[0]}'")
    kernels = [f for f in functions if f.sym_name.data != MAIN]
    mains = [f for f in functions if f.sym_name.data == MAIN]
    if len(mains) != 1:
        raise CodegenFailed(f"a module has one function '{MAIN}', got {len(mains)}")
    texts: list[str] = []
    definitions: dict[str, str] = {}
    scratch_bytes = 0
    for kernel in kernels:
        emitted = emit_kernel(kernel, target)
        texts.append(emitted.text)
        definitions |= emitted.definitions
        scratch_bytes = max(scratch_bytes, emitted.scratch_bytes)
    main = _MainEmitter(target, kernels)
    texts.append(main.emit_main(mains[0]))
    return EmittedProgram(
        text="\n".join([*definitions.values(), *texts, entry_text()]),
        weight_names=tuple(main.weights),
        arena_bytes=_rounded(main.arena_bytes),
        scratch_bytes_per_thread=_rounded(scratch_bytes),
    )


@dataclass(frozen=True)
class EmittedKernel:
    """A kernel as LLVM IR, and what it needs around it."""

    text: str
    """The definition of one function."""
    scratch_bytes: int
    """Memory that each thread needs for it."""
    definitions: Mapping[str, str]
    """What it uses of the module, by name: other kernels may use the same."""


def emit_kernel(function: func.FuncOp, target: Target) -> EmittedKernel:
    """The definition of one kernel, and what it needs."""
    thread, threads, *buffers = function.body.block.args
    emitter = FunctionEmitter(target, KERNEL_OPS)
    emitter.define(thread, "%thread")
    emitter.define(threads, "%threads")
    parameters = [
        *("i64 %thread", "i64 %threads", "ptr noalias %scratch"),
        *("ptr noalias %counters", "i64 %counter_stride"),
    ]
    # LLVM may take it that no other thread writes what a `noalias` argument points to.
    meets = any(isinstance(op, lane.BarrierOp) for op in function.walk())
    kind = "ptr" if meets else "ptr noalias"
    for number, buffer in enumerate(buffers):
        if llvm_type(buffer.type) != "ptr":
            raise CodegenFailed(
                f"argument {number + 2} of kernel '{function.sym_name.data}' must be a "
                f"buffer, got {buffer.type}"
            )
        emitter.define(buffer, f"%b{number}")
        parameters.append(f"{kind} %b{number}")
    # The last one, so that kernels without a barrier are the same as without it.
    parameters.append("ptr %barrier")
    emitter.emit_block(function.body.block)
    symbol = _symbol(function.sym_name.data)
    head = f"define internal void {symbol}({', '.join(parameters)}) nounwind {{"
    text = "\n".join([head, *emitter.lines, "}", ""])
    return EmittedKernel(text, emitter.scratch_bytes, emitter.definitions)


def emit_barrier(emitter: FunctionEmitter, _: lane.BarrierOp) -> None:
    """`lane.barrier`: a call of the runtime's."""
    emitter.do("call void %barrier()")


def emit_return(emitter: FunctionEmitter, op: func.ReturnOp) -> None:
    """`func.return` without values."""
    if op.arguments:
        raise CodegenFailed("a lowered function returns nothing; results are buffers")
    emitter.do("ret void")


KERNEL_OPS: Mapping[type[Operation], Emitter] = {
    **CONTROL_FLOW,
    **VALUES,
    **QUADS,
    **PAIRS,
    **CODES,
    **TILES,
    **MEMORY,
    lane.BarrierOp: emit_barrier,
    func.ReturnOp: emit_return,
}
"""Everything that may stand in a kernel."""


class _MainEmitter:
    """Emits `edgec_main`; collects what it needs of weights and memory."""

    def __init__(self, target: Target, kernels: Sequence[func.FuncOp]) -> None:
        self.weights: dict[str, str] = {}
        self.arena_bytes = 0
        self._kernels = {kernel.sym_name.data for kernel in kernels}
        self._launches = 0
        self._counter_stride = 0
        self._emitter = FunctionEmitter(
            target,
            {
                lane.BufferOp: self._emit_buffer,
                lane.WeightsOp: self._emit_weights,
                lane.LaunchOp: self._emit_launch,
                func.ReturnOp: self._emit_return,
            },
        )

    def emit_main(self, function: func.FuncOp) -> str:
        """The definition of `edgec_main`.

        Before the activations the arena holds, for each thread, a counter per launch:
        how many of its units are taken (`lane.for_units`). They are zero at the start
        of a call. The arena ends where the last activation does, so that an access
        beyond it is one beyond the arena.
        """
        emitter = self._emitter
        ops = list(function.body.block.ops)
        launches = sum(isinstance(op, lane.LaunchOp) for op in ops)
        self._counter_stride = _rounded(COUNTER_BYTES * launches)
        activations = MAX_THREADS * self._counter_stride
        self.arena_bytes = activations + max(map(_end_of, ops), default=0)
        place = f"getelementptr i8, ptr %arena, i64 {activations}"
        emitter.do(f"%activations = {place}")
        for number, argument in enumerate(function.body.block.args):
            emitter.define(argument, _load_pointer(emitter, "%args", number))
        emitter.emit_block(function.body.block)
        parameters = ", ".join(_MAIN_PARAMETERS)
        head = f"define internal void @{MAIN_SYMBOL}({parameters}) nounwind {{"
        return "\n".join([head, *emitter.lines, "}", ""])

    def _emit_buffer(self, emitter: FunctionEmitter, op: lane.BufferOp) -> None:
        """A place in the arena."""
        if op.offset is None:
            raise CodegenFailed(
                "'lane.buffer' op must have an offset in the arena; run plan-memory"
            )
        offset = op.offset.value.data
        place = f"getelementptr i8, ptr %activations, i64 {offset}"
        emitter.define(op.result, emitter.emit(place))

    def _emit_weights(self, emitter: FunctionEmitter, op: lane.WeightsOp) -> None:
        """An entry of the weight table; one per name."""
        name = op.resource.data
        if name not in self.weights:
            number = len(self.weights)
            self.weights[name] = _load_pointer(emitter, "%weights", number)
        emitter.define(op.result, self.weights[name])

    def _emit_launch(self, emitter: FunctionEmitter, op: lane.LaunchOp) -> None:
        """A call of the kernel, then the barrier."""
        name = op.callee.string_value()
        if name not in self._kernels:
            raise CodegenFailed(f"'lane.launch' op: the module has no kernel '{name}'")
        buffers = [emitter.typed(argument) for argument in op.arguments]
        counter = emitter.emit(
            f"getelementptr i8, ptr %arena, i64 {COUNTER_BYTES * self._launches}"
        )
        self._launches += 1
        arguments = [
            *("i64 %tid", "i64 %nthreads", "ptr %scratch"),
            *(f"ptr {counter}", f"i64 {self._counter_stride}"),
            *buffers,
            "ptr %barrier",
        ]
        emitter.do(f"call void {_symbol(name)}({', '.join(arguments)})")
        emitter.do("call void %barrier()")

    def _emit_return(self, emitter: FunctionEmitter, op: func.ReturnOp) -> None:
        """Every thread has passed the last barrier: its counters are free again."""
        offset = emitter.emit(f"mul i64 %tid, {self._counter_stride}")
        own = emitter.emit(f"getelementptr i8, ptr %arena, i64 {offset}")
        emitter.do(
            f"call void @llvm.memset.p0.i64(ptr {own}, i8 0, "
            f"i64 {self._counter_stride}, i1 false)"
        )
        emit_return(emitter, op)


def _end_of(op: Operation) -> int:
    """Where a buffer ends in the arena; 0 for any other op."""
    if not isinstance(op, lane.BufferOp) or op.offset is None:
        return 0
    return op.offset.value.data + buffer_bytes(op)


def _load_pointer(emitter: FunctionEmitter, table: str, number: int) -> str:
    """Entry `number` of a table of pointers."""
    place = emitter.emit(f"getelementptr ptr, ptr {table}, i64 {number}")
    return emitter.emit(f"load ptr, ptr {place}, align 8")


def _symbol(name: str) -> str:
    """LLVM's spelling of a kernel's name; the prefix keeps it apart from the entry."""
    escaped = "".join(
        character if character in _SYMBOL_CHARACTERS else f"\\{byte:02X}"
        for byte, character in ((byte, chr(byte)) for byte in name.encode())
    )
    return f'@"kernel.{escaped}"'


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
