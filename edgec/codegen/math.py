"""Elementary functions on vectors of float32, as LLVM IR text.

LLVM has no vector `exp` of its own (it would call libm once per element), so the bodies
stand here: straight-line code without tables, branches or calls, to be pasted where it
is needed. They are right on every target; with `fma` they use the fused instruction,
without it separate multiplication and addition (`llvm.fma` would call libm).

Bounds on the error, in units in the last place of the float32 result:

    exp 1.5    log 1.5    tanh 3    erf 2    sigmoid 3    sin, cos, pow: libm's

They are observed, not proved. The largest errors seen, with and without `fma`, on every
11th float32 where the function is neither 0, constant nor linear (every 211th for log
outside [0.5, 2]), were 1.04, 0.96, 2.59, 1.43 and 2.74.

Special values follow IEEE 754 and C: NaN in, NaN out; exp(-inf) = 0, log(0) = -inf,
log(-1) = NaN, tanh(-0) = -0; results may be denormal.

The polynomials are minimax fits (Remez' algorithm, 40 digits, error weighted to be
relative to the result), rounded to float32. Source of the method: J.-M. Muller,
Elementary Functions, 3rd ed., 2016, chapters 3 (minimax) and 11 (range reduction).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edgec.errors import CodegenFailed

FreshName = Callable[[], str]
"""Gives a local LLVM name (`%m12`) that was never used before in the function."""

LANES = (1, 4, 8, 16)
"""Vector widths; 1 stands for plain `float`."""

ARITY: Mapping[str, int] = {
    **dict.fromkeys(("cos", "erf", "exp", "log", "sigmoid", "sin", "tanh"), 1),
    "pow": 2,
}
"""The functions of this module and how many arguments each takes."""

LOG2_E: Final = 1.4426950408889634
LN2_HIGH: Final = 11357 / 16384
"""ln 2 to 14 bits, so that its product with a 10-bit integer is exact in float32."""
LN2_LOW: Final = 0.6931471805599453 - LN2_HIGH
ROUNDER: Final = 1.5 * 2.0**23
"""Adding it to |x| < 2^22 leaves x rounded to an integer in the low bits."""
ROUNDER_BITS: Final = 0x4B400000
ONE_BITS: Final = 0x3F800000
SQRT_HALF_BITS: Final = 0x3F3504F3
SMALLEST_NORMAL: Final = 2.0**-126

# expm1(r) = r + r² P(r) for |r| ≤ ln 2 / 2; error 2^-28 of exp(r).
EXPM1: Final = (0.5, 0.16666512, 0.041666187, 0.0083695976, 0.0013951734)
# log(1 + f) = f - f²/2 + f³ P(f) for √½ ≤ 1 + f ≤ √2; relative error 2^-27.
LOG1P: Final = (
    *(0.33333331, -0.25000823, 0.20001227, -0.16623357),
    *(0.14201751, -0.13160184, 0.12761621, -0.076345474),
)
# erf(x) = x + x P(x²) for |x| ≤ 1; relative error 2^-29.
ERF_SMALL: Final = (
    *(0.128379166, -0.37612626, 0.1128360, -0.026854444),
    *(0.0051895352, -0.00080208405, 0.000078891149),
)
# log(1 - erf(a)) = P(a) for 1 ≤ a ≤ 4; error 2^-29 of erf(a).
LOG_ERFC: Final = (
    *(-0.00035374027, -1.1270399, -0.6382258, -0.10303725),
    *(0.02180526, -0.0029395930, 0.00018557259),
)


def inline_text(
    name: str, lanes: int, args: Sequence[str], fresh_name: FreshName, *, fma: bool
) -> tuple[list[str], str]:
    """Instructions that apply the function `name` to `args`, and the result's name.

    `args` are local names of type `<lanes x float>` (`float` for one lane); `fma` tells
    whether the target has fused multiply-add. Raises `CodegenFailed` for an unknown
    name, another width than `LANES`, or the wrong number of arguments.
    """
    if name not in ARITY:
        raise CodegenFailed(
            f"no vector function '{name}'; known are {', '.join(sorted(ARITY))}"
        )
    if lanes not in LANES:
        raise CodegenFailed(f"'{name}' of {lanes} lanes; allowed are {LANES}")
    if len(args) != ARITY[name]:
        raise CodegenFailed(
            f"'{name}' takes {ARITY[name]} arguments, got {len(args)}: {list(args)}"
        )
    body = _Body(lanes, fresh_name, fma=fma)
    return body.lines, _BODIES[name](body, *args)


def function_text(name: str, lanes: int, *, fma: bool) -> tuple[str, str]:
    """The symbol and the definition of an internal function for `inline_text`."""
    count = 0

    def fresh_name() -> str:
        nonlocal count
        count += 1
        return f"%m{count}"

    args = [f"%a{index}" for index in range(ARITY.get(name, 0))]
    lines, result = inline_text(name, lanes, args, fresh_name, fma=fma)
    kind = _float_type(lanes)
    symbol = f"edgec_{name}_{lanes}"
    parameters = ", ".join(f"{kind} {arg}" for arg in args)
    return symbol, "\n".join(
        [
            f"define internal {kind} @{symbol}({parameters}) nounwind {{",
            *lines,
            f"  ret {kind} {result}",
            "}",
            "",
        ]
    )


def _float_type(lanes: int) -> str:
    return "float" if lanes == 1 else f"<{lanes} x float>"


class _Body:
    """Instructions under construction; each method appends one and gives its result."""

    def __init__(self, lanes: int, fresh_name: FreshName, *, fma: bool) -> None:
        self.lines: list[str] = []
        self.lanes = lanes
        self.float = _float_type(lanes)
        self.int = "i32" if lanes == 1 else f"<{lanes} x i32>"
        self.bool = "i1" if lanes == 1 else f"<{lanes} x i1>"
        self._suffix = "f32" if lanes == 1 else f"v{lanes}f32"
        self._fresh_name = fresh_name
        self._fma = fma

    def emit(self, instruction: str) -> str:
        name = self._fresh_name()
        self.lines.append(f"  {name} = {instruction}")
        return name

    def const(self, value: float) -> str:
        """A float32 constant in every lane; LLVM writes it as a double in hex."""
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
        (bits,) = struct.unpack("<Q", struct.pack("<d", rounded))
        text = f"0x{bits:016X}"
        return text if self.lanes == 1 else f"splat (float {text})"

    def int_const(self, value: int) -> str:
        return str(value) if self.lanes == 1 else f"splat (i32 {value})"

    def add(self, a: str, b: str) -> str:
        return self.emit(f"fadd {self.float} {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        return self.emit(f"fsub {self.float} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        return self.emit(f"fmul {self.float} {a}, {b}")

    def div(self, a: str, b: str) -> str:
        return self.emit(f"fdiv {self.float} {a}, {b}")

    def neg(self, a: str) -> str:
        return self.emit(f"fneg {self.float} {a}")

    def muladd(self, a: str, b: str, c: str) -> str:
        """a·b + c, rounded once where the target can."""
        return (
            self.intrinsic("fma", a, b, c) if self._fma else self.add(self.mul(a, b), c)
        )

    def intrinsic(self, name: str, *args: str) -> str:
        typed = ", ".join(f"{self.float} {arg}" for arg in args)
        return self.emit(f"call {self.float} @llvm.{name}.{self._suffix}({typed})")

    def int_op(self, op: str, a: str, b: str) -> str:
        return self.emit(f"{op} {self.int} {a}, {b}")

    def bits(self, a: str) -> str:
        return self.emit(f"bitcast {self.float} {a} to {self.int}")

    def from_bits(self, a: str) -> str:
        return self.emit(f"bitcast {self.int} {a} to {self.float}")

    def to_float(self, a: str) -> str:
        return self.emit(f"sitofp {self.int} {a} to {self.float}")

    def where(self, compare: str, a: str, b: str, then: str, other: str) -> str:
        """`then` where `a compare b`, else `other`; NaN fails ordered comparisons."""
        test = self.emit(f"fcmp {compare} {self.float} {a}, {b}")
        return self.emit(
            f"select {self.bool} {test}, {self.float} {then}, {self.float} {other}"
        )

    def at_most(self, a: str, bound: float) -> str:
        return self.where("ogt", a, self.const(bound), self.const(bound), a)

    def at_least(self, a: str, bound: float) -> str:
        return self.where("olt", a, self.const(bound), self.const(bound), a)

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """Horner's scheme; the constant term comes first."""
        *rest, result = [self.const(each) for each in coefficients]
        for coefficient in reversed(rest):
            result = self.muladd(x, result, coefficient)
        return result


