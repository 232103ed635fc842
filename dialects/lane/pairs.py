"""`lane` ops on pairs: two bfloat16 numbers of neighbouring channels in a 32-bit lane.

The lower half of a lane is channel `2 g` of group `g`, the upper half channel
`2 g + 1`. A bfloat16 number is the upper half of a float32 one (`edgec.dialects.bf16`).
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import UnitAttr, VectorType, f32, i32
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    VarConstraint,
    base,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.lane.base import element_of, lanes_of, vector

lanes = base(VectorType)


def _check(op: Operation, floats: Attribute, pairs: Attribute) -> None:
    """As many lanes of f32 as of i32."""
    if element_of(floats) != f32 or element_of(pairs) != i32:
        raise VerifyException(
            f"'{op.name}' op takes lanes of f32 and pairs of i32, got {floats} and "
            f"{pairs}"
        )
    if lanes_of(floats) != lanes_of(pairs):
        raise VerifyException(
            f"'{op.name}' op takes as many lanes of f32 as of i32, got {floats} and "
            f"{pairs}"
        )


@irdl_op_definition
class DotPairsOp(IRDLOperation):
    """`%r = lane.dot_pairs %acc, %x, %w : vector<16xf32>, vector<16xi32>`.

    `acc + x[0] * w[0] + x[1] * w[1]` in each lane, where products of two bfloat16
    numbers are exact. In which order it adds, and how it rounds, is up to the target:
    each lane is within `2^-22 (|acc| + |x[0] w[0]| + |x[1] w[1]|)` of the sum. Numbers,
    products and sums below 2^-126 in size may count as zero. Infinities and NaN go
    through as in float32.
    """

    name = "lane.dot_pairs"

    F: ClassVar = VarConstraint("F", lanes)
    T: ClassVar = VarConstraint("T", lanes)
    acc = operand_def(F)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(F)

    traits = traits_def(Pure())
    assembly_format = (
        "$acc `,` $lhs `,` $rhs attr-dict `:` type($result) `,` type($lhs)"
    )

    def __init__(self, acc: SSAValue, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(operands=[acc, lhs, rhs], result_types=[acc.type])

    def verify_(self) -> None:
        """Lanes of f32 and pairs."""
        _check(self, self.acc.type, self.lhs.type)


@irdl_op_definition
class PackPairsOp(IRDLOperation):
    """`%p = lane.pack_pairs %a, %b : vector<16xf32> -> vector<16xi32>`.

    The nearest bfloat16 numbers: `a` in the lower halves, `b` in the upper. Ties go to
    the even one, a number beyond the largest becomes an infinity, a NaN stays one.
    Numbers below 2^-126 in size may become zero.

    `{in_order}` takes the numbers of `a`, then those of `b`, as they stand: lane `k`
    has number `2 k` in its lower and number `2 k + 1` in its upper half.
    """

    name = "lane.pack_pairs"

    F: ClassVar = VarConstraint("F", lanes)
    lower = operand_def(F)
    upper = operand_def(F)
    result = result_def(lanes)
    in_order = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$lower `,` $upper attr-dict `:` type($lower) `->` type($result)"

    def __init__(
        self, lower: SSAValue, upper: SSAValue, *, in_order: bool = False
    ) -> None:
        super().__init__(
            operands=[lower, upper],
            properties={"in_order": UnitAttr()} if in_order else {},
            result_types=[vector(lanes_of(lower.type), i32)],
        )

    def verify_(self) -> None:
        """Lanes of f32 and pairs."""
        _check(self, self.lower.type, self.result.type)


@irdl_op_definition
class UnpackPairsOp(IRDLOperation):
    """`%a, %b = lane.unpack_pairs %p : vector<16xi32> -> vector<16xf32>`.

    The two numbers of each lane, exact.
    """

    name = "lane.unpack_pairs"

    F: ClassVar = VarConstraint("F", lanes)
    input = operand_def(lanes)
    lower = result_def(F)
    upper = result_def(F)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` type($input) `->` type($lower)"

    def __init__(self, input: SSAValue) -> None:
        type_ = vector(lanes_of(input.type))
        super().__init__(operands=[input], result_types=[type_, type_])

    def verify_(self) -> None:
        """Lanes of f32 and pairs."""
        _check(self, self.lower.type, self.input.type)
