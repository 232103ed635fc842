"""Code of the ops that read and write buffers, and of masks.

No load reads an element that its op does not name: buffers may end at a page that may
not be touched.
"""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Attribute, Operation

from edgec.codegen.emit_function import (
    Emitter,
    FunctionEmitter,
    is_literal,
    llvm_type,
    size_of,
    split_constant,
)
from edgec.codegen.emit_values import splat
from edgec.dialects import lane
from edgec.dialects.lane import element_of, lanes_of


def emit_load(emitter: FunctionEmitter, op: lane.LoadOp) -> None:
    """`lane.load`."""
    if op.mask is not None:
        text = _masked_load(emitter, op)
    elif op.lane_stride == 1 or lanes_of(op.result.type) == 1:
        text = _plain_load(emitter, op, 0)
    elif op.lane_stride == 2:
        text = _load_every_second(emitter, op)
    else:
        text = _load_one_by_one(emitter, op)
    emitter.define(op.result, text)


def _pointer(emitter: FunctionEmitter, op: lane.LoadOp | lane.StoreOp, at: int) -> str:
    size = size_of(_element(op))
    return emitter.address(op.buffer, op.index, op.constant_offset + at, size)


def _element(op: lane.LoadOp | lane.StoreOp | lane.PrefetchOp) -> Attribute:
    return element_of(op.buffer.type)


def _plain_load(emitter: FunctionEmitter, op: lane.LoadOp, at: int) -> str:
    """All lanes from neighbouring elements, the first one `at` behind the op's."""
    pointer, align = _pointer(emitter, op, at), size_of(_element(op))
    return emitter.emit(
        f"load {llvm_type(op.result.type)}, ptr {pointer}, align {align}"
    )