def _split_exp(b: _Body, x: str) -> tuple[str, str]:
    """Integer n and expm1(r) with x = n ln 2 + r and |r| ≤ ln 2 / 2, for |x| < 2^21."""
    shifted = b.muladd(x, b.const(LOG2_E), b.const(ROUNDER))
    n_float = b.sub(shifted, b.const(ROUNDER))
    n = b.int_op("sub", b.bits(shifted), b.int_const(ROUNDER_BITS))
    high = b.muladd(n_float, b.const(-LN2_HIGH), x)
    r = b.muladd(n_float, b.const(-LN2_LOW), high)
    expm1 = b.muladd(b.mul(r, r), b.polynomial(r, EXPM1), r)
    return n, expm1


def _power_of_two(b: _Body, n: str) -> str:
    """2^n for integers -126 ≤ n ≤ 127, by placing n in the exponent."""
    exponent = b.int_op("shl", n, b.int_const(23))
    return b.from_bits(b.int_op("add", exponent, b.int_const(ONE_BITS)))


def _exp(b: _Body, x: str) -> str:
    # Beyond these bounds the result is 0 or inf after rounding.
    n, expm1 = _split_exp(b, b.at_most(b.at_least(x, -104.0), 89.0))
    # Two factors, as 2^n itself may be out of range where the result is not.
    n_half = b.int_op("ashr", n, b.int_const(1))
    n_rest = b.int_op("sub", n, n_half)
    scaled = b.mul(b.add(expm1, b.const(1.0)), _power_of_two(b, n_half))
    return b.mul(scaled, _power_of_two(b, n_rest))


