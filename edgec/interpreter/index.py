"""Integer ops of `arith` that xDSL's interpreter lacks, or has for scalars only."""

from __future__ import annotations

import numpy as np
from xdsl.dialects import arith
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.utils.comparisons import to_signed, to_unsigned

from edgec.dialects.lane import width_of

WIDTH = 64
"""Bits of an index, and of the widest integer."""


def unsigned(values: PythonValues) -> tuple[int, ...]:
    """The integers read as unsigned."""
    return tuple(to_unsigned(int(value), WIDTH) for value in values)


@register_impls
class IndexFunctions(InterpreterFunctions):
    """Implementations for xDSL's interpreter, to stand next to its own."""

    @impl(arith.AddiOp)
    def run_addi(
        self, interpreter: Interpreter, op: arith.AddiOp, args: PythonValues
    ) -> PythonValues:
        """The sum, in each lane of a vector; it wraps around."""
        if isinstance(args[0], np.ndarray):
            return (args[0] + args[1],)
        width = width_of(op.result.type) or WIDTH
        return (to_signed(int(args[0]) + int(args[1]), width),)

    @impl(arith.AndIOp)
    def run_andi(
        self, interpreter: Interpreter, op: arith.AndIOp, args: PythonValues
    ) -> PythonValues:
        """Bits that both have, in each lane of a vector."""
        if isinstance(args[0], np.ndarray):
            return (args[0] & args[1],)
        width = width_of(op.result.type) or WIDTH
        return (to_signed(int(args[0]) & int(args[1]), width),)

    @impl(arith.DivUIOp)
    def run_divui(
        self, interpreter: Interpreter, op: arith.DivUIOp, args: PythonValues
    ) -> PythonValues:
        """Quotient of unsigned integers."""
        lhs, rhs = unsigned(args)
        interpreter.interpreter_assert(rhs != 0, f"'{op.name}' op divides by zero")
        return (to_signed(lhs // rhs, WIDTH),)

    @impl(arith.RemUIOp)
    def run_remui(
        self, interpreter: Interpreter, op: arith.RemUIOp, args: PythonValues
    ) -> PythonValues:
        """Remainder of unsigned integers."""
        lhs, rhs = unsigned(args)
        interpreter.interpreter_assert(rhs != 0, f"'{op.name}' op divides by zero")
        return (to_signed(lhs % rhs, WIDTH),)

    @impl(arith.MinUIOp)
    def run_minui(
        self, interpreter: Interpreter, op: arith.MinUIOp, args: PythonValues
    ) -> PythonValues:
        """The smaller one, unsigned."""
        return (to_signed(min(unsigned(args)), WIDTH),)

    @impl(arith.MaxUIOp)
    def run_maxui(
        self, interpreter: Interpreter, op: arith.MaxUIOp, args: PythonValues
    ) -> PythonValues:
        """The larger one, unsigned."""
        return (to_signed(max(unsigned(args)), WIDTH),)

    @impl(arith.MinSIOp)
    def run_minsi(
        self, interpreter: Interpreter, op: arith.MinSIOp, args: PythonValues
    ) -> PythonValues:
        """The smaller one, signed."""
        return (min(args),)

    @impl(arith.MaxSIOp)
    def run_maxsi(
        self, interpreter: Interpreter, op: arith.MaxSIOp, args: PythonValues
    ) -> PythonValues:
        """The larger one, signed."""
        return (max(args),)

    @impl(arith.ShRUIOp)
    def run_shrui(
        self, interpreter: Interpreter, op: arith.ShRUIOp, args: PythonValues
    ) -> PythonValues:
        """Shift to the right that brings in zeros."""
        lhs, rhs = unsigned(args)
        return (to_signed(lhs >> rhs, WIDTH),)
