"""What the instruction sets with a dot product of bytes share: its call."""

from __future__ import annotations

from edgec.codegen.emit_function import FunctionEmitter


def call_dot(
    emitter: FunctionEmitter, lanes: int, name: str, operands: tuple[str, str, str]
) -> str:
    """`name(acc, x, w)`, where LLVM takes `x` and `w` as vectors of bytes."""
    wide, narrow = f"<{lanes} x i32>", f"<{4 * lanes} x i8>"
    acc, *quads = operands
    x, w = (emitter.emit(f"bitcast {wide} {quad} to {narrow}") for quad in quads)
    return emitter.emit(
        f"call {wide} @llvm.{name}({wide} {acc}, {narrow} {x}, {narrow} {w})"
    )
