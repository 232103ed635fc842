"""Code of the ops on quads, four bytes in one 32-bit lane."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from edgec.codegen.emit_function import (
    Emitter,
    FunctionEmitter,
    llvm_type,
    splat_text,
)
from edgec.codegen.intrinsics import intrinsics_for
from edgec.dialects import lane
from edgec.dialects.lane import lanes_of


def emit_dot_quads(emitter: FunctionEmitter, op: lane.DotQuadsOp) -> None:
    """`lane.dot_quads`."""
    lanes = lanes_of(op.result.type)
    values = (emitter.value(value) for value in op.operands)
    found = intrinsics_for(emitter.target, lanes)
    is_bounded = op.bounded is not None
    text = found.dot_quads(emitter, lanes, *values, is_bounded=is_bounded)
    emitter.define(op.result, text)


def emit_pack_quads(emitter: FunctionEmitter, op: lane.PackQuadsOp) -> None:
    """`lane.pack_quads`."""
    type_, lanes = llvm_type(op.result.type), lanes_of(op.result.type)

    def apply(name: str, left: str, right: str | int) -> str:
        if isinstance(right, int):
            right = splat_text("i32", str(right), lanes)
        return emitter.emit(f"{name} {type_} {left}, {right}")

    packed = ""
    for number, operand in enumerate(op.operands):
        byte = emitter.value(operand)
        # The last shift drops what is above the byte.
        if number < lane.QUAD - 1:
            byte = apply("and", byte, 255)
        if number:
            byte = apply("shl", byte, 8 * number)
        packed = apply("or", packed, byte) if packed else byte
    if op.added:
        packed = _add_bytes(emitter, packed, lanes, op.added)
    emitter.define(op.result, packed)


def _add_bytes(emitter: FunctionEmitter, quads: str, lanes: int, offset: int) -> str:
    """The offset added to each byte, none of which carries into the next."""
    wide = "i32" if lanes == 1 else f"<{lanes} x i32>"
    narrow = f"<{lane.QUAD * lanes} x i8>"
    text = emitter.emit(f"bitcast {wide} {quads} to {narrow}")
    splat = splat_text("i8", str(offset), lane.QUAD * lanes)
    text = emitter.emit(f"add {narrow} {text}, {splat}")
    return emitter.emit(f"bitcast {narrow} {text} to {wide}")


def emit_unpack_quads(emitter: FunctionEmitter, op: lane.UnpackQuadsOp) -> None:
    """`lane.unpack_quads`."""
    lanes, quads = lanes_of(op.input.type), emitter.typed(op.input)
    mask = splat_text("i32", "255", lanes)
    for number, result in enumerate(op.results):
        text = emitter.value(op.input)
        if number:
            shift = splat_text("i32", str(8 * number), lanes)
            text = emitter.emit(f"lshr {quads}, {shift}")
        if number < lane.QUAD - 1:
            text = emitter.emit(f"and {llvm_type(result.type)} {text}, {mask}")
        emitter.define(result, text)


def emit_max_quads(emitter: FunctionEmitter, op: lane.MaxQuadsOp) -> None:
    """`lane.max_quads`."""
    lanes, wide = lane.QUAD * lanes_of(op.result.type), llvm_type(op.result.type)
    narrow = f"<{lanes} x i8>"
    left, right = (
        emitter.emit(f"bitcast {emitter.typed(value)} to {narrow}")
        for value in op.operands
    )
    larger = emitter.emit(
        f"call {narrow} @llvm.umax.v{lanes}i8({narrow} {left}, {narrow} {right})"
    )
    emitter.define(op.result, emitter.emit(f"bitcast {narrow} {larger} to {wide}"))


QUADS: Mapping[type[Operation], Emitter] = {
    lane.DotQuadsOp: emit_dot_quads,
    lane.PackQuadsOp: emit_pack_quads,
    lane.UnpackQuadsOp: emit_unpack_quads,
    lane.MaxQuadsOp: emit_max_quads,
}
"""Ops on quads."""
