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
from edgec.codegen.emit_values import shuffle
from edgec.codegen.intrinsics import intrinsics_for
from edgec.codegen.intrinsics.packs import BLOCK
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


def emit_dot_words(emitter: FunctionEmitter, op: lane.DotWordsOp) -> None:
    """`lane.dot_words`."""
    lanes = lanes_of(op.result.type)
    values = (emitter.value(value) for value in op.operands)
    found = intrinsics_for(emitter.target, lanes)
    text = found.dot_words(emitter, lanes, *values, is_odd=op.odd is not None)
    emitter.define(op.result, text)


def emit_pack_quads(emitter: FunctionEmitter, op: lane.PackQuadsOp) -> None:
    """`lane.pack_quads`."""
    lanes = lanes_of(op.result.type)
    values = [emitter.value(value) for value in op.operands]
    found = intrinsics_for(emitter.target, lanes)
    is_transposed = op.transposed is not None
    text = found.pack_quads(emitter, lanes, values, op.added, transposed=is_transposed)
    emitter.define(op.result, text)


def emit_transpose_quads(emitter: FunctionEmitter, op: lane.TransposeQuadsOp) -> None:
    """`lane.transpose_quads`: bytes of pairs zipped, then pairs of these."""
    lanes, wide = lanes_of(op.first.type), llvm_type(op.first.type)
    inputs = [emitter.value(value) for value in op.operands]
    pairs = [
        [zip_blocks(emitter, lanes, 1, left, right, half) for half in (0, 1)]
        for left, right in (inputs[:2], inputs[2:])
    ]
    for number, result in enumerate(op.results):
        half, part = divmod(number, 2)
        text = zip_blocks(emitter, lanes, 2, pairs[0][half], pairs[1][half], part)
        assert llvm_type(result.type) == wide
        emitter.define(result, text)


def zip_blocks(
    emitter: FunctionEmitter, lanes: int, size: int, left: str, right: str, half: int
) -> str:
    """Elements of `size` bytes from both in turn, of one half of each 16 bytes.

    One instruction of x86 (`vpunpcklbw` and its kin) and Arm (`zip1`).
    """
    wide, count = f"<{lanes} x i32>", BLOCK // size
    total = lanes * lane.QUAD // size
    type_ = f"<{total} x i{8 * size}>"
    left, right = (
        emitter.emit(f"bitcast {wide} {text} to {type_}") for text in (left, right)
    )
    picked = [
        block + half * count // 2 + number + side * total
        for block in range(0, total, count)
        for number in range(count // 2)
        for side in (0, 1)
    ]
    text = shuffle(emitter, f"{type_} {left}", f"{type_} {right}", picked)
    return emitter.emit(f"bitcast {type_} {text} to {wide}")


def emit_unpack_quads(emitter: FunctionEmitter, op: lane.UnpackQuadsOp) -> None:
    """`lane.unpack_quads`."""
    lanes, quads = lanes_of(op.input.type), emitter.typed(op.input)
    if op.signed is not None:
        _unpack_signed(emitter, op, lanes)
        return
    if op.in_order is not None:
        _unpack_in_order(emitter, op, lanes)
        return
    mask = splat_text("i32", "255", lanes)
    for number, result in enumerate(op.results):
        text = emitter.value(op.input)
        if number:
            shift = splat_text("i32", str(8 * number), lanes)
            text = emitter.emit(f"lshr {quads}, {shift}")
        if number < lane.QUAD - 1:
            text = emitter.emit(f"and {llvm_type(result.type)} {text}, {mask}")
        emitter.define(result, text)


def _unpack_in_order(
    emitter: FunctionEmitter, op: lane.UnpackQuadsOp, lanes: int
) -> None:
    """A part of the bytes, each widened (`vpmovzxbd`, `uxtl`)."""
    narrow = f"<{lane.QUAD * lanes} x i8>"
    bytes_ = emitter.emit(f"bitcast {emitter.typed(op.input)} to {narrow}")
    for number, result in enumerate(op.results):
        picked = list(range(number * lanes, (number + 1) * lanes))
        part = shuffle(emitter, f"{narrow} {bytes_}", f"{narrow} poison", picked)
        wide = emitter.emit(f"zext <{lanes} x i8> {part} to {llvm_type(result.type)}")
        emitter.define(result, wide)


def _unpack_signed(
    emitter: FunctionEmitter, op: lane.UnpackQuadsOp, lanes: int
) -> None:
    """Bytes brought to the top of their lanes, and down again with their sign."""
    type_, top = llvm_type(op.input.type), splat_text("i32", "24", lanes)
    for number, result in enumerate(op.results):
        text = emitter.value(op.input)
        if number < lane.QUAD - 1:
            shift = splat_text("i32", str(8 * (lane.QUAD - 1 - number)), lanes)
            text = emitter.emit(f"shl {type_} {text}, {shift}")
        emitter.define(result, emitter.emit(f"ashr {type_} {text}, {top}"))


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
    lane.DotWordsOp: emit_dot_words,
    lane.PackQuadsOp: emit_pack_quads,
    lane.TransposeQuadsOp: emit_transpose_quads,
    lane.UnpackQuadsOp: emit_unpack_quads,
    lane.MaxQuadsOp: emit_max_quads,
    lane.MinQuadsOp: emit_min_quads,
}
"""Ops on quads."""
