"""`lane` ops that look bytes up in tables.

Codes are weights of less than eight bits, as indices into a table of 16 bytes.

A lane holds several quads: each byte `b` of it has two indices of 4 bits, from which
tables make byte `b` of these quads. So at most a shift, and a mask, bring the indices
to the bytes where the weights belong, and a shuffle of bytes within 128 bits
(`vpshufb`, `tbl`) looks all of them up. Integers of 4 bits, powers of two and sums of
two of these differ in their tables only. An index may also be two of 2 bits, for
ternary numbers and integers of 2 bits: one table gives what the lower one stands for,
another what the upper one does, and both need one mask.

A table of 256 bytes is any function from a byte to a byte.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr, IntegerType, VectorType, i32
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

from edgec.dialects.lane.base import (
    buffer_type,
    element_of,
    lanes_of,
    memory,
)
from edgec.dialects.nn import int_attr

TABLE_BYTES = 16
"""Of a table: what one instruction of all vector units looks up."""
TABLE_LANES = 4
"""Lanes that hold a table."""
INDEX_BITS = 4
"""Of an index."""
BYTE_VALUES = 256
"""Of a byte: entries of a table that takes any."""
BYTE_TABLE_LANES = BYTE_VALUES // 4
"""Elements of the buffer that holds such a table."""


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


@irdl_op_definition
class LookUpBytesOp(IRDLOperation):
    """`%r = lane.look_up_bytes %q, %table : vector<16xi32>, memref<64xi32>`.

    Byte `b` of a lane is `table[i]`, where `i` is byte `b` of that lane of the quads,
    as an unsigned number. The buffer holds the 256 bytes of the table, four in each
    element; a kernel that looks up in it must not write to it.
    """

    name = "lane.look_up_bytes"

    T: ClassVar = VarConstraint("T", base(VectorType) | base(IntegerType))
    input = operand_def(T)
    table = operand_def(memory)
    result = result_def(T)

    assembly_format = "$input `,` $table attr-dict `:` type($input) `,` type($table)"

    def __init__(self, input: SSAValue, table: SSAValue) -> None:
        super().__init__(operands=[input, table], result_types=[input.type])

    def verify_(self) -> None:
        """Lanes of 32 bits, and a whole table of them."""
        if element_of(self.input.type) != i32:
            raise VerifyException(
                f"'lane.look_up_bytes' op takes lanes of i32, got {self.input.type}"
            )
        if self.table.type != buffer_type(BYTE_TABLE_LANES, i32):
            raise VerifyException(
                "'lane.look_up_bytes' op table must be "
                f"{buffer_type(BYTE_TABLE_LANES, i32)}, got {self.table.type}"
            )
