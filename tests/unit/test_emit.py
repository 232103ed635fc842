"""The text that lane IR becomes, and what has no code."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue
from xdsl.parser import Parser

from edgec.codegen.emit import emit_kernel, emit_module
from edgec.codegen.jit import emit_assembly
from edgec.dialects.lane import buffer_type
from edgec.errors import CodegenFailed
from edgec.kernels.builder import KernelBuilder
from edgec.target import MAX_THREADS, Target
from edgec.tools.opt import EdgecOpt
from tests.lanes import compiled

WIDE = Target.parse("x86-64-v4")
TYPES = {"x": buffer_type(4096), "y": buffer_type(4096)}


def parse(text: str) -> ModuleOp:
    module = Parser(EdgecOpt(["-"]).ctx, text).parse_module()
    module.verify()
    return module


def lines(kernel: FuncOp) -> list[str]:
    """The body of a kernel, without the label of its first block."""
    return [line.strip() for line in emit_kernel(kernel, WIDE).text.splitlines()[2:-1]]


def test_constant_addresses_are_one_number() -> None:
    b = KernelBuilder("k", TYPES, lanes=16)
    b.store(b.load("x", 3, offset=4), "y", 0)
    assert lines(b.finish()) == [
        "%v1 = getelementptr i8, ptr %b0, i64 28",
        "%v2 = load <16 x float>, ptr %v1, align 4",
        "store <16 x float> %v2, ptr %b1, align 4",
        "ret void",
    ]


def test_the_variable_part_of_an_address_is_shared() -> None:
    b = KernelBuilder("k", TYPES, lanes=16)
    for offset in range(3):
        at = b.plus(b.thread, 8 * offset)
        b.store(b.load("x", at, offset=offset), "y", at)
    variable = [line for line in lines(b.finish()) if "getelementptr i32" in line]
    assert len(variable) == 2


def test_a_loop_that_runs_for_sure_is_not_tested_first() -> None:
    b = KernelBuilder("k", TYPES, lanes=16)
    b.loop(0, 64, lambda i: b.store(b.load("x", i), "y", i), step=16)
    text = "\n".join(lines(b.finish()))
    assert text.count("icmp") == text.count("br i1") == 1


def test_a_loop_of_one_round_is_none() -> None:
    b = KernelBuilder("k", TYPES, lanes=16)
    b.loop(16, 32, lambda i: b.store(b.load("x", i), "y", i), step=16)
    assert "br" not in "\n".join(lines(b.finish()))


def dense_loop() -> FuncOp:
    """The inner loop of a convolution: 8 filters times 3 vectors, 9 taps."""
    types = {**TYPES, "w": buffer_type(4096)}
    b = KernelBuilder("dense", types, lanes=16)

    def channel(c: SSAValue, *accs: SSAValue) -> list[SSAValue]:
        sums, at = list(accs), b.plus(b.times(c, 900), b.thread)
        for tap in range(9):
            x = [b.load("x", at, offset=30 * tap + 16 * n) for n in range(3)]
            for f in range(8):
                w = b.splat(b.load("w", b.times(c, 72), lanes=1, offset=8 * tap + f))
                for n in range(3):
                    sums[3 * f + n] = b.dot(sums[3 * f + n], x[n], w)
        return sums

    carried = [b.constant(0.0)] * 24
    for n, value in enumerate(b.loop(0, 64, channel, carried=carried)):
        b.store(value, "y", 16 * n)
    return b.finish()


def test_a_register_tile_stays_in_registers() -> None:
    text = emit_kernel(dense_loop(), WIDE).text.replace("define internal", "define")
    assembly = emit_assembly(text, WIDE).splitlines()
    labels = [n for n, line in enumerate(assembly) if line.startswith(".LBB")]
    (start,) = (n for n in labels if "vfmadd" in "".join(assembly[n : n + 12]))
    end = min([n for n in labels if n > start], default=len(assembly))
    end = next(n for n in range(start, end) if assembly[n].lstrip().startswith("j"))
    body = assembly[start:end]
    assert sum("vfmadd" in line for line in body) == 9 * 8 * 3
    assert sum("vbroadcastss" in line for line in body) == 9 * 8
    assert not any("rsp" in line for line in body)
    assert len(body) <= 9 * 8 * 3 + 9 * 8 + 9 * 3 + 8


PROGRAM = """
func.func @add(%t: index, %n: index, %w: memref<4xf32>, %x: memref<4xf32>,
               %y: memref<4xf32>) {
  %0 = arith.constant 0 : index
  %s = lane.scratch {offset = 64 : i64} : memref<5xf32>
  %a = lane.load %w[%0] : memref<4xf32>, vector<4xf32>
  %b = lane.load %x[%0] : memref<4xf32>, vector<4xf32>
  %c = lane.binary add %a, %b : vector<4xf32>
  lane.store %c, %y[%0] : vector<4xf32>, memref<4xf32>
  func.return
}
func.func @main(%x: memref<4xf32>, %y: memref<4xf32>) attributes {
    edgec.inputs = [tensor<2x2xf32>], edgec.outputs = [tensor<4xf32>]} {
  %v = lane.weights "v" : memref<4xf32>
  %w = lane.weights "w" : memref<4xf32>
  %again = lane.weights "v" : memref<4xf32>
  %h = lane.buffer {offset = 128 : i64} : memref<4xf32>
  lane.launch @add(%v, %x, %h) : memref<4xf32>, memref<4xf32>, memref<4xf32>
  lane.launch @add(%w, %h, %y) : memref<4xf32>, memref<4xf32>, memref<4xf32>
  func.return
}
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_program_with_weights_and_memory(threads: int) -> None:
    module, target = parse(PROGRAM), Target.parse("generic")
    emitted = emit_module(module, target)
    assert emitted.weight_names == ("v", "w")
    assert emitted.arena_bytes == 192 + MAX_THREADS * 64  # and the counters
    assert emitted.scratch_bytes_per_thread == 128
    weights = {
        "v": np.array([1, 2, 3, 4], np.float32),
        "w": np.array([10, 20, 30, 40], np.float32),
    }
    x = np.full((2, 2), 100, np.float32)
    (y,) = compiled(module, target, weights, threads)([x])
    np.testing.assert_array_equal(y, [111, 122, 133, 144])


