"""How many products of bytes the threads of a program compute at most.

A loop of the target's dot product (`lane.dot_quads`) on registers: each step loads a
few vectors, which stay in the level 1 cache, and adds their products with all weights
to sums. So the processor has nothing to wait for, and no product can be moved out of
the loop.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import ArrayAttr, FunctionType, ModuleOp, TensorType, i32
from xdsl.ir import Block, Region, SSAValue

from edgec.codegen.emit import emit_module
from edgec.codegen.entry import ENTRY_SYMBOL
from edgec.codegen.jit import compile_object, load_object
from edgec.dialects import lane
from edgec.dialects.lane import QUAD, buffer_type
from edgec.kernels.builder import KernelBuilder
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.target import Target

ROWS = 64
"""Vectors that are read in turn: 4 kB where a register has 64 bytes."""
TURNS = 4000
"""Of those, in a call: milliseconds."""
CALLS = 15
"""The median counts: the peak of the same clock that a network has."""


@dataclass(frozen=True)
class PeakLoop:
    """The kernel: every thread computes the same, into its own part of the result."""

    threads: int
    vectors: int
    """Loaded in a step."""
    weights: int
    """Each of them meets all of these."""
    rows: int = ROWS
    turns: int = TURNS

    @staticmethod
    def of(target: Target, threads: int) -> PeakLoop:
        """As many sums as hide latency; with their operands they fill the registers."""
        vectors, weights = (4, 5) if target.registers == 32 else (2, 3)
        return PeakLoop(threads, vectors, weights)

    def products(self, lanes: int) -> int:
        """Multiply-adds of bytes of all threads in a call."""
        sums = self.vectors * self.weights
        return self.threads * self.turns * self.rows * sums * lanes * QUAD

    def sizes(self, lanes: int) -> dict[str, int]:
        """Lanes of the buffers: what is read, the weights, a sum of each thread."""
        counts = (self.rows + self.vectors, self.weights, self.threads)
        return {name: n * lanes for name, n in zip("xwy", counts, strict=True)}

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; all buffers are of quads."""
        sizes = self.sizes(lanes).items()
        buffers = {name: buffer_type(size, i32) for name, size in sizes}
        b = KernelBuilder(name, buffers, lanes=lanes)
        weights = [b.load("w", n * lanes) for n in range(self.weights)]

        def row(number: SSAValue, *sums: SSAValue) -> list[SSAValue]:
            at, found = b.times(number, lanes), iter(sums)
            xs = [b.load("x", at, offset=v * lanes) for v in range(self.vectors)]
            return [
                b.dot_quads(next(found), x, w, bounded=True)
                for x in xs
                for w in weights
            ]

        def turn(_: SSAValue, *sums: SSAValue) -> list[SSAValue]:
            return list(b.loop(0, self.rows, row, carried=sums))

        zeros = [b.splat(b.integer(0))] * (self.vectors * self.weights)
        total, *others = b.loop(0, self.turns, turn, carried=zeros)
        for other in others:
            total = b.add(arith.AddiOp(total, other))
        b.store(total, "y", b.times(b.thread, lanes))
        return b.finish()


def peak_products_per_s(target: Target, threads: int, calls: int = CALLS) -> float:
    """Multiply-adds of bytes per second of so many threads; the median of calls."""
    loop = PeakLoop.of(target, threads)
    run = compile_loop(loop, target)
    inputs = loop_inputs(loop, target.lanes)
    run(inputs)
    times: list[float] = []
    for _ in range(calls):
        start = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - start)
    return loop.products(target.lanes) / statistics.median(times)


def loop_inputs(loop: PeakLoop, lanes: int) -> list[npt.NDArray[np.int32]]:
    """Small bytes, so that no pair of products exceeds 16 bits."""
    generator, sizes = np.random.default_rng(0), loop.sizes(lanes)
    several = (generator.integers(0, 8, QUAD * sizes[n], np.int8) for n in "xw")
    return [each.view("<i4") for each in several]


def compile_loop(loop: PeakLoop, target: Target) -> Executable:
    """A program of the kernel alone."""
    kernel = loop.build("peak", target.lanes)
    types = [argument.type for argument in kernel.body.block.args[2:]]
    block = Block(arg_types=types)
    block.add_ops([lane.LaunchOp("peak", block.args), func.ReturnOp()])
    main = func.FuncOp("main", FunctionType.from_lists(types, []), Region(block))
    sizes = loop.sizes(target.lanes)
    x, w, y = (TensorType(i32, (size,)) for size in sizes.values())
    main.attributes["edgec.inputs"] = ArrayAttr([x, w])
    main.attributes["edgec.outputs"] = ArrayAttr([y])
    emitted = emit_module(ModuleOp([kernel, main]), target)
    code = load_object(compile_object(emitted.text, target), target, (ENTRY_SYMBOL,))
    specs = [
        TensorSpec(name, (size,), np.dtype(np.int32)) for name, size in sizes.items()
    ]
    spec = ProgramSpec(
        (specs[0], specs[1]),
        (specs[2],),
        emitted.arena_bytes,
        emitted.scratch_bytes_per_thread,
    )
    entry = code.address(ENTRY_SYMBOL)
    return Executable(entry, spec, [], code=code, threads=loop.threads)
