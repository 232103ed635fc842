"""Code of the ops that look bytes up in tables."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from edgec.codegen.emit_function import (
    Emitter,
    FunctionEmitter,
    llvm_type,
    splat_text,
)
from edgec.codegen.intrinsics.lookup import lookup_for
from edgec.codegen.intrinsics.lookup_bytes import byte_lookup_for
from edgec.dialects import lane
from edgec.dialects.lane import lanes_of

MASK = 0x0F0F0F0F
"""The lower half of each byte."""


def emit_decode_quads(emitter: FunctionEmitter, op: lane.DecodeQuadsOp) -> None:
    """`lane.decode_quads`: shift, mask, shuffle."""
    wide, lanes = llvm_type(op.result.type), lanes_of(op.result.type)
    narrow = f"<{lane.QUAD * lanes} x i8>"
    text = emitter.value(op.codes)
    if op.shift:
        count = splat_text("i32", str(op.shift), lanes)
        text = emitter.emit(f"lshr {wide} {text}, {count}")
    mask = splat_text("i32", str(MASK), lanes)
    text = emitter.emit(f"and {wide} {text}, {mask}")
    index = emitter.emit(f"bitcast {wide} {text} to {narrow}")
    table = emitter.emit(f"bitcast {emitter.typed(op.table)} to {narrow}")
    found = lookup_for(emitter.target, lanes)
    text = found.look_up(emitter, lanes, table, index)
    emitter.define(op.result, emitter.emit(f"bitcast {narrow} {text} to {wide}"))


def emit_look_up_bytes(emitter: FunctionEmitter, op: lane.LookUpBytesOp) -> None:
    """`lane.look_up_bytes`."""
    wide, lanes = llvm_type(op.result.type), lanes_of(op.result.type)
    narrow = f"<{lane.QUAD * lanes} x i8>"
    index = emitter.emit(f"bitcast {emitter.typed(op.input)} to {narrow}")
    found = byte_lookup_for(emitter.target, lanes)
    text = found.look_up(emitter, lanes, emitter.value(op.table), index)
    emitter.define(op.result, emitter.emit(f"bitcast {narrow} {text} to {wide}"))


CODES: Mapping[type[Operation], Emitter] = {
    lane.DecodeQuadsOp: emit_decode_quads,
    lane.LookUpBytesOp: emit_look_up_bytes,
}
"""Ops that look up."""