def _log(b: _Body, x: str) -> str:
    # A denormal is scaled by 2^25 first, which then comes off the exponent.
    tiny = b.const(SMALLEST_NORMAL)
    scaled = b.where("olt", x, tiny, b.mul(x, b.const(2.0**25)), x)
    offset = b.where("olt", x, tiny, b.const(-25.0), b.const(0.0))
    bits = b.bits(scaled)
    above = b.int_op("sub", bits, b.int_const(SQRT_HALF_BITS))
    exponent = b.int_op("ashr", above, b.int_const(23))
    mantissa = b.int_op("sub", bits, b.int_op("shl", exponent, b.int_const(23)))
    f = b.sub(b.from_bits(mantissa), b.const(1.0))
    k = b.add(b.to_float(exponent), offset)
    square = b.mul(f, f)
    tail = b.muladd(f, b.polynomial(f, LOG1P), b.const(-0.5))
    low = b.muladd(square, tail, b.mul(k, b.const(LN2_LOW)))
    result = b.muladd(k, b.const(LN2_HIGH), b.add(f, low))
    infinity = b.const(float("inf"))
    result = b.where("olt", x, infinity, result, x)  # inf and NaN give themselves
    result = b.where("olt", x, b.const(0.0), b.const(float("nan")), result)
    return b.where("oeq", x, b.const(0.0), b.const(-float("inf")), result)


def _tanh(b: _Body, x: str) -> str:
    # tanh a = e / (e + 2) with e = exp(2a) - 1; from a = 10 on it rounds to 1.
    a = b.intrinsic("fabs", x)
    n, expm1 = _split_exp(b, b.at_most(b.add(a, a), 20.0))
    scale = _power_of_two(b, n)
    e = b.muladd(scale, expm1, b.sub(scale, b.const(1.0)))
    return b.intrinsic("copysign", b.div(e, b.add(e, b.const(2.0))), x)


def _erf(b: _Body, x: str) -> str:
    # Two ranges, both computed: 1 - exp(log erfc) loses digits below 1.
    a = b.intrinsic("fabs", x)
    near = b.muladd(x, b.polynomial(b.mul(x, x), ERF_SMALL), x)
    exponent = b.polynomial(b.at_most(a, 4.0), LOG_ERFC)
    n, expm1 = _split_exp(b, exponent)
    erfc = b.mul(b.add(expm1, b.const(1.0)), _power_of_two(b, n))
    far = b.intrinsic("copysign", b.sub(b.const(1.0), erfc), x)
    return b.where("olt", a, b.const(1.0), near, far)


def _sigmoid(b: _Body, x: str) -> str:
    # exp of a negative number only: neither overflow nor lost digits on either side.
    e = _exp(b, b.neg(b.intrinsic("fabs", x)))
    s = b.div(b.const(1.0), b.add(e, b.const(1.0)))
    return b.where("oge", x, b.const(0.0), s, b.mul(e, s))


def _libm(name: str) -> Callable[..., str]:
    """One call into libm per lane: exact to libm's bounds, and rare in networks."""

    def body(b: _Body, *args: str) -> str:
        return b.intrinsic(name, *args)

    return body


_BODIES: Mapping[str, Callable[..., str]] = {
    "cos": _libm("cos"),
    "erf": _erf,
    "exp": _exp,
    "log": _log,
    "pow": _libm("pow"),
    "sigmoid": _sigmoid,
    "sin": _libm("sin"),
    "tanh": _tanh,
}
