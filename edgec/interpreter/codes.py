"""What the `lane` ops that look bytes up mean, in numpy."""

from __future__ import annotations

import numpy as np
from xdsl.interpreter import (
    Interpreter,
    InterpreterFunctions,
    PythonValues,
    impl,
    register_impls,
)

from edgec.dialects import lane
from edgec.interpreter.quads import bytes_of, quads_of


@register_impls
class CodeFunctions(InterpreterFunctions):
    """Implementations for xDSL's interpreter."""

    @impl(lane.DecodeQuadsOp)
    def run_decode(
        self, interpreter: Interpreter, op: lane.DecodeQuadsOp, args: PythonValues
    ) -> PythonValues:
        """Each byte by its index, in the table of its four lanes."""
        codes, tables = (bytes_of(value) for value in args)
        index = (codes >> op.shift) & (lane.TABLE_BYTES - 1)
        own = tables.reshape(-1, lane.TABLE_BYTES)
        rows = np.arange(len(own)).repeat(lane.TABLE_LANES)[:, None]
        return (quads_of(own[rows, index]),)

    @impl(lane.LookUpBytesOp)
    def run_look_up(
        self, interpreter: Interpreter, op: lane.LookUpBytesOp, args: PythonValues
    ) -> PythonValues:
        """Each byte by itself."""
        quads, table = args
        return (quads_of(table.view(np.uint8)[bytes_of(quads)]),)
