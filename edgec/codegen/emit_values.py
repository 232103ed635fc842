"""Code of the ops that compute on registers: `arith` on indices, `lane` on lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xdsl.dialects import arith
from xdsl.dialects.builtin import (
    FloatAttr,
    IndexType,
    IntegerAttr,
    f32,
    i1,
    i32,
)
from xdsl.ir import Attribute, Operation, SSAValue

from edgec.codegen.emit_function import (
    Emitter,
    FunctionEmitter,
    float_text,
    is_literal,
    llvm_type,
    size_of,
    splat_text,
)
from edgec.codegen.emit_math import BINARY, FOLD, UNARY, Floats
from edgec.dialects import lane
from edgec.dialects.lane import element_of, lanes_of, width_of
from edgec.dialects.nn import UnaryKind
from edgec.errors import CodegenFailed

INTEGER_OPS: Mapping[type[Operation], str] = {
    # Index arithmetic never leaves 64 bits: saying so lets LLVM fold it into addresses.
    arith.AddiOp: "add nsw",
    arith.SubiOp: "sub nsw",
    arith.MuliOp: "mul nsw",
    arith.DivUIOp: "udiv",
    arith.RemUIOp: "urem",
    arith.AndIOp: "and",
    arith.OrIOp: "or",
    arith.XOrIOp: "xor",
    arith.ShLIOp: "shl",
    arith.ShRUIOp: "lshr",
}
"""Integer op to LLVM's instruction."""

INTEGER_CALLS: Mapping[type[Operation], str] = {
    arith.MinUIOp: "umin",
    arith.MaxUIOp: "umax",
    arith.MinSIOp: "smin",
    arith.MaxSIOp: "smax",
}
"""Integer op to LLVM's intrinsic."""

PREDICATES = ("eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge")
"""LLVM's comparisons in the order of `arith.cmpi`'s numbers."""


def emit_arith_constant(emitter: FunctionEmitter, op: arith.ConstantOp) -> None:
    """A number or truth value; no instruction."""
    if isinstance(op.value, IntegerAttr):
        number = op.value.value.data
        text = ("true" if number else "false") if op.result.type == i1 else str(number)
    elif isinstance(op.value, FloatAttr) and op.result.type == f32:
        text = float_text(op.value.value.data)
    else:
        raise CodegenFailed(
            f"'arith.constant' op must be an integer or f32, got {op.value}"
        )
    emitter.define(op.result, text)


def emit_integer_op(
    emitter: FunctionEmitter, op: arith.SignlessIntegerBinaryOperation
) -> None:
    """An instruction on two integers."""
    left, right = emitter.value(op.lhs), emitter.value(op.rhs)
    type_, name = llvm_type(op.result.type), INTEGER_OPS.get(type(op))
    if name is None:
        name = f"call {type_} @llvm.{INTEGER_CALLS[type(op)]}.{type_}"
        emitter.define(
            op.result, emitter.emit(f"{name}({type_} {left}, {type_} {right})")
        )
        return
    if not isinstance(op.result.type, IndexType):
        name = name.removesuffix(" nsw")
    emitter.define(op.result, emitter.emit(f"{name} {type_} {left}, {right}"))


def emit_cmpi(emitter: FunctionEmitter, op: arith.CmpiOp) -> None:
    """`arith.cmpi`."""
    predicate = PREDICATES[op.predicate.value.data]
    text = f"icmp {predicate} {emitter.typed(op.lhs)}, {emitter.value(op.rhs)}"
    emitter.define(op.result, emitter.emit(text))


def emit_arith_select(emitter: FunctionEmitter, op: arith.SelectOp) -> None:
    """`arith.select`."""
    emitter.define(op.result, _select(emitter, op.cond, op.lhs, op.rhs))


def emit_select(emitter: FunctionEmitter, op: lane.SelectOp) -> None:
    """`lane.select`."""
    emitter.define(op.result, _select(emitter, op.mask, op.on, op.off))


def _select(
    emitter: FunctionEmitter, condition: SSAValue, on: SSAValue, off: SSAValue
) -> str:
    parts = ", ".join(emitter.typed(value) for value in (condition, on, off))
    return emitter.emit(f"select {parts}")


