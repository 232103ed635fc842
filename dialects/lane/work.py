"""`lane.for_units`: how the threads of a kernel divide its work."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IndexType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Region, SSAValue
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
        kernel = self.parent_op()
        while kernel is not None and not isinstance(kernel, FuncOp):
            kernel = kernel.parent_op()
        if kernel is None:
            return
        first = next(op for op in kernel.walk() if isinstance(op, ForUnitsOp))
        if first is not self:
            raise VerifyException(
                f"'lane.for_units' op must be the only one of kernel "
                f"'{kernel.sym_name.data}'"
            )