def _load_every_second(emitter: FunctionEmitter, op: lane.LoadOp) -> str:
    """Two loads that end with the last element needed, and one shuffle."""
    lanes, type_ = lanes_of(op.result.type), llvm_type(op.result.type)
    low, high = _plain_load(emitter, op, 0), _plain_load(emitter, op, lanes - 1)
    # Element 2l is number 2l of `low` or, from L on, number 2l - (L - 1) of `high`.
    picked = [2 * lane for lane in range(lanes // 2)]
    picked += [2 * lane + 1 for lane in range(lanes // 2, lanes)]
    mask = ", ".join(f"i32 {number}" for number in picked)
    return emitter.emit(
        f"shufflevector {type_} {low}, {type_} {high}, <{lanes} x i32> <{mask}>"
    )


def _load_one_by_one(emitter: FunctionEmitter, op: lane.LoadOp) -> str:
    """A load per lane."""
    element, vector = llvm_type(_element(op)), llvm_type(op.result.type)
    text, align = "poison", size_of(_element(op))
    for number in range(lanes_of(op.result.type)):
        pointer = _pointer(emitter, op, number * op.lane_stride)
        scalar = emitter.emit(f"load {element}, ptr {pointer}, align {align}")
        text = emitter.emit(
            f"insertelement {vector} {text}, {element} {scalar}, i64 {number}"
        )
    return text


def _masked_load(emitter: FunctionEmitter, op: lane.LoadOp) -> str:
    """LLVM's masked load, or its gather if lanes are not neighbours."""
    assert op.mask is not None
    vector, mask = llvm_type(op.result.type), emitter.typed(op.mask)
    lanes, align = lanes_of(op.result.type), size_of(_element(op))
    first, suffix = _pointer(emitter, op, 0), _suffix(op.result.type)
    if op.lane_stride == 1:
        return emitter.emit(
            f"call {vector} @llvm.masked.load.{suffix}.p0(ptr {first}, i32 {align}, "
            f"{mask}, {vector} zeroinitializer)"
        )
    steps = ", ".join(f"i64 {n * op.lane_stride * align}" for n in range(lanes))
    pointers = emitter.emit(f"getelementptr i8, ptr {first}, <{lanes} x i64> <{steps}>")
    return emitter.emit(
        f"call {vector} @llvm.masked.gather.{suffix}.v{lanes}p0(<{lanes} x ptr> "
        f"{pointers}, i32 {align}, {mask}, {vector} zeroinitializer)"
    )


def _suffix(type_: Attribute) -> str:
    """How intrinsics spell a vector type."""
    scalar = llvm_type(element_of(type_)).replace("float", "f32")
    return f"v{lanes_of(type_)}{scalar}"


def emit_store(emitter: FunctionEmitter, op: lane.StoreOp) -> None:
    """`lane.store`."""
    pointer, align = _pointer(emitter, op, 0), size_of(_element(op))
    value = emitter.typed(op.value)
    if op.mask is None:
        emitter.do(f"store {value}, ptr {pointer}, align {align}")
    else:
        emitter.do(
            f"call void @llvm.masked.store.{_suffix(op.value.type)}.p0({value}, "
            f"ptr {pointer}, i32 {align}, {emitter.typed(op.mask)})"
        )


def emit_prefetch(emitter: FunctionEmitter, op: lane.PrefetchOp) -> None:
    """`lane.prefetch`, into all levels of cache, to be read."""
    size = size_of(_element(op))
    pointer = emitter.address(op.buffer, op.index, op.constant_offset, size)
    emitter.do(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 3, i32 1)")


def emit_scratch(emitter: FunctionEmitter, op: lane.ScratchOp) -> None:
    """`lane.scratch`: a place in the memory of this thread."""
    offset, size = op.offset.value.data, buffer_bytes(op)
    emitter.scratch_bytes = max(emitter.scratch_bytes, offset + size)
    text = "%scratch"
    if offset:
        text = emitter.emit(f"getelementptr i8, ptr %scratch, i64 {offset}")
    emitter.define(op.result, text)


def emit_tail_mask(emitter: FunctionEmitter, op: lane.TailMaskOp) -> None:
    """`lane.tail_mask`: compares 32-bit lane numbers with the count."""
    lanes, count = lanes_of(op.result.type), emitter.value(op.count)
    capped = emitter.emit(f"call i64 @llvm.smin.i64(i64 {count}, i64 {lanes})")
    narrow = emitter.emit(f"trunc i64 {capped} to i32")
    bound = splat(emitter, "i32", narrow, lanes)
    numbers = ", ".join(f"i32 {number}" for number in range(lanes))
    emitter.define(
        op.result, emitter.emit(f"icmp sgt <{lanes} x i32> {bound}, <{numbers}>")
    )


def emit_load_mask(emitter: FunctionEmitter, op: lane.LoadMaskOp) -> None:
    """`lane.load_mask`: bits as they are for AVX-512, else a test per lane."""
    lanes = lanes_of(op.result.type)
    width = max(lanes, 8)
    bits = _mask_bits(emitter, op, width)
    if "avx512vl" in emitter.target.features and lanes >= 8:
        text = emitter.emit(f"bitcast i{width} {bits} to <{lanes} x i1>")
    else:
        wide = emitter.emit(f"zext i{width} {bits} to i32")
        tests = ", ".join(f"i32 {1 << number}" for number in range(lanes))
        all_bits = splat(emitter, "i32", wide, lanes)
        ours = emitter.emit(f"and <{lanes} x i32> {all_bits}, <{tests}>")
        text = emitter.emit(f"icmp ne <{lanes} x i32> {ours}, zeroinitializer")
    emitter.define(op.result, text)


def _mask_bits(emitter: FunctionEmitter, op: lane.LoadMaskOp, width: int) -> str:
    """An integer whose lowest bits are the mask's; fewer than 8 are shifted down."""
    value, known = split_constant(op.index)
    first, offset = emitter.value(value), op.constant_offset + known
    if is_literal(first):
        first, offset = "0", offset + int(first)
    if offset % 8 and not is_literal(first):
        # The sum may cross into the next byte.
        first, offset = emitter.shared(f"add nsw i64 {first}, {offset}"), 0
    pointer = emitter.value(op.buffer)
    if not is_literal(first):
        byte = emitter.shared(f"lshr i64 {first}, 3")
        pointer = emitter.shared(f"getelementptr i8, ptr {pointer}, i64 {byte}")
    if offset >= 8:
        pointer = emitter.shared(f"getelementptr i8, ptr {pointer}, i64 {offset // 8}")
    bits = emitter.emit(f"load i{width}, ptr {pointer}, align 1")
    if lanes_of(op.result.type) >= 8:
        return bits
    shift = str(offset % 8)
    if not is_literal(first):
        place = emitter.emit(f"trunc i64 {first} to i8")
        shift = emitter.emit(f"and i8 {place}, 7")
    return emitter.emit(f"lshr i8 {bits}, {shift}")


def buffer_bytes(op: lane.ScratchOp | lane.BufferOp) -> int:
    """Size of the op's buffer in bytes."""
    (elements,) = op.result.type.get_shape()
    return elements * size_of(element_of(op.result.type))


MEMORY: Mapping[type[Operation], Emitter] = {
    lane.LoadOp: emit_load,
    lane.StoreOp: emit_store,
    lane.PrefetchOp: emit_prefetch,
    lane.ScratchOp: emit_scratch,
    lane.TailMaskOp: emit_tail_mask,
    lane.LoadMaskOp: emit_load_mask,
}
"""Ops on buffers and masks."""
