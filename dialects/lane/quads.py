"""`lane` ops on quads: four bytes of neighbouring channels in one 32-bit lane.

Byte `b` of a lane, counted from its low end, is channel `4 g + b` of group `g`.
Activations are unsigned bytes, weights signed ones: that is what the dot products of
x86 (`vpdpbusd`) and Arm (`usdot`) take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    IntegerAttr,
    IntegerType,
    UnitAttr,
    VectorType,
    i32,
)
from xdsl.ir import SSAValue
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

from edgec.dialects.lane.base import element_of, lanes_of
from edgec.dialects.nn import int_attr

QUAD = 4
"""Bytes of a lane."""
PAIR_BOUND = 128
"""Times 255, the largest unsigned byte, it fits 16 bits."""

quads = base(VectorType) | base(IntegerType)


def _check(op: IRDLOperation, value: SSAValue) -> None:
    if element_of(value.type) != i32:
        raise VerifyException(f"'{op.name}' op takes lanes of i32, got {value.type}")


def _check_blocks(op: IRDLOperation, value: SSAValue) -> None:
    """Lanes are blocks of four."""
    if lanes_of(value.type) % QUAD:
        raise VerifyException(
            f"'{op.name}' op takes a multiple of {QUAD} lanes, got {value.type}"
        )


@irdl_op_definition
class DotQuadsOp(IRDLOperation):
    """`%r = lane.dot_quads %acc, %x, %w : vector<16xi32>`.

    `acc + sum(b) u8(byte b of x) * s8(byte b of w)` in each lane, modulo 2^32. Exact on
    every target, whatever the bytes: no partial sum saturates.

    `{bounded}` promises that of bytes 0 and 1 of `w`, and of 2 and 3, neither the
    positive nor the negative ones sum to more than `PAIR_BOUND`: then sums of two
    products fit 16 bits, and targets without a dot product are faster.
    """

    name = "lane.dot_quads"

    T: ClassVar = VarConstraint("T", quads)
    acc = operand_def(T)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)
    bounded = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$acc `,` $lhs `,` $rhs attr-dict `:` type($result)"

    def __init__(
        self, acc: SSAValue, lhs: SSAValue, rhs: SSAValue, *, bounded: bool = False
    ) -> None:
        super().__init__(
            operands=[acc, lhs, rhs],
            properties={"bounded": UnitAttr()} if bounded else {},
            result_types=[acc.type],
        )

    def verify_(self) -> None:
        """Lanes of 32 bits."""
        _check(self, self.acc)


@irdl_op_definition
class DotWordsOp(IRDLOperation):
    """`%r = lane.dot_words %acc, %x, %w {odd} : vector<8xi32>`.

    `acc + sum(h) u8(byte 2 h of x) * s16(half h of w)` in each lane, modulo 2^32, for
    the two 16-bit halves of a lane of `w`; with `{odd}`, bytes 2 h + 1. Exact whatever
    the numbers: weights for which no `{bounded}` can be promised are two such products.
    """

    name = "lane.dot_words"

    T: ClassVar = VarConstraint("T", quads)
    acc = operand_def(T)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)
    odd = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$acc `,` $lhs `,` $rhs attr-dict `:` type($result)"

    def __init__(
        self, acc: SSAValue, lhs: SSAValue, rhs: SSAValue, *, odd: bool = False
    ) -> None:
        super().__init__(
            operands=[acc, lhs, rhs],
            properties={"odd": UnitAttr()} if odd else {},
            result_types=[acc.type],
        )

    def verify_(self) -> None:
        """Lanes of 32 bits."""
        _check(self, self.acc)


@irdl_op_definition
class PackQuadsOp(IRDLOperation):
    """`%q = lane.pack_quads %a, %b, %c, %d {offset = 3 : i64} : vector<16xi32>`.

    Byte `b` of a lane is input `b` plus the offset, or the nearer end of 0..255.

    `{transposed}` takes channels in neighbouring lanes, as `lane.transpose_quads` gives
    them: byte `b` of lane `4 k + j` is lane `4 k + b` of input `j`.
    """

    name = "lane.pack_quads"

    T: ClassVar = VarConstraint("T", quads)
    first = operand_def(T)
    second = operand_def(T)
    third = operand_def(T)
    fourth = operand_def(T)
    result = result_def(T)
    offset = opt_prop_def(IntegerAttr)
    transposed = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$first `,` $second `,` $third `,` $fourth attr-dict `:` type($result)"
    )

    def __init__(
        self,
        values: Sequence[SSAValue],
        offset: int = 0,
        *,
        transposed: bool = False,
    ) -> None:
        super().__init__(
            operands=list(values),
            properties={
                "offset": int_attr(offset) if offset else None,
                "transposed": UnitAttr() if transposed else None,
            },
            result_types=[values[0].type],
        )

    @property
    def added(self) -> int:
        """The offset; 0 if none is given."""
        return 0 if self.offset is None else self.offset.value.data

    def verify_(self) -> None:
        """Lanes of 32 bits, and an offset that is a byte."""
        _check(self, self.first)
        if self.transposed is not None:
            _check_blocks(self, self.first)
        if not 0 <= self.added <= 255:
            raise VerifyException(
                f"'lane.pack_quads' op offset must be in 0..255, got {self.added}"
            )


@irdl_op_definition
class UnpackQuadsOp(IRDLOperation):
    """`%a, %b, %c, %d = lane.unpack_quads %q : vector<16xi32>`.

    The four bytes of each lane, as unsigned numbers, or with `{signed}` as signed ones.

    `{in_order}` gives bytes as they stand: of `L` lanes, lane `l` of result `k` is byte
    `k L + l` of the register, unsigned.
    """

    name = "lane.unpack_quads"

    T: ClassVar = VarConstraint("T", quads)
    input = operand_def(T)
    first = result_def(T)
    second = result_def(T)
    third = result_def(T)
    fourth = result_def(T)
    signed = opt_prop_def(UnitAttr)
    in_order = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` type($input)"

    def __init__(
        self, input: SSAValue, *, signed: bool = False, in_order: bool = False
    ) -> None:
        found = {"signed": signed, "in_order": in_order}
        super().__init__(
            operands=[input],
            properties={name: UnitAttr() for name, is_set in found.items() if is_set},
            result_types=[input.type] * QUAD,
        )

    def verify_(self) -> None:
        """Lanes of 32 bits; signed bytes are taken apart as quads only."""
        _check(self, self.input)
        if self.signed is not None and self.in_order is not None:
            raise VerifyException(
                "'lane.unpack_quads' op must be signed or in order, got both"
            )


@irdl_op_definition
class TransposeQuadsOp(IRDLOperation):
    """`%p, %q, %r, %s = lane.transpose_quads %a, %b, %c, %d : vector<16xi32>`.

    Byte `t` of lane `4 k + c` of result `j` is byte `c` of lane `4 k + j` of input `t`:
    four taps of one channel stand in a lane, and channels in neighbouring lanes.
    """

    name = "lane.transpose_quads"

    T: ClassVar = VarConstraint("T", base(VectorType))
    a = operand_def(T)
    b = operand_def(T)
    c = operand_def(T)
    d = operand_def(T)
    first = result_def(T)
    second = result_def(T)
    third = result_def(T)
    fourth = result_def(T)

    traits = traits_def(Pure())
    assembly_format = "$a `,` $b `,` $c `,` $d attr-dict `:` type($a)"

    def __init__(self, values: Sequence[SSAValue]) -> None:
        types = [values[0].type] * QUAD
        super().__init__(operands=list(values), result_types=types)

    def verify_(self) -> None:
        """Blocks of four lanes of 32 bits."""
        _check(self, self.a)
        _check_blocks(self, self.a)


class _ByteByByteOp(IRDLOperation):
    """Two quads make one."""

    T: ClassVar = VarConstraint("T", quads)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)

    traits = traits_def(Pure())
    assembly_format = "$lhs `,` $rhs attr-dict `:` type($result)"

    def __init__(self, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(operands=[lhs, rhs], result_types=[lhs.type])

    def verify_(self) -> None:
        """Lanes of 32 bits."""
        _check(self, self.lhs)


@irdl_op_definition
class MaxQuadsOp(_ByteByByteOp):
    """`%m = lane.max_quads %a, %b : vector<16xi32>`: the larger of each two bytes.

    Bytes are unsigned.
    """

    name = "lane.max_quads"


@irdl_op_definition
class MinQuadsOp(_ByteByByteOp):
    """`%m = lane.min_quads %a, %b : vector<16xi32>`: the smaller of each two bytes.

    Bytes are unsigned.
    """

    name = "lane.min_quads"
