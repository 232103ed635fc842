"""`lane` ops that put registers together and take them apart."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr, VectorType
from xdsl.ir import SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    VarConstraint,
    base,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.lane.base import element_of, lanes_of, vector
from edgec.dialects.nn import int_attr


@irdl_op_definition
class ConcatOp(IRDLOperation):
    """`%r = lane.concat %low, %high : vector<8xf32> to vector<16xf32>`.

    The lanes of two equal vectors, one after the other.
    """

    name = "lane.concat"

    T: ClassVar = VarConstraint("T", base(VectorType))
    low = operand_def(T)
    high = operand_def(T)
    result = result_def(base(VectorType))

    traits = traits_def(Pure())
    assembly_format = "$low `,` $high attr-dict `:` type($low) `to` type($result)"

    def __init__(self, low: SSAValue, high: SSAValue) -> None:
        whole = vector(2 * lanes_of(low.type), element_of(low.type))
        super().__init__(operands=[low, high], result_types=[whole])

    def verify_(self) -> None:
        """The result has the lanes of both."""
        expected = vector(2 * lanes_of(self.low.type), element_of(self.low.type))
        if self.result.type != expected:
            raise VerifyException(
                f"'lane.concat' op result must be {expected}, got {self.result.type}"
            )


@irdl_op_definition
class SliceOp(IRDLOperation):
    """`%r = lane.slice %v {first = 8 : i64} : vector<16xf32> to vector<8xf32>`.

    As many lanes as the result has, from lane `first` on.
    """

    name = "lane.slice"

    input = operand_def(base(VectorType))
    first = prop_def(IntegerAttr)
    result = result_def(base(VectorType))

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, input: SSAValue, first: int, lanes: int) -> None:
        super().__init__(
            operands=[input],
            properties={"first": int_attr(first)},
            result_types=[vector(lanes, element_of(input.type))],
        )

    @property
    def first_lane(self) -> int:
        """The number of the first lane that is taken."""
        return self.first.value.data

    def verify_(self) -> None:
        """The lanes exist and keep their type."""
        first, lanes = self.first_lane, lanes_of(self.result.type)
        whole = lanes_of(self.input.type)
        is_same = element_of(self.result.type) == element_of(self.input.type)
        if not is_same or first < 0 or first + lanes > whole:
            raise VerifyException(
                f"'lane.slice' op must take lanes 0 to {whole - 1} of "
                f"{self.input.type}, got {self.result.type} from lane {first}"
            )


@irdl_op_definition
class DeinterleaveOp(IRDLOperation):
    """`%even, %odd = lane.deinterleave %low, %high : vector<16xf32>`.

    Of the lanes of two vectors, one after the other, every second one, and the others.
    """

    name = "lane.deinterleave"

    T: ClassVar = VarConstraint("T", base(VectorType))
    low = operand_def(T)
    high = operand_def(T)
    even = result_def(T)
    odd = result_def(T)

    traits = traits_def(Pure())
    assembly_format = "$low `,` $high attr-dict `:` type($low)"

    def __init__(self, low: SSAValue, high: SSAValue) -> None:
        super().__init__(operands=[low, high], result_types=[low.type, low.type])
