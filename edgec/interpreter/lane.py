"""What every `lane` op means, in numpy: a machine that checks each access.

A buffer is a flat array (a view, where memory is shared), a vector an array of its
lanes, a scalar a numpy scalar, an index an int. Arithmetic is done in float64 and
rounded to float32, which for single operations is exact; `lane.dot` is rounded once, as
on targets with fused multiply-add.

Memory with undefined content is filled with ones, which are NaN as float32 and -1 as
integers, so that reading it shows. An access outside of its buffer raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from xdsl.dialects.builtin import IndexType
from xdsl.dialects.func import FuncOp
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.utils.exceptions import InterpretationError
from xdsl.utils.hints import isa

from edgec.context import WeightStore
from edgec.dialects import lane
from edgec.dialects.lane import element_of, lanes_of
from edgec.errors import InvalidInput
from edgec.interpreter.arrays import AnyArray, WideArray, dtype_of, widen
from edgec.interpreter.elementwise import BINARY, UNARY
from edgec.interpreter.lockstep import LockStep

Bytes = npt.NDArray[np.uint8]

FOLD: Mapping[lane.FoldKind, Callable[[WideArray, WideArray], WideArray]] = {
    lane.FoldKind.ADD: np.add,
    lane.FoldKind.MUL: np.multiply,
    lane.FoldKind.MAX: np.maximum,
    lane.FoldKind.MIN: np.minimum,
}
"""Kind → function that combines two halves."""

COMPARE: Mapping[lane.CompareKind, Callable[[AnyArray, AnyArray], AnyArray]] = {
    lane.CompareKind.EQ: np.equal,
    lane.CompareKind.NE: np.not_equal,
    lane.CompareKind.LT: np.less,
    lane.CompareKind.LE: np.less_equal,
    lane.CompareKind.GT: np.greater,
    lane.CompareKind.GE: np.greater_equal,
}
"""Kind → comparison of lanes."""


def elements_of(buffer: SSAValue) -> int:
    """Number of elements of a buffer."""
    assert isa(buffer.type, lane.Buffer)
    return buffer.type.get_shape()[0]


def undefined(type_: Attribute, elements: int) -> AnyArray:
    """A flat array whose content shows that nothing was written to it."""
    dtype = dtype_of(type_)
    return np.full(elements * dtype.itemsize, 0xFF, np.uint8).view(dtype)


def as_value(value: Any, type_: Attribute) -> Any:  # Any: array, scalar or int
    """`value` as what stands for a value of `type_`."""
    if isinstance(type_, IndexType):
        return int(value)
    dtype = dtype_of(element_of(type_))
    with np.errstate(all="ignore"):
        array = np.asarray(value).astype(dtype)
    return array if lanes_of(type_) > 1 else array[()]


def fused_multiply_add(x: AnyArray, y: AnyArray, z: AnyArray) -> WideArray:
    """`x y + z` of float32, which rounds to float32 as the exact sum would."""
    product, wide = widen(np.asarray(x)) * widen(np.asarray(y)), widen(np.asarray(z))
    total = np.asarray(product + wide)
    # What the addition lost (Knuth's two-sum); the product itself is exact.
    rest = total - product
    lost = (product - (total - rest)) + (wide - rest)
    # The last bit set marks an inexact sum (round to odd), so that rounding again to
    # fewer bits is right: Boldo and Melquiond, IEEE Transactions on Computers, 2008.
    bits = total.view(np.int64)
    is_even = (bits & 1) == 0
    away = np.where((lost > 0) == (total > 0), 1, -1)
    step = np.where(np.isfinite(total) & (lost != 0) & is_even, away, 0)
    return (bits + step).view(np.float64)


def positions(
    op: lane.LoadOp | lane.StoreOp, buffer: AnyArray, index: int, mask: AnyArray | None
) -> npt.NDArray[np.int64]:
    """The elements that the active lanes access; raises if one is outside."""
    value = op.result if isinstance(op, lane.LoadOp) else op.value
    stride = op.lane_stride if isinstance(op, lane.LoadOp) else 1
    lanes = np.arange(lanes_of(value.type))
    places = (
        index + op.constant_offset + stride * (lanes if mask is None else lanes[mask])
    )
    check_inside(op, places, len(buffer))
    return places


def check_inside(op: Operation, places: npt.NDArray[np.int64], size: int) -> None:
    """Raise unless all places are in the buffer."""
    outside = places[(places < 0) | (places >= size)]
    if outside.size:
        function = op.parent_op()
        while function is not None and not isinstance(function, FuncOp):
            function = function.parent_op()
        where = f" of '{function.sym_name.data}'" if function else ""
        raise InterpretationError(
            f"'{op.name}' op{where} accesses element {outside[0]} of a buffer of "
            f"{size}: {op}"
        )


@register_impls
class LaneFunctions(InterpreterFunctions):
    """Implementations of the `lane` dialect for xDSL's interpreter.

    Args:
        weights: the arrays that `lane.weights` names.
        threads: how many threads run a kernel; here one after the other, or in turns
            from barrier to barrier.
    """

    def __init__(self, weights: WeightStore, threads: int = 1) -> None:
        self.weights = weights
        self.threads = threads
        self._own = threading.local()
        self._team: LockStep | None = None
        self._arena: Bytes | None = None

    # Memory

    @impl(lane.BufferOp)
    def run_buffer(
        self, interpreter: Interpreter, op: lane.BufferOp, args: PythonValues
    ) -> PythonValues:
        """Memory of its own, or its place in the arena."""
        element, elements = element_of(op.result.type), elements_of(op.result)
        if op.offset is None:
            return (undefined(element, elements),)
        if self._arena is None:
            function = op.parent_op()
            assert function is not None
            buffers = [o for o in function.walk() if isinstance(o, lane.BufferOp)]
            self._arena = _memory_for(buffers)
        return (_view(self._arena, op),)

    @impl(lane.ScratchOp)
    def run_scratch(
        self, interpreter: Interpreter, op: lane.ScratchOp, args: PythonValues
    ) -> PythonValues:
        """A place in the scratch of the thread that runs."""
        return (_view(self._own.scratch, op),)

    @impl(lane.WeightsOp)
    def run_weights(
        self, interpreter: Interpreter, op: lane.WeightsOp, args: PythonValues
    ) -> PythonValues:
        """The array behind the name."""
        array = self.weights[op.resource.data]
        expected = (elements_of(op.result), dtype_of(element_of(op.result.type)))
        if (array.size, array.dtype) != expected:
            raise InvalidInput(
                f"weights '{op.resource.data}' must be {expected[0]} of {expected[1]}, "
                f"got {array.size} of {array.dtype}"
            )
        return (array.reshape(-1),)

    @impl(lane.LaunchOp)
    def run_launch(
        self, interpreter: Interpreter, op: lane.LaunchOp, args: PythonValues
    ) -> PythonValues:
        """The kernel, once per thread."""
        kernel = interpreter.get_op_for_symbol(op.callee)
        scratch = [o for o in kernel.walk() if isinstance(o, lane.ScratchOp)]
        meets = any(isinstance(o, lane.BarrierOp) for o in kernel.walk())

        def run(thread: int) -> None:
            self._own.scratch = _memory_for(scratch)
            # The values of a thread are its own, so in a team it needs its own scopes.
            own = copy(interpreter) if meets else interpreter
            own.call_op(kernel, (thread, self.threads, *args))

        if meets:
            self._team = LockStep(self.threads)
            self._team.run(run)
        else:
            for thread in range(self.threads):
                run(thread)
        return ()

    @impl(lane.BarrierOp)
    def run_barrier(
        self, interpreter: Interpreter, op: lane.BarrierOp, args: PythonValues
    ) -> PythonValues:
        """The turn of the next thread, until all are here."""
        if self._team is None:
            raise InterpretationError(f"'{op.name}' op outside of a launch")
        self._team.meet()
        return ()

    @impl(lane.ForUnitsOp)
    def run_for_units(
        self, interpreter: Interpreter, op: lane.ForUnitsOp, args: PythonValues
    ) -> PythonValues:
        """The thread's own units; nobody is slow here, so none are taken."""
        thread, threads, total = args
        for unit in range(thread * total // threads, (thread + 1) * total // threads):
            interpreter.run_ssacfg_region(op.body, (unit,), "for_units")
        return ()

    @impl(lane.LoadOp)
    def run_load(
        self, interpreter: Interpreter, op: lane.LoadOp, args: PythonValues
    ) -> PythonValues:
        """Elements of a buffer; 0 in lanes that are off."""
        buffer, index, *masks = args
        mask = masks[0] if masks else None
        found = buffer[positions(op, buffer, index, mask)]
        if mask is None:
            return (found if lanes_of(op.result.type) > 1 else found[0],)
        value = np.zeros(len(mask), buffer.dtype)
        value[mask] = found
        return (value,)

    @impl(lane.StoreOp)
    def run_store(
        self, interpreter: Interpreter, op: lane.StoreOp, args: PythonValues
    ) -> PythonValues:
        """Write elements of a buffer."""
        value, buffer, index, *masks = args
        mask = masks[0] if masks else None
        if not buffer.flags.writeable:
            raise InterpretationError(f"'{op.name}' op writes to an input: {op}")
        places = positions(op, buffer, index, mask)
        buffer[places] = value if mask is None else value[mask]
        return ()

    @impl(lane.PrefetchOp)
    def run_prefetch(
        self, interpreter: Interpreter, op: lane.PrefetchOp, args: PythonValues
    ) -> PythonValues:
        """Nothing; any address is fine."""
        return ()

    @impl(lane.TailMaskOp)
    def run_tail_mask(
        self, interpreter: Interpreter, op: lane.TailMaskOp, args: PythonValues
    ) -> PythonValues:
        """Lanes below the count."""
        return (np.arange(lanes_of(op.result.type)) < args[0],)

    @impl(lane.LoadMaskOp)
    def run_load_mask(
        self, interpreter: Interpreter, op: lane.LoadMaskOp, args: PythonValues
    ) -> PythonValues:
        """Bits of a table."""
        buffer, first = args[0], args[1] + op.constant_offset
        lanes = lanes_of(op.result.type)
        if first % min(lanes, 8):
            raise InterpretationError(
                f"'{op.name}' op must start at a multiple of {min(lanes, 8)} bits, "
                f"got {first}"
            )
        bits = first + np.arange(lanes)
        check_inside(op, bits // 8, len(buffer))
        return ((buffer.view(np.uint8)[bits // 8] >> (bits % 8) & 1).astype(np.bool_),)

    # Registers

    @impl(lane.SplatOp)
    def run_splat(
        self, interpreter: Interpreter, op: lane.SplatOp, args: PythonValues
    ) -> PythonValues:
        """The scalar in every lane."""
        lanes = lanes_of(op.result.type)
        return (np.full(lanes, args[0]) if lanes > 1 else args[0],)

    @impl(lane.ConstantOp)
    def run_constant(
        self, interpreter: Interpreter, op: lane.ConstantOp, args: PythonValues
    ) -> PythonValues:
        """The number in every lane."""
        lanes = lanes_of(op.result.type)
        value = np.full(lanes, op.number) if lanes > 1 else op.number
        return (as_value(value, op.result.type),)

    @impl(lane.DotOp)
    def run_dot(
        self, interpreter: Interpreter, op: lane.DotOp, args: PythonValues
    ) -> PythonValues:
        """`acc + lhs * rhs`, rounded once."""
        acc, lhs, rhs = args
        with np.errstate(all="ignore"):
            return (as_value(fused_multiply_add(lhs, rhs, acc), op.result.type),)

    @impl(lane.UnaryOp)
    def run_unary(
        self, interpreter: Interpreter, op: lane.UnaryOp, args: PythonValues
    ) -> PythonValues:
        """The function of `kind`, with its params."""
        with np.errstate(all="ignore"):
            y = UNARY[op.kind.data](widen(np.asarray(args[0])), *op.parameters)
        return (as_value(y, op.result.type),)

    @impl(lane.BinaryOp)
    def run_binary(
        self, interpreter: Interpreter, op: lane.BinaryOp, args: PythonValues
    ) -> PythonValues:
        """The function of `kind`."""
        lhs, rhs = (widen(np.asarray(arg)) for arg in args)
        with np.errstate(all="ignore"):
            return (as_value(BINARY[op.kind.data](lhs, rhs), op.result.type),)

    @impl(lane.CompareOp)
    def run_compare(
        self, interpreter: Interpreter, op: lane.CompareOp, args: PythonValues
    ) -> PythonValues:
        """One bit per lane."""
        return (as_value(COMPARE[op.kind.data](*args), op.result.type),)

    @impl(lane.CastOp)
    def run_cast(
        self, interpreter: Interpreter, op: lane.CastOp, args: PythonValues
    ) -> PythonValues:
        """The number in another type."""
        return (as_value(args[0], op.result.type),)

    @impl(lane.SelectOp)
    def run_select(
        self, interpreter: Interpreter, op: lane.SelectOp, args: PythonValues
    ) -> PythonValues:
        """Lanes of one or the other."""
        return (as_value(np.where(*args), op.result.type),)

    @impl(lane.FoldOp)
    def run_fold(
        self, interpreter: Interpreter, op: lane.FoldOp, args: PythonValues
    ) -> PythonValues:
        """Halves combined, and rounded, until one lane is left."""
        value = args[0]
        while len(value) > 1:
            low, high = np.split(widen(value), 2)
            with np.errstate(all="ignore"):
                value = FOLD[op.kind.data](low, high).astype(args[0].dtype)
        return (value[0],)

    @impl(lane.ConcatOp)
    def run_concat(
        self, interpreter: Interpreter, op: lane.ConcatOp, args: PythonValues
    ) -> PythonValues:
        """The lanes of both."""
        return (np.concatenate(args),)

    @impl(lane.DeinterleaveOp)
    def run_deinterleave(
        self, interpreter: Interpreter, op: lane.DeinterleaveOp, args: PythonValues
    ) -> PythonValues:
        """Every second lane of both, and the others."""
        lanes = np.concatenate(args)
        return lanes[::2], lanes[1::2]

    @impl(lane.SliceOp)
    def run_slice(
        self, interpreter: Interpreter, op: lane.SliceOp, args: PythonValues
    ) -> PythonValues:
        """Some of the lanes."""
        first = op.first_lane
        return (args[0][first : first + lanes_of(op.result.type)],)

    @impl(lane.IndexOp)
    def run_index(
        self, interpreter: Interpreter, op: lane.IndexOp, args: PythonValues
    ) -> PythonValues:
        """The bits read as an unsigned integer."""
        mask = (1 << (8 * np.asarray(args[0]).itemsize)) - 1
        return (int(args[0]) & mask,)


def _view(memory: Bytes, op: lane.BufferOp | lane.ScratchOp) -> AnyArray:
    """The op's place in `memory`."""
    assert op.offset is not None
    dtype, offset = dtype_of(element_of(op.result.type)), op.offset.value.data
    size = elements_of(op.result) * dtype.itemsize
    return memory[offset : offset + size].view(dtype)


def _memory_for(ops: list[lane.BufferOp] | list[lane.ScratchOp]) -> Bytes:
    """Undefined memory that has the places of all ops."""
    size = 0
    for op in ops:
        assert op.offset is not None, "some buffers have a place and others not"
        width = dtype_of(element_of(op.result.type)).itemsize
        size = max(size, op.offset.value.data + elements_of(op.result) * width)
    return np.full(size, 0xFF, np.uint8)
