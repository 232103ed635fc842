"""How the threads of a kernel divide its work, and where they meet."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    region_def,
    traits_def,
)
from xdsl.traits import NoTerminator
from xdsl.utils.exceptions import VerifyException


@irdl_op_definition
class ForUnitsOp(IRDLOperation):
    """`lane.for_units %thread, %threads, %total { ^bb0(%unit: index): … }`.

    Runs the body once for every unit `0 … total - 1`, each on one thread. Thread `t`
    has the units from `t total / threads` on for itself and takes them one by one; a
    thread that is done takes what others have left. What a unit computes must not
    depend on the thread that runs it, nor on other units. At most one per kernel.
    """

    name = "lane.for_units"

    thread = operand_def(IndexType)
    threads = operand_def(IndexType)
    total = operand_def(IndexType)
    body = region_def("single_block")

    traits = traits_def(NoTerminator())
    assembly_format = "$thread `,` $threads `,` $total $body attr-dict"

    def __init__(
        self, thread: SSAValue, threads: SSAValue, total: SSAValue, body: Block
    ) -> None:
        super().__init__(operands=[thread, threads, total], regions=[Region(body)])

    @property
    def unit(self) -> SSAValue:
        """The number of the unit, inside the body."""
        return self.body.block.args[0]

    def verify_(self) -> None:
        """One index argument; no second one in the kernel."""
        found: Sequence[object] = self.body.block.arg_types
        if list(found) != [IndexType()]:
            raise VerifyException(
                f"'lane.for_units' op body must take one index, got {list(found)}"
            )
        *_, kernel = [None, *_surroundings(self)]
        if not isinstance(kernel, FuncOp):
            return
        first = next(op for op in kernel.walk() if isinstance(op, ForUnitsOp))
        if first is not self:
            raise VerifyException(
                f"'lane.for_units' op must be the only one of kernel "
                f"'{kernel.sym_name.data}'"
            )


@irdl_op_definition
class BarrierOp(IRDLOperation):
    """`lane.barrier`: all threads of the kernel meet.

    What any of them wrote to a buffer before it, all of them read after it. Every
    thread must come here equally often, so it stands in the kernel itself or in loops
    with constant bounds. Between two barriers, threads must not write what another one
    accesses.
    """

    name = "lane.barrier"

    assembly_format = "attr-dict"

    def verify_(self) -> None:
        """Whether a thread comes here depends on nothing."""
        for op in _surroundings(self):
            if isinstance(op, FuncOp):
                return
            if not isinstance(op, scf.ForOp):
                raise VerifyException(
                    f"'{self.name}' op must stand in the kernel itself or in scf.for, "
                    f"got {op.name}"
                )
            if not all(
                isinstance(bound.owner, arith.ConstantOp)
                for bound in (op.lb, op.ub, op.step)
            ):
                raise VerifyException(
                    f"'{self.name}' op must stand in loops with constant bounds only"
                )


def _surroundings(op: Operation) -> list[Operation]:
    """What `op` stands in, from the inside out, up to its function."""
    found: list[Operation] = []
    outer = op.parent_op()
    while outer is not None:
        found.append(outer)
        outer = None if isinstance(outer, FuncOp) else outer.parent_op()
    return found
