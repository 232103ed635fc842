"""`sq.dispatch`: ops that one kernel computes."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    region_def,
    result_def,
    traits_def,
)
from xdsl.traits import HasParent, IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import tensor


@irdl_op_definition
class DispatchOp(IRDLOperation):
    """`%y = sq.dispatch { … sq.yield %v : … } : tensor<…>`: one kernel for several ops.

    Ops inside read values from outside; only the last result leaves. What is between
    them need not exist as a whole tensor. Made by `fuse-pooling`.
    """

    name = "sq.dispatch"

    body = region_def("single_block")
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$body attr-dict `:` type($result)"

    def __init__(self, ops: Sequence[Operation], result: SSAValue) -> None:
        block = Block([*ops, YieldOp(result)])
        super().__init__(regions=[Region(block)], result_types=[result.type])

    @property
    def ops(self) -> tuple[Operation, ...]:
        """What is computed, without the `sq.yield`."""
        return tuple(self.body.block.ops)[:-1]

    def verify_(self) -> None:
        """The body ends with a value of the result's type."""
        last = self.body.block.last_op
        if not isinstance(last, YieldOp):
            raise VerifyException(
                f"'sq.dispatch' op body must end with sq.yield, got {last}"
            )
        if last.value.type != self.result.type:
            raise VerifyException(
                f"'sq.dispatch' op must yield {self.result.type}, got {last.value.type}"
            )


@irdl_op_definition
class YieldOp(IRDLOperation):
    """`sq.yield %v : tensor<…>`: the result of the `sq.dispatch` around it."""

    name = "sq.yield"

    value = operand_def(TensorType)

    traits = traits_def(IsTerminator(), HasParent(DispatchOp), Pure())
    assembly_format = "$value attr-dict `:` type($value)"

    def __init__(self, value: SSAValue) -> None:
        super().__init__(operands=[value])
