"""What the `lane` ops on pairs mean, in numpy.

Of what `lane.dot_pairs` allows this is one: the product of the upper halves is added
first, each sum rounded to float32, and no number counts as zero that is none.
"""

from __future__ import annotations

import numpy as np
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)

from edgec.dialects import bf16, lane


@register_impls
class PairFunctions(InterpreterFunctions):
    """Implementations for xDSL's interpreter."""

    @impl(lane.DotPairsOp)
    def run_dot(
        self, interpreter: Interpreter, op: lane.DotPairsOp, args: PythonValues
    ) -> PythonValues:
        """Products are exact in float64."""
        acc, *pairs = args
        x, w = (bf16.parts_of(value).astype(np.float64) for value in pairs)
        with np.errstate(all="ignore"):
            for half in (1, 0):
                product = x[..., half] * w[..., half]
                acc = (acc.astype(np.float64) + product).astype(np.float32)
        return (acc,)

    @impl(lane.PackPairsOp)
    def run_pack(
        self, interpreter: Interpreter, op: lane.PackPairsOp, args: PythonValues
    ) -> PythonValues:
        """The nearest, ties to even."""
        if op.in_order is not None:
            return (bf16.pairs_of(np.concatenate(args).reshape(-1, bf16.PAIR)),)
        return (bf16.pairs_of(np.stack(args, -1)),)

    @impl(lane.UnpackPairsOp)
    def run_unpack(
        self, interpreter: Interpreter, op: lane.UnpackPairsOp, args: PythonValues
    ) -> PythonValues:
        """Both numbers."""
        parts = bf16.parts_of(args[0])
        return parts[..., 0], parts[..., 1]
