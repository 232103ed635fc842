"""`lane` op on codes: weights of less than eight bits, as indices into a table.

A lane holds several quads: each byte `b` of it has two indices of 4 bits, from which
tables make byte `b` of these quads. So at most a shift, and a mask, bring the indices
to the bytes where the weights belong, and a shuffle of bytes within 128 bits
(`vpshufb`, `tbl`) looks all of them up. Integers of 4 bits, powers of two and sums of
two of these differ in their tables only. An index may also be two of 2 bits, for
ternary numbers and integers of 2 bits: one table gives what the lower one stands for,
another what the upper one does, and both need one mask.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr, VectorType, i32
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

from edgec.dialects.lane.base import element_of, lanes_of
from edgec.dialects.nn import int_attr

TABLE_BYTES = 16
"""Of a table: what one instruction of all vector units looks up."""
TABLE_LANES = 4
"""Lanes that hold a table."""
INDEX_BITS = 4
"""Of an index."""


@irdl_op_definition
class DecodeQuadsOp(IRDLOperation):
    """`%q = lane.decode_quads %codes, %table {part = 1} : vector<16xi32>`.

    Byte `b` of a lane is `table[i]`, where `i` is the lower half (`part = 0`) or the
    upper half (`part = 1`) of byte `b` of the codes. The 16 bytes of the table stand in
    four lanes, and again in each four lanes after them; a lane uses those of its four.
    """

    name = "lane.decode_quads"

    T: ClassVar = VarConstraint("T", base(VectorType))
    codes = operand_def(T)
    table = operand_def(T)
    result = result_def(T)
    part = prop_def(IntegerAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$codes `,` $table attr-dict `:` type($result)"

    def __init__(self, codes: SSAValue, table: SSAValue, part: int) -> None:
        super().__init__(
            operands=[codes, table],
            properties={"part": int_attr(part)},
            result_types=[codes.type],
        )

    @property
    def shift(self) -> int:
        """The lowest bit of an index in its byte."""
        return self.part.value.data * INDEX_BITS

    def verify_(self) -> None:
        """Lanes of 32 bits for whole tables, and one of two parts."""
        type_ = self.codes.type
        if element_of(type_) != i32 or lanes_of(type_) % TABLE_LANES:
            raise VerifyException(
                "'lane.decode_quads' op takes vectors of i32 with a multiple of "
                f"{TABLE_LANES} lanes, got {type_}"
            )
        part = self.part.value.data
        if part not in (0, 1):
            raise VerifyException(
                f"'lane.decode_quads' op part must be 0 or 1, got {part}"
            )
