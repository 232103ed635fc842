"""Code of the ops on pairs, two bfloat16 numbers in one 32-bit lane."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from edgec.codegen.emit_function import Emitter, FunctionEmitter
from edgec.codegen.intrinsics.bf16 import bf16_for, unpacked
from edgec.dialects import lane
from edgec.dialects.lane import lanes_of


def emit_dot_pairs(emitter: FunctionEmitter, op: lane.DotPairsOp) -> None:
    """`lane.dot_pairs`."""
    lanes = lanes_of(op.result.type)
    acc, x, w = (emitter.value(value) for value in op.operands)
    found = bf16_for(emitter.target, lanes)
    emitter.define(op.result, found.dot_pairs(emitter, lanes, acc, x, w))


def emit_pack_pairs(emitter: FunctionEmitter, op: lane.PackPairsOp) -> None:
    """`lane.pack_pairs`."""
    lanes = lanes_of(op.result.type)
    lower, upper = (emitter.value(value) for value in op.operands)
    found = bf16_for(emitter.target, lanes)
    in_order = op.in_order is not None
    text = found.pack_pairs(emitter, lanes, lower, upper, in_order=in_order)
    emitter.define(op.result, text)


def emit_unpack_pairs(emitter: FunctionEmitter, op: lane.UnpackPairsOp) -> None:
    """`lane.unpack_pairs`."""
    parts = unpacked(emitter, lanes_of(op.input.type), emitter.value(op.input))
    for result, text in zip(op.results, parts, strict=True):
        emitter.define(result, text)


PAIRS: Mapping[type[Operation], Emitter] = {
    lane.DotPairsOp: emit_dot_pairs,
    lane.PackPairsOp: emit_pack_pairs,
    lane.UnpackPairsOp: emit_unpack_pairs,
}
"""Ops on pairs."""