def emit_index_cast(emitter: FunctionEmitter, op: arith.IndexCastOp) -> None:
    """`arith.index_cast`."""
    emitter.define(op.result, cast_integer(emitter, op.input, op.result.type))


def cast_integer(emitter: FunctionEmitter, value: SSAValue, new: Attribute) -> str:
    """A signed integer (or lanes of them) with another width."""
    widths = size_of(element_of(value.type)), size_of(element_of(new))
    if widths[0] == widths[1]:
        return emitter.value(value)
    name = "sext" if widths[0] < widths[1] else "trunc"
    return emitter.emit(f"{name} {emitter.typed(value)} to {llvm_type(new)}")


def emit_cast(emitter: FunctionEmitter, op: lane.CastOp) -> None:
    """`lane.cast`; of a rounded number in one instruction."""
    new, source = op.result.type, op.input.owner
    if isinstance(source, lane.UnaryOp) and _is_rounded(source, new):
        lanes = lanes_of(new)
        suffix = "i32.f32" if lanes == 1 else f"v{lanes}i32.v{lanes}f32"
        call = f"call {llvm_type(new)} @llvm.lrint.{suffix}"
        emitter.define(
            op.result, emitter.emit(f"{call}({emitter.typed(source.input)})")
        )
        return
    from_float, to_float = element_of(op.input.type) == f32, element_of(new) == f32
    if from_float == to_float:
        text = emitter.value(op.input)
        text = text if to_float else cast_integer(emitter, op.input, new)
    else:
        name = "fptosi" if from_float else "sitofp"
        text = emitter.emit(f"{name} {emitter.typed(op.input)} to {llvm_type(new)}")
    emitter.define(op.result, text)


def _is_rounded(source: lane.UnaryOp, new: Attribute) -> bool:
    return source.kind.data == UnaryKind.ROUND and element_of(new) == i32


def emit_index(emitter: FunctionEmitter, op: lane.IndexOp) -> None:
    """`lane.index`."""
    if width_of(op.input.type) == 64:
        emitter.define(op.result, emitter.value(op.input))
    else:
        text = emitter.emit(f"zext {emitter.typed(op.input)} to i64")
        emitter.define(op.result, text)


def emit_constant(emitter: FunctionEmitter, op: lane.ConstantOp) -> None:
    """`lane.constant`; no instruction."""
    lanes = lanes_of(op.result.type)
    emitter.define(op.result, splat_text("float", float_text(op.number), lanes))


def splat(emitter: FunctionEmitter, type_: str, text: str, lanes: int) -> str:
    """A scalar in every lane."""
    if is_literal(text):
        return splat_text(type_, text, lanes)
    vector = f"<{lanes} x {type_}>"
    first = emitter.emit(f"insertelement {vector} poison, {type_} {text}, i64 0")
    zeros = f"<{lanes} x i32> zeroinitializer"
    return emitter.emit(f"shufflevector {vector} {first}, {vector} poison, {zeros}")


def emit_splat(emitter: FunctionEmitter, op: lane.SplatOp) -> None:
    """`lane.splat`."""
    text = emitter.value(op.input)
    lanes = lanes_of(op.result.type)
    if lanes > 1:
        text = splat(emitter, llvm_type(op.input.type), text, lanes)
    emitter.define(op.result, text)


def emit_dot(emitter: FunctionEmitter, op: lane.DotOp) -> None:
    """`lane.dot` of f32."""
    _check_floats(op, op.result.type)
    floats = Floats(emitter, op.result.type)
    acc, lhs, rhs = map(emitter.value, op.operands)
    emitter.define(op.result, floats.muladd(lhs, rhs, acc))


def emit_unary(emitter: FunctionEmitter, op: lane.UnaryOp) -> None:
    """`lane.unary`."""
    _check_floats(op, op.result.type)
    floats = Floats(emitter, op.result.type)
    text = UNARY[op.kind.data](floats, emitter.value(op.input), *op.parameters)
    emitter.define(op.result, text)


def emit_binary(emitter: FunctionEmitter, op: lane.BinaryOp) -> None:
    """`lane.binary`."""
    _check_floats(op, op.result.type)
    floats = Floats(emitter, op.result.type)
    lhs, rhs = map(emitter.value, op.operands)
    emitter.define(op.result, BINARY[op.kind.data](floats, lhs, rhs))


