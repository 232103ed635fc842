"""What the `lane` ops on quads mean, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)
from xdsl.utils.exceptions import InterpretationError

from edgec.dialects import lane
from edgec.interpreter.arrays import AnyArray

Bytes = npt.NDArray[np.uint8]


def bytes_of(quads: AnyArray) -> Bytes:
    """`[..., 4]` unsigned bytes of 32-bit lanes, the low one first."""
    lanes = np.asarray(quads, "<i4")
    return lanes.reshape((*lanes.shape, 1)).view(np.uint8)


def quads_of(parts: Bytes) -> AnyArray:
    """The inverse of `bytes_of`."""
    return np.ascontiguousarray(parts, np.uint8).view("<i4")[..., 0].astype(np.int32)


def are_bounded(weights: npt.NDArray[np.int8]) -> bool:
    """Whether `[..., 4]` signed bytes keep the promise of `{bounded}`."""
    pairs = weights.astype(np.int64).reshape(-1, 2)
    positive, negative = pairs.clip(min=0).sum(1), -pairs.clip(max=0).sum(1)
    return bool((np.maximum(positive, negative) <= lane.PAIR_BOUND).all())


@register_impls
class QuadFunctions(InterpreterFunctions):
    """Implementations for xDSL's interpreter."""

    @impl(lane.DotQuadsOp)
    def run_dot(
        self, interpreter: Interpreter, op: lane.DotQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Exact, then modulo 2^32."""
        acc, x, w = args
        weights = bytes_of(w).view(np.int8)
        if op.bounded is not None and not are_bounded(weights):
            raise InterpretationError(
                f"'{op.name}' op is bounded, but got weights {weights}"
            )
        products = bytes_of(x).astype(np.int64) * weights
        return ((np.asarray(acc, np.int64) + products.sum(-1)).astype(np.int32)[()],)

    @impl(lane.DotWordsOp)
    def run_dot_words(
        self, interpreter: Interpreter, op: lane.DotWordsOp, args: PythonValues
    ) -> PythonValues:
        """Exact, then modulo 2^32."""
        acc, x, w = args
        weights = np.ascontiguousarray(bytes_of(w)).view("<i2")
        products = bytes_of(x)[..., int(op.odd is not None) :: 2].astype(np.int64)
        sums = np.asarray(acc, np.int64) + (products * weights).sum(-1)
        return (sums.astype(np.int32)[()],)

    @impl(lane.PackQuadsOp)
    def run_pack(
        self, interpreter: Interpreter, op: lane.PackQuadsOp, args: PythonValues
    ) -> PythonValues:
        """The bytes that are nearest."""
        parts = np.stack([np.asarray(value, np.int64) for value in args], -1)
        if op.transposed is not None:
            parts = parts.reshape(-1, 4, 4).swapaxes(1, 2).reshape(-1, 4)
        return (quads_of((parts + op.added).clip(0, 255).astype(np.uint8))[()],)

    @impl(lane.TransposeQuadsOp)
    def run_transpose(
        self, interpreter: Interpreter, op: lane.TransposeQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Axes are input, block, position, channel."""
        parts = np.stack([bytes_of(value).reshape(-1, 4, 4) for value in args])
        moved = parts.transpose(2, 1, 3, 0)
        return tuple(quads_of(part).reshape(-1) for part in moved)

    @impl(lane.UnpackQuadsOp)
    def run_unpack(
        self, interpreter: Interpreter, op: lane.UnpackQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Each byte as a number."""
        parts = bytes_of(args[0])
        if op.signed is not None:
            parts = parts.view(np.int8)
        parts = parts.astype(np.int32)
        if op.in_order is not None:
            return tuple(parts.reshape(lane.QUAD, -1))
        return tuple(parts[..., number][()] for number in range(lane.QUAD))

    @impl(lane.MaxQuadsOp)
    def run_max(
        self, interpreter: Interpreter, op: lane.MaxQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Byte by byte."""
        left, right = map(bytes_of, args)
        return (quads_of(np.maximum(left, right))[()],)

    @impl(lane.MinQuadsOp)
    def run_min(
        self, interpreter: Interpreter, op: lane.MinQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Byte by byte."""
        left, right = map(bytes_of, args)
        return (quads_of(np.minimum(left, right))[()],)
