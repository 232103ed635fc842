"""Code of `lane.unary`, `lane.binary` and `lane.fold`: one function per kind.

What each kind means stands in `edgec.interpreter.elementwise`; NaN goes through as in
torch. Kinds made of exponentials keep small results exact to a few units in the last
place, which takes other formulas than the definitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from xdsl.ir import Attribute

from edgec.codegen.emit_function import (
    FunctionEmitter,
    float_text,
    llvm_type,
    splat_text,
)
from edgec.codegen.math import inline_text
from edgec.dialects.lane import FoldKind, lanes_of
from edgec.dialects.nn import BinaryKind, UnaryKind


class Floats:
    """Instructions on values of one f32 type; each method emits and gives the result.

    Args:
        emitter: where the instructions go.
        type_: f32 or a vector of it.
    """

    def __init__(self, emitter: FunctionEmitter, type_: Attribute) -> None:
        self.lanes = lanes_of(type_)
        self.type = llvm_type(type_)
        self._emitter = emitter
        self._suffix = "f32" if self.lanes == 1 else f"v{self.lanes}f32"
        self._bool = "i1" if self.lanes == 1 else f"<{self.lanes} x i1>"

    def const(self, value: float) -> str:
        """The number in every lane."""
        return splat_text("float", float_text(value), self.lanes)

    def op(self, name: str, *args: str) -> str:
        """`fadd`, `fsub`, `fmul`, `fdiv`, `fneg`."""
        return self._emitter.emit(f"{name} {self.type} {', '.join(args)}")

    def call(self, name: str, *args: str) -> str:
        """An intrinsic of LLVM."""
        typed = ", ".join(f"{self.type} {arg}" for arg in args)
        return self._emitter.emit(
            f"call {self.type} @llvm.{name}.{self._suffix}({typed})"
        )

    def function(self, name: str, *args: str) -> str:
        """A function of `edgec.codegen.math`."""
        lines, result = inline_text(
            name,
            self.lanes,
            args,
            self._emitter.fresh_name,
            fma=self._emitter.target.fma,
        )
        self._emitter.lines += lines
        return result

    def muladd(self, a: str, b: str, c: str) -> str:
        """`a b + c`, rounded once where the target can."""
        if self._emitter.target.fma:
            return self.call("fma", a, b, c)
        return self.op("fadd", self.op("fmul", a, b), c)

    def where(self, compare: str, a: str, b: str, on: str, off: str) -> str:
        """`on` where `a compare b`, else `off`."""
        test = self._emitter.emit(f"fcmp {compare} {self.type} {a}, {b}")
        return self._emitter.emit(
            f"select {self._bool} {test}, {self.type} {on}, {self.type} {off}"
        )

    def at_least(self, x: str, bound: str) -> str:
        """The larger one; NaN in `x` stays. One instruction on x86."""
        return self.where("ogt", bound, x, bound, x)

    def at_most(self, x: str, bound: str) -> str:
        """The smaller one; NaN in `x` stays. One instruction on x86."""
        return self.where("olt", bound, x, bound, x)


Unary = Callable[..., str]
Binary = Callable[[Floats, str, str], str]


def _maximum(f: Floats, a: str, b: str) -> str:
    return f.where("uno", a, a, a, f.where("ogt", a, b, a, b))


def _minimum(f: Floats, a: str, b: str) -> str:
    return f.where("uno", a, a, a, f.where("olt", a, b, a, b))


def _prelu(f: Floats, x: str, slope: str) -> str:
    return f.where("ogt", x, f.const(0), x, f.op("fmul", x, slope))


def _relu(f: Floats, x: str) -> str:
    return f.at_least(x, f.const(0))


def _leaky_relu(f: Floats, x: str, slope: float) -> str:
    return _prelu(f, x, f.const(slope))


def _clamp(f: Floats, x: str, low: float, high: float) -> str:
    return f.at_most(f.at_least(x, f.const(low)), f.const(high))


def _sign(f: Floats, x: str) -> str:
    zero = f.const(0)
    negative = f.where("olt", x, zero, f.const(-1), zero)
    return f.where("ogt", x, zero, f.const(1), negative)


def _reciprocal(f: Floats, x: str) -> str:
    return f.op("fdiv", f.const(1), x)


def _rsqrt(f: Floats, x: str) -> str:
    return _reciprocal(f, f.call("sqrt", x))


def _hardsigmoid(f: Floats, x: str) -> str:
    clipped = _clamp(f, f.op("fadd", x, f.const(3)), 0, 6)
    return f.op("fmul", clipped, f.const(1 / 6))


def _hardswish(f: Floats, x: str) -> str:
    return f.op("fmul", x, _hardsigmoid(f, x))


def _over_one_plus_exp(f: Floats, x: str, exponent: str) -> str:
    """`x / (1 + exp(exponent))`."""
    e = f.function("exp", exponent)
    return f.op("fdiv", x, f.op("fadd", e, f.const(1)))


def _silu(f: Floats, x: str) -> str:
    return _over_one_plus_exp(f, x, f.op("fneg", x))


def _gelu(f: Floats, x: str) -> str:
    e = f.function("erf", f.op("fmul", x, f.const(math.sqrt(0.5))))
    half = f.op("fmul", x, f.const(0.5))
    return f.muladd(half, e, half)


def _gelu_tanh(f: Floats, x: str) -> str:
    # (1 + tanh u) / 2 = 1 / (1 + exp(-2u))
    scale = -2 * math.sqrt(2 / math.pi)
    square = f.op("fmul", x, x)
    factor = f.muladd(square, f.const(scale * 0.044715), f.const(scale))
    return _over_one_plus_exp(f, x, f.op("fmul", x, factor))


def _log1p(f: Floats, u: str) -> str:
    """`log(1 + u)` for 0 ≤ u ≤ 1."""
    # The logarithm of the rounded sum, plus what the rounding took.
    total = f.op("fadd", u, f.const(1))
    lost = f.op("fsub", u, f.op("fsub", total, f.const(1)))
    return f.op("fadd", f.function("log", total), f.op("fdiv", lost, total))


def _softplus(f: Floats, x: str, beta: float, threshold: float) -> str:
    scaled = x if beta == 1 else f.op("fmul", x, f.const(beta))
    small = f.function("exp", f.op("fneg", f.call("fabs", scaled)))
    y = f.op("fadd", _relu(f, scaled), _log1p(f, small))
    y = y if beta == 1 else f.op("fmul", y, f.const(1 / beta))
    return f.where("ogt", scaled, f.const(threshold), x, y)


def _elu(f: Floats, x: str, alpha: float, scale: float, input_scale: float) -> str:
    # expm1(u) = 2t / (1 - t) with t = tanh(u / 2), and 1 - t ≥ 1 for u ≤ 0.
    t = f.function("tanh", f.op("fmul", x, f.const(input_scale / 2)))
    expm1 = f.op("fdiv", t, f.op("fsub", f.const(1), t))
    below = f.op("fmul", expm1, f.const(2 * scale * alpha))
    above = x if scale == 1 else f.op("fmul", x, f.const(scale))
    return f.where("ogt", x, f.const(0), above, below)


def _mish(f: Floats, x: str) -> str:
    # tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2); from 20 on it rounds to 1.
    e = f.function("exp", f.at_most(x, f.const(20)))
    n = f.op("fmul", e, f.op("fadd", e, f.const(2)))
    return f.op("fmul", x, f.op("fdiv", n, f.op("fadd", n, f.const(2))))


def _instruction(name: str) -> Callable[..., str]:
    def emit(f: Floats, *args: str) -> str:
        return f.op(name, *args)

    return emit


def _intrinsic(name: str) -> Callable[..., str]:
    def emit(f: Floats, x: str) -> str:
        return f.call(name, x)

    return emit


def _function(name: str) -> Callable[..., str]:
    def emit(f: Floats, *args: str) -> str:
        return f.function(name, *args)

    return emit


UNARY: Mapping[UnaryKind, Unary] = {
    UnaryKind.NEG: _instruction("fneg"),
    UnaryKind.ABS: _intrinsic("fabs"),
    UnaryKind.SQRT: _intrinsic("sqrt"),
    UnaryKind.RSQRT: _rsqrt,
    UnaryKind.RECIPROCAL: _reciprocal,
    UnaryKind.EXP: _function("exp"),
    UnaryKind.LOG: _function("log"),
    UnaryKind.SIN: _function("sin"),
    UnaryKind.COS: _function("cos"),
    UnaryKind.FLOOR: _intrinsic("floor"),
    UnaryKind.CEIL: _intrinsic("ceil"),
    UnaryKind.ROUND: _intrinsic("rint"),
    UnaryKind.SIGN: _sign,
    UnaryKind.ERF: _function("erf"),
    UnaryKind.RELU: _relu,
    UnaryKind.LEAKY_RELU: _leaky_relu,
    UnaryKind.ELU: _elu,
    UnaryKind.SILU: _silu,
    UnaryKind.GELU: _gelu,
    UnaryKind.GELU_TANH: _gelu_tanh,
    UnaryKind.HARDSWISH: _hardswish,
    UnaryKind.HARDSIGMOID: _hardsigmoid,
    UnaryKind.SIGMOID: _function("sigmoid"),
    UnaryKind.TANH: _function("tanh"),
    UnaryKind.SOFTPLUS: _softplus,
    UnaryKind.CLAMP: _clamp,
    UnaryKind.MISH: _mish,
}
"""Kind → code, given the input and the op's params."""

BINARY: Mapping[BinaryKind, Binary] = {
    BinaryKind.ADD: _instruction("fadd"),
    BinaryKind.SUB: _instruction("fsub"),
    BinaryKind.MUL: _instruction("fmul"),
    BinaryKind.DIV: _instruction("fdiv"),
    BinaryKind.MIN: _minimum,
    BinaryKind.MAX: _maximum,
    BinaryKind.POW: _function("pow"),
    BinaryKind.PRELU: _prelu,
}
"""Kind → code, given both operands."""

FOLD: Mapping[FoldKind, Binary] = {
    FoldKind.ADD: BINARY[BinaryKind.ADD],
    FoldKind.MUL: BINARY[BinaryKind.MUL],
    FoldKind.MAX: _maximum,
    FoldKind.MIN: _minimum,
}
"""Kind → code that combines two lanes."""
