"""Tiles: the instructions of AMX, and the same in plain code for other targets.

The plain code keeps tiles on the stack and calls small functions on them. It is there
so that kernels of tiles run, exactly, on machines without AMX; it is not fast.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from edgec.codegen.emit_function import FunctionEmitter
from edgec.codegen.intrinsics.bf16 import GenericBf16
from edgec.codegen.intrinsics.generic import Generic
from edgec.target import Target

TILES = 8
"""Tiles of a thread."""
ROWS = 16
"""Rows of a tile."""
ROW_BYTES = 64
"""Bytes of a row."""
TILE = ROWS * ROW_BYTES
"""Bytes of a tile."""

CONFIGURATION = "@tile_configuration"


def _configuration() -> str:
    """The 64 bytes that `ldtilecfg` reads: palette 1, all tiles at their full size.

    Bytes of a row stand from byte 16 on, two bytes for each tile, rows from byte 48 on.
    """
    content = bytearray(64)
    content[0] = 1
    for tile in range(TILES):
        content[16 + 2 * tile : 18 + 2 * tile] = ROW_BYTES.to_bytes(2, "little")
        content[48 + tile] = ROWS
    text = "".join(f"\\{byte:02X}" for byte in content)
    return f'{CONFIGURATION} = internal constant [64 x i8] c"{text}", align 64'


class Product(Enum):
    """A product of tiles: LLVM's name of the feature that it is part of."""

    BYTES = "amx-int8"
    PAIRS = "amx-bf16"


