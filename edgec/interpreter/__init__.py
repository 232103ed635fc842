"""Run IR: the numpy meaning of every op, on xDSL's interpreter.

Slow and obvious on purpose. It is what passes are tested against: the module before
and after a pass must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.interpreter import Interpreter, InterpreterFunctions
from xdsl.interpreters.arith import ArithFunctions
from xdsl.interpreters.builtin import BuiltinFunctions
from xdsl.interpreters.func import FuncFunctions
from xdsl.interpreters.scf import ScfFunctions
from xdsl.ir import Attribute
from xdsl.traits import SymbolTable
from xdsl.utils.hints import isa

from edgec.context import WeightStore, weights_of
from edgec.dialects.nn import AnyTensor
from edgec.errors import InvalidInput
from edgec.interpreter.arrays import AnyArray, dtype_of
from edgec.interpreter.codes import CodeFunctions
from edgec.interpreter.index import IndexFunctions
from edgec.interpreter.lane import LaneFunctions
from edgec.interpreter.lowered import INPUTS, call_lowered, tensor_types
from edgec.interpreter.nn import NnFunctions
from edgec.interpreter.pairs import PairFunctions
from edgec.interpreter.quads import QuadFunctions
from edgec.interpreter.quant import QuantFunctions
from edgec.interpreter.sq import SqFunctions
from edgec.interpreter.tiles import TileFunctions

UPSTREAM: tuple[Callable[[], InterpreterFunctions], ...] = (
    ArithFunctions,
    BuiltinFunctions,
    FuncFunctions,
    IndexFunctions,
    ScfFunctions,
)
"""Implementations of upstream dialects, most of which xDSL brings."""

FUNCTIONS: tuple[Callable[[WeightStore], InterpreterFunctions], ...] = (
    NnFunctions,
    SqFunctions,
    QuantFunctions,
)
"""Implementations of edgec's dialects on tensors, one or two per dialect."""


def make_interpreter(
    module: ModuleOp, ctx: Context, *, threads: int = 1
) -> Interpreter:
    """An interpreter of `module` that knows the dialects and weights of edgec.

    `threads` is the number of threads that a launched kernel is told of.
    """
    interpreter = Interpreter(module)
    for make_upstream in UPSTREAM:
        # Index arithmetic has its own sum, which takes vectors too.
        interpreter.register_implementations(make_upstream(), override=True)
    for make in FUNCTIONS:
        interpreter.register_implementations(make(weights_of(ctx)))
    interpreter.register_implementations(LaneFunctions(weights_of(ctx), threads))
    interpreter.register_implementations(QuadFunctions())
    interpreter.register_implementations(PairFunctions())
    interpreter.register_implementations(CodeFunctions())
    interpreter.register_implementations(TileFunctions())
    return interpreter


def interpret(
    module: ModuleOp,
    inputs: Sequence[AnyArray],
    ctx: Context,
    function: str = "main",
    *,
    threads: int = 1,
) -> tuple[AnyArray, ...]:
    """Run a function of `module` on arrays and return its results.

    Shapes and element types of `inputs` must be those of the function's arguments;
    raises `InvalidInput` otherwise, and when a weight is missing. The inputs are not
    written to; results may share memory with inputs and weights. A lowered function is
    called like the one it was made from; its kernels run as on `threads` threads.
    """
    op = SymbolTable.lookup_symbol(module, function)
    if not isinstance(op, FuncOp):
        raise InvalidInput(f"the module has no function named '{function}'")
    lowered = tensor_types(op, INPUTS)
    types = op.function_type.inputs.data if lowered is None else lowered
    if len(inputs) != len(types):
        raise InvalidInput(
            f"number of inputs of '{function}' must be {len(types)}, got {len(inputs)}"
        )
    for index, (array, type_) in enumerate(zip(inputs, types, strict=True)):
        _check_input(f"input {index} of '{function}'", array, type_)
    interpreter = make_interpreter(module, ctx, threads=threads)
    if lowered is not None:
        return call_lowered(interpreter, op, tuple(inputs))
    return tuple(interpreter.call_op(op, tuple(inputs)))


def _check_input(name: str, array: AnyArray, type_: Attribute) -> None:
    """`array` fits `type_`, if that is a tensor type."""
    if not isa(type_, AnyTensor):
        return
    dtype, shape = dtype_of(type_.element_type), type_.get_shape()
    if array.shape != shape or array.dtype != dtype:
        raise InvalidInput(
            f"{name} must be {dtype}{list(shape)}, got {array.dtype}{list(array.shape)}"
        )


__all__ = ["FUNCTIONS", "UPSTREAM", "interpret", "make_interpreter"]
