"""Pairs of bfloat16 numbers: the instructions of AVX512-BF16, and plain LLVM."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.codegen.emit_function import FunctionEmitter, float_text, splat_text
from edgec.codegen.emit_values import shuffle
from edgec.dialects.bf16 import LOWER, QUIET
from edgec.target import Target

UPPER = str(-(1 << 16))
"""Mask of the upper half of a lane."""


@dataclass(frozen=True)
class Avx512Bf16:
    """`vdpbf16ps`, which takes subnormal numbers for zero, and `vcvtne2ps2bf16`."""

    features: frozenset[str] = frozenset({"avx512bf16", "avx512vl"})
    lanes: tuple[int, ...] = (4, 8, 16)

    def dot_pairs(
        self, emitter: FunctionEmitter, lanes: int, acc: str, x: str, w: str
    ) -> str:
        """One instruction."""
        wide, narrow = f"<{lanes} x float>", f"<{2 * lanes} x bfloat>"
        x, w = (
            emitter.emit(f"bitcast <{lanes} x i32> {v} to {narrow}") for v in (x, w)
        )
        return emitter.emit(
            f"call {wide} @llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}({wide} {acc}, "
            f"{narrow} {x}, {narrow} {w})"
        )

    def pack_pairs(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        lower: str,
        upper: str,
        *,
        in_order: bool,
    ) -> str:
        """Both rounded into one register, in order; or then halves of both in turn."""
        wide, halves = f"<{lanes} x float>", f"<{2 * lanes} x i16>"
        narrow = f"<{2 * lanes} x bfloat>"
        both = emitter.emit(
            f"call {narrow} @llvm.x86.avx512bf16.cvtne2ps2bf16.{32 * lanes}("
            f"{wide} {upper}, {wide} {lower})"
        )
        if in_order:
            return emitter.emit(f"bitcast {narrow} {both} to <{lanes} x i32>")
        both = emitter.emit(f"bitcast {narrow} {both} to {halves}")
        turns = [lane + half * lanes for lane in range(lanes) for half in (0, 1)]
        text = shuffle(emitter, f"{halves} {both}", f"{halves} poison", turns)
        return emitter.emit(f"bitcast {halves} {text} to <{lanes} x i32>")


@dataclass(frozen=True)
class GenericBf16:
    """A half of a lane is a float32 number once it is moved to the upper half.

    Products are exact in float32, so a multiplication and an addition round as a fused
    multiply-add does.
    """

    features: frozenset[str] = frozenset()
    lanes: tuple[int, ...] = ()

    def dot_pairs(
        self, emitter: FunctionEmitter, lanes: int, acc: str, x: str, w: str
    ) -> str:
        """Two products, that of the upper halves first."""
        xs, ws = (unpacked(emitter, lanes, each) for each in (x, w))
        wide = f"<{lanes} x float>"
        for left, right in ((xs[1], ws[1]), (xs[0], ws[0])):
            if emitter.target.fma:
                operands = ", ".join(f"{wide} {each}" for each in (left, right, acc))
                name = f"@llvm.fma.v{lanes}f32"
                acc = emitter.emit(f"call {wide} {name}({operands})")
            else:
                product = emitter.emit(f"fmul {wide} {left}, {right}")
                acc = emitter.emit(f"fadd {wide} {acc}, {product}")
        return acc

    def pack_pairs(
        self,
        emitter: FunctionEmitter,
        lanes: int,
        lower: str,
        upper: str,
        *,
        in_order: bool,
    ) -> str:
        """Rounded as integers; a NaN would round to an infinity or beyond."""
        type_ = f"<{lanes} x i32>"

        def op(name: str, left: str, right: str | int) -> str:
            if isinstance(right, int):
                right = splat_text("i32", str(right), lanes)
            return emitter.emit(f"{name} {type_} {left}, {right}")

        def half(value: str) -> str:
            wide = f"<{lanes} x float>"
            bits = emitter.emit(f"bitcast {wide} {value} to {type_}")
            top = op("lshr", bits, 16)
            to_even = op("add", op("and", top, 1), LOWER)
            near = op("lshr", op("add", bits, to_even), 16)
            zero = splat_text("float", float_text(0.0), lanes)
            is_nan = emitter.emit(f"fcmp uno {wide} {value}, {zero}")
            quiet = op("or", top, QUIET)
            return emitter.emit(
                f"select <{lanes} x i1> {is_nan}, {type_} {quiet}, {type_} {near}"
            )

        parts = half(lower), half(upper)
        if not in_order:
            return op("or", parts[0], op("shl", parts[1], 16))
        narrow = f"<{lanes} x i16>"
        low, high = (emitter.emit(f"trunc {type_} {x} to {narrow}") for x in parts)
        both = shuffle(emitter, f"{narrow} {low}", f"{narrow} {high}", range(2 * lanes))
        return emitter.emit(f"bitcast <{2 * lanes} x i16> {both} to {type_}")


def unpacked(emitter: FunctionEmitter, lanes: int, pairs: str) -> tuple[str, str]:
    """The lower and the upper halves as float32."""
    type_ = f"<{lanes} x i32>"
    shift, mask = splat_text("i32", "16", lanes), splat_text("i32", UPPER, lanes)
    lower = emitter.emit(f"shl {type_} {pairs}, {shift}")
    upper = emitter.emit(f"and {type_} {pairs}, {mask}")
    wide = f"<{lanes} x float>"
    first, second = (
        emitter.emit(f"bitcast {type_} {text} to {wide}") for text in (lower, upper)
    )
    return first, second


PREFERRED_BF16 = (Avx512Bf16(), GenericBf16())
"""The best first; the last one is for every target."""


def bf16_for(target: Target, lanes: int) -> Avx512Bf16 | GenericBf16:
    """The first of `PREFERRED_BF16` that the target has for so many lanes."""
    return next(
        found
        for found in PREFERRED_BF16
        if found.features <= target.features
        and (not found.lanes or lanes in found.lanes)
    )


def has_dot_pairs(target: Target) -> bool:
    """Whether a product of pairs is one instruction."""
    return isinstance(bf16_for(target, target.lanes), Avx512Bf16)