class Tiles(Protocol):
    """What is done with tiles, which are numbers; strides count bytes."""

    def configure(self, emitter: FunctionEmitter) -> None:
        """Tiles exist, and are zero."""
        ...

    def release(self, emitter: FunctionEmitter) -> None:
        """They are gone."""
        ...

    def zero(self, emitter: FunctionEmitter, tile: int) -> None:
        """All lanes are 0."""
        ...

    def load(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """Rows from memory."""
        ...

    def store(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """Rows to memory."""
        ...

    def dot(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """`acc += lhs * rhs`, signed bytes times unsigned ones."""
        ...

    def dot_pairs(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """`acc += lhs * rhs`, pairs of bfloat16, to float32."""
        ...


class Amx:
    """One instruction each; LLVM takes the numbers of tiles as they are."""

    def configure(self, emitter: FunctionEmitter) -> None:
        """The configuration is a constant of the module."""
        emitter.definitions[CONFIGURATION] = _configuration()
        emitter.do(f"call void @llvm.x86.ldtilecfg(ptr {CONFIGURATION})")

    def release(self, emitter: FunctionEmitter) -> None:
        """To the initial state."""
        emitter.do("call void @llvm.x86.tilerelease()")

    def zero(self, emitter: FunctionEmitter, tile: int) -> None:
        """`tilezero`."""
        emitter.do(f"call void @llvm.x86.tilezero(i8 {tile})")

    def load(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """`tileloadd`."""
        arguments = f"i8 {tile}, ptr {pointer}, i64 {stride}"
        emitter.do(f"call void @llvm.x86.tileloadd64({arguments})")

    def store(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """`tilestored`."""
        arguments = f"i8 {tile}, ptr {pointer}, i64 {stride}"
        emitter.do(f"call void @llvm.x86.tilestored64({arguments})")

    def dot(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """`tdpbsud`: the first factor signed, the second one not."""
        arguments = f"i8 {acc}, i8 {lhs}, i8 {rhs}"
        emitter.do(f"call void @llvm.x86.tdpbsud({arguments})")

    def dot_pairs(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """`tdpbf16ps`, which takes subnormal numbers for zero."""
        arguments = f"i8 {acc}, i8 {lhs}, i8 {rhs}"
        emitter.do(f"call void @llvm.x86.tdpbf16ps({arguments})")


class EmulatedTiles:
    """Tiles on the stack, and functions that do to them what the instructions do."""

    def configure(self, emitter: FunctionEmitter) -> None:
        """Memory for each tile."""
        for tile in range(TILES):
            emitter.do(f"%tile{tile} = alloca [{TILE} x i8], align 64")
        for tile in range(TILES):
            self.zero(emitter, tile)

    def release(self, emitter: FunctionEmitter) -> None:
        """The memory goes with the function."""

    def zero(self, emitter: FunctionEmitter, tile: int) -> None:
        """Bytes of 0."""
        emitter.do(
            f"call void @llvm.memset.p0.i64(ptr align 64 %tile{tile}, i8 0, "
            f"i64 {TILE}, i1 false)"
        )

    def load(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """A copy of rows."""
        _copy(emitter, (f"%tile{tile}", str(ROW_BYTES)), (pointer, stride))

    def store(
        self, emitter: FunctionEmitter, tile: int, pointer: str, stride: str
    ) -> None:
        """A copy of rows."""
        _copy(emitter, (pointer, stride), (f"%tile{tile}", str(ROW_BYTES)))

    def dot(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """A call of `DOT`."""

        def quads(inner: FunctionEmitter) -> str:
            # Rows of sixteen lanes: LLVM can split plain operations on them.
            return Generic().dot_quads(
                inner, ROWS, "%sum", "%x", "%w", is_bounded=False
            )

        _call_dot(emitter, DOT, ("i32", quads), (acc, lhs, rhs))

    def dot_pairs(self, emitter: FunctionEmitter, acc: int, lhs: int, rhs: int) -> None:
        """A call of `DOT_PAIRS`."""

        def pairs(inner: FunctionEmitter) -> str:
            return GenericBf16().dot_pairs(inner, ROWS, "%sum", "%x", "%w")

        _call_dot(emitter, DOT_PAIRS, ("float", pairs), (acc, lhs, rhs))


COPY, DOT, DOT_PAIRS = "@tile_copy", "@tile_dot", "@tile_dot_pairs"
"""Functions that stand for instructions."""

_COPY = f"""define internal void {COPY}(ptr %to, i64 %to_step, ptr %from, i64 %step) {{
entry:
  br label %row
row:
  %r = phi i64 [ 0, %entry ], [ %next, %row ]
  %source_at = mul i64 %r, %step
  %source = getelementptr i8, ptr %from, i64 %source_at
  %x = load <16 x i32>, ptr %source, align 4
  %target_at = mul i64 %r, %to_step
  %target = getelementptr i8, ptr %to, i64 %target_at
  store <16 x i32> %x, ptr %target, align 4
  %next = add i64 %r, 1
  %is_left = icmp ult i64 %next, {ROWS}
  br i1 %is_left, label %row, label %done
done:
  ret void
}}
"""


def _copy(
    emitter: FunctionEmitter, to: tuple[str, str], source: tuple[str, str]
) -> None:
    """Sixteen rows, each given by the first one and the stride."""
    emitter.definitions[COPY] = _COPY
    (target, target_step), (pointer, step) = to, source
    emitter.do(
        f"call void {COPY}(ptr {target}, i64 {target_step}, ptr {pointer}, i64 {step})"
    )


Sum = tuple[str, Callable[[FunctionEmitter], str]]
"""The type of sums, and what emits `%sum` plus the products of `%x` and `%w`."""


def _call_dot(
    emitter: FunctionEmitter, name: str, kind: Sum, tiles: tuple[int, ...]
) -> None:
    """A call of a function on sum, left and right factor."""
    emitter.definitions[name] = _dot_function(emitter.target, name, kind)
    arguments = ", ".join(f"ptr %tile{tile}" for tile in tiles)
    emitter.do(f"call void {name}({arguments})")


def _dot_function(target: Target, name: str, kind: Sum) -> str:
    """For each row of the sum and each lane of the left factor."""
    emitter, (type_, multiply) = FunctionEmitter(target, {}), kind
    start = f"""define internal void {name}(ptr %acc, ptr %lhs, ptr %rhs) {{
entry:
  br label %row
row:
  %i = phi i64 [ 0, %entry ], [ %next_i, %row_end ]
  %at = mul i64 %i, {ROW_BYTES}
  %to = getelementptr i8, ptr %acc, i64 %at
  %row_of = getelementptr i8, ptr %lhs, i64 %at
  %before = load <16 x {type_}>, ptr %to, align 64
  br label %lane
lane:
  %k = phi i64 [ 0, %row ], [ %next_k, %lane ]
  %sum = phi <16 x {type_}> [ %before, %row ], [ %after, %lane ]
  %w_at = getelementptr i32, ptr %row_of, i64 %k
  %scalar = load i32, ptr %w_at, align 4
  %first = insertelement <16 x i32> poison, i32 %scalar, i64 0
  %w = shufflevector <16 x i32> %first, <16 x i32> poison, <16 x i32> zeroinitializer
  %x_offset = mul i64 %k, {ROW_BYTES}
  %x_at = getelementptr i8, ptr %rhs, i64 %x_offset
  %x = load <16 x i32>, ptr %x_at, align 64"""
    begin = len(emitter.lines)
    result = multiply(emitter)
    body = emitter.lines[begin:]
    end = f"""  %after = bitcast <16 x {type_}> {result} to <16 x {type_}>
  %next_k = add i64 %k, 1
  %is_lane = icmp ult i64 %next_k, {ROWS}
  br i1 %is_lane, label %lane, label %row_end
row_end:
  store <16 x {type_}> %after, ptr %to, align 64
  %next_i = add i64 %i, 1
  %is_row = icmp ult i64 %next_i, {ROWS}
  br i1 %is_row, label %row, label %done
done:
  ret void
}}
"""
    return "\n".join([start, *body, end])


def has_tiles(target: Target, *products: Product) -> bool:
    """Whether the target has tiles of its own, and these products of them."""
    return {"amx-tile", *(product.value for product in products)} <= target.features