def test_names_of_kernels_are_escaped() -> None:
    text = 'func.func @"a b\\22"(%t: index, %n: index) {\n  func.return\n}'
    (kernel,) = parse(text).ops
    assert isinstance(kernel, FuncOp)
    assert '@"kernel.a\\20b\\22"(' in emit_kernel(kernel, WIDE).text


MAIN = "func.func @main() {\n  func.return\n}\n"

REFUSED = {
    "a module has one function 'main', got 0": "builtin.module {}",
    "holds functions only, got 'lane.weights'": (
        MAIN + '%w = lane.weights "w" : memref<4xf32>'
    ),
    "'lane.buffer' op must have an offset in the arena; run plan-memory": (
        "func.func @main() {\n  %b = lane.buffer : memref<4xf32>\n  func.return\n}"
    ),
    "the module has no kernel 'absent'": (
        "func.func @main() {\n  lane.launch @absent() :\n  func.return\n}"
    ),
    "'nn.constant' op has no code generation": (
        "func.func @k(%t: index, %n: index) {\n"
        "  %c = nn.constant dense<0.0> : tensor<f32>\n  func.return\n}\n" + MAIN
    ),
    "'lane.binary' op has code generation for f32 only, not vector<4xi32>": (
        "func.func @k(%t: index, %n: index, %x: memref<4xi32>) {\n"
        "  %a = lane.load %x[%t] : memref<4xi32>, vector<4xi32>\n"
        "  %b = lane.binary add %a, %a : vector<4xi32>\n  func.return\n}\n" + MAIN
    ),
    "argument 2 of kernel 'k' must be a buffer, got f32": (
        "func.func @k(%t: index, %n: index, %s: f32) {\n  func.return\n}\n" + MAIN
    ),
    "no buffers of f64": (
        "func.func @k(%t: index, %n: index, %x: memref<4xf64>) {\n"
        "  %a = lane.load %x[%t] : memref<4xf64>, vector<4xf64>\n  func.return\n}\n"
        + MAIN
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_code_is_named(message: str) -> None:
    with pytest.raises(CodegenFailed, match=message):
        emit_module(parse(REFUSED[message]), WIDE)