def emit_compare(emitter: FunctionEmitter, op: lane.CompareOp) -> None:
    """`lane.compare`."""
    kind = op.kind.data
    if element_of(op.lhs.type) == f32:
        name = "fcmp une" if kind is lane.CompareKind.NE else f"fcmp o{kind}"
    elif kind in (lane.CompareKind.EQ, lane.CompareKind.NE):
        name = f"icmp {kind}"
    else:
        name = f"icmp s{kind}"
    text = f"{name} {emitter.typed(op.lhs)}, {emitter.value(op.rhs)}"
    emitter.define(op.result, emitter.emit(text))


def emit_fold(emitter: FunctionEmitter, op: lane.FoldOp) -> None:
    """`lane.fold`: halves of the register, combined until one lane is left."""
    _check_floats(op, op.result.type)
    combine, lanes = FOLD[op.kind.data], lanes_of(op.input.type)
    text = emitter.value(op.input)
    while lanes > 1:
        vector, half = f"<{lanes} x float>", lanes // 2
        halves: list[str] = []
        for start in (0, half):
            picked = range(start, start + half)
            halves.append(
                emitter.emit(f"extractelement {vector} {text}, i64 {start}")
                if half == 1
                else shuffle(emitter, f"{vector} {text}", f"{vector} poison", picked)
            )
        text = combine(Floats(emitter, lane.vector(half)), *halves)
        lanes = half
    emitter.define(op.result, text)


def emit_concat(emitter: FunctionEmitter, op: lane.ConcatOp) -> None:
    """`lane.concat`."""
    low, high = emitter.typed(op.low), emitter.typed(op.high)
    lanes = lanes_of(op.result.type)
    emitter.define(op.result, shuffle(emitter, low, high, range(lanes)))


def emit_deinterleave(emitter: FunctionEmitter, op: lane.DeinterleaveOp) -> None:
    """`lane.deinterleave`."""
    low, high = emitter.typed(op.low), emitter.typed(op.high)
    for first, result in enumerate(op.results):
        picked = range(first, 2 * lanes_of(result.type), 2)
        emitter.define(result, shuffle(emitter, low, high, picked))


def emit_slice(emitter: FunctionEmitter, op: lane.SliceOp) -> None:
    """`lane.slice`."""
    type_ = llvm_type(op.input.type)
    picked = range(op.first_lane, op.first_lane + lanes_of(op.result.type))
    text = shuffle(emitter, emitter.typed(op.input), f"{type_} poison", picked)
    emitter.define(op.result, text)


def shuffle(
    emitter: FunctionEmitter, low: str, high: str, picked: Iterable[int]
) -> str:
    """Lanes by number from two typed vectors."""
    numbers = [f"i32 {number}" for number in picked]
    mask = f"<{len(numbers)} x i32> <{', '.join(numbers)}>"
    return emitter.emit(f"shufflevector {low}, {high}, {mask}")


def _check_floats(op: Operation, type_: Attribute) -> None:
    """Arithmetic is on f32."""
    if element_of(type_) != f32:
        raise CodegenFailed(
            f"'{op.name}' op has code generation for f32 only, not {type_}"
        )


VALUES: Mapping[type[Operation], Emitter] = {
    arith.ConstantOp: emit_arith_constant,
    **dict.fromkeys((*INTEGER_OPS, *INTEGER_CALLS), emit_integer_op),
    arith.CmpiOp: emit_cmpi,
    arith.SelectOp: emit_arith_select,
    arith.IndexCastOp: emit_index_cast,
    lane.ConstantOp: emit_constant,
    lane.SplatOp: emit_splat,
    lane.DotOp: emit_dot,
    lane.UnaryOp: emit_unary,
    lane.BinaryOp: emit_binary,
    lane.CompareOp: emit_compare,
    lane.CastOp: emit_cast,
    lane.SelectOp: emit_select,
    lane.FoldOp: emit_fold,
    lane.ConcatOp: emit_concat,
    lane.DeinterleaveOp: emit_deinterleave,
    lane.SliceOp: emit_slice,
    lane.IndexOp: emit_index,
}
"""Ops that touch no memory."""
