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
    lanes = lanes_of(op.result.type)
    values = [emitter.value(value) for value in op.operands]
    found = intrinsics_for(emitter.target, lanes)
    emitter.define(op.result, found.pack_quads(emitter, lanes, values, op.added))


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


def _emit_byte_by_byte(
    emitter: FunctionEmitter, op: lane.MaxQuadsOp | lane.MinQuadsOp, name: str
) -> None:
    lanes, wide = lane.QUAD * lanes_of(op.result.type), llvm_type(op.result.type)
    narrow = f"<{lanes} x i8>"
    left, right = (
        emitter.emit(f"bitcast {emitter.typed(value)} to {narrow}")
        for value in op.operands
    )
    chosen = emitter.emit(
        f"call {narrow} @llvm.{name}.v{lanes}i8({narrow} {left}, {narrow} {right})"
    )
    emitter.define(op.result, emitter.emit(f"bitcast {narrow} {chosen} to {wide}"))


def emit_max_quads(emitter: FunctionEmitter, op: lane.MaxQuadsOp) -> None:
    """`lane.max_quads`."""
    _emit_byte_by_byte(emitter, op, "umax")


def emit_min_quads(emitter: FunctionEmitter, op: lane.MinQuadsOp) -> None:
    """`lane.min_quads`."""
    _emit_byte_by_byte(emitter, op, "umin")


QUADS: Mapping[type[Operation], Emitter] = {
    lane.DotQuadsOp: emit_dot_quads,
    lane.PackQuadsOp: emit_pack_quads,
    lane.UnpackQuadsOp: emit_unpack_quads,
    lane.MaxQuadsOp: emit_max_quads,
    lane.MinQuadsOp: emit_min_quads,
}
"""Ops on quads."""
