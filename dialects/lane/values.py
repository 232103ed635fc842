"""`lane` ops on registers and scalars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    IndexType,
    IntegerType,
    VectorType,
    f32,
    i1,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
)
from xdsl.irdl import (
    AnyAttr,
    IRDLOperation,
    ParsePropInAttrDict,
    VarConstraint,
    base,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from edgec.dialects.lane.base import (
    ArithValue,
    check_lanes,
    element_of,
    lanes_of,
    vector,
)
from edgec.dialects.nn import (
    UNARY_PARAMS,
    BinaryKind,
    BinaryKindAttr,
    UnaryKind,
    UnaryKindAttr,
    float_array,
    floats,
)


@irdl_op_definition
class SplatOp(IRDLOperation):
    """`%v = lane.splat %s : f32 to vector<16xf32>`: the scalar in every lane."""

    name = "lane.splat"

    input = operand_def(AnyAttr())
    result = result_def(AnyAttr())

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, input: SSAValue, result_type: Attribute) -> None:
        super().__init__(operands=[input], result_types=[result_type])

    def verify_(self) -> None:
        """The result holds lanes of the scalar."""
        if element_of(self.result.type) != self.input.type:
            raise VerifyException(
                f"'lane.splat' op result must be a vector of {self.input.type}, "
                f"got {self.result.type}"
            )


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """`%v = lane.constant {value = array<f64: 0.5>} : vector<16xf32>`.

    The number in every lane.
    """

    name = "lane.constant"

    value = prop_def(floats)
    result = result_def(AnyAttr())

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, value: float, result_type: Attribute) -> None:
        super().__init__(
            properties={"value": float_array([value])}, result_types=[result_type]
        )

    @property
    def number(self) -> float:
        """The value as a Python float."""
        return float(self.value.get_values()[0])

    def verify_(self) -> None:
        """One number, in lanes of f32."""
        if len(self.value) != 1 or element_of(self.result.type) != f32:
            raise VerifyException(
                "'lane.constant' op must give one number in lanes of f32, "
                f"got {len(self.value)} for {self.result.type}"
            )


@irdl_op_definition
class DotOp(IRDLOperation):
    """`%r = lane.dot %acc, %x, %w : vector<16xf32>`: `acc + x * w` in each lane.

    One rounding where the target has fused multiply-add, else two. Lanes of several
    channels (bf16, int8) sum their products into the 32-bit lane.
    """

    name = "lane.dot"

    T: ClassVar = VarConstraint("T", AnyAttr())
    acc = operand_def(T)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)

    traits = traits_def(Pure())
    assembly_format = "$acc `,` $lhs `,` $rhs attr-dict `:` type($result)"

    def __init__(self, acc: SSAValue, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(operands=[acc, lhs, rhs], result_types=[acc.type])


@irdl_op_definition
class UnaryOp(IRDLOperation):
    """`%r = lane.unary relu %v : vector<16xf32>`: a function of `nn.unary` per lane."""

    name = "lane.unary"

    T: ClassVar = VarConstraint("T", ArithValue)
    kind = prop_def(UnaryKindAttr)
    input = operand_def(T)
    params = opt_prop_def(floats)
    result = result_def(T)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` type($result)"

    def __init__(
        self, kind: UnaryKind | str, input: SSAValue, params: Sequence[float] = ()
    ) -> None:
        super().__init__(
            operands=[input],
            properties={
                "kind": UnaryKindAttr(UnaryKind(kind)),
                "params": float_array(params) if params else None,
            },
            result_types=[input.type],
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """The values of `params`; empty if there are none."""
        return () if self.params is None else tuple(self.params.get_values())

    def verify_(self) -> None:
        """As many params as the kind takes."""
        wanted = UNARY_PARAMS.get(self.kind.data.value, 0)
        if len(self.parameters) != wanted:
            raise VerifyException(
                f"'lane.unary' op {self.kind.data} takes {wanted} params, "
                f"got {self.parameters}"
            )


@irdl_op_definition
class BinaryOp(IRDLOperation):
    """`%r = lane.binary add %a, %b : …`: a function of `nn.binary` per lane."""

    name = "lane.binary"

    T: ClassVar = VarConstraint("T", ArithValue)
    kind = prop_def(BinaryKindAttr)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(T)

    traits = traits_def(Pure())
    assembly_format = "$kind $lhs `,` $rhs attr-dict `:` type($result)"

    def __init__(self, kind: BinaryKind | str, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(
            operands=[lhs, rhs],
            properties={"kind": BinaryKindAttr(BinaryKind(kind))},
            result_types=[lhs.type],
        )


@irdl_op_definition
class TailMaskOp(IRDLOperation):
    """`%m = lane.tail_mask %n : vector<16xi1>`: lane `l` is on where `l < n`."""

    name = "lane.tail_mask"

    count = operand_def(IndexType)
    result = result_def(base(VectorType))

    traits = traits_def(Pure())
    assembly_format = "$count attr-dict `:` type($result)"

    def __init__(self, count: SSAValue, lanes: int) -> None:
        super().__init__(operands=[count], result_types=[VectorType(i1, [lanes])])

    def verify_(self) -> None:
        """The result is a mask."""
        check_lanes(self, self.result, self.result.type)


@irdl_op_definition
class SelectOp(IRDLOperation):
    """`%r = lane.select %mask, %a, %b : vector<16xi1>, vector<16xf32>`.

    Each lane of `%a` where its bit is on, else of `%b`; an i1 selects all lanes.
    """

    name = "lane.select"

    T: ClassVar = VarConstraint("T", AnyAttr())
    mask = operand_def(AnyAttr())
    on = operand_def(T)
    off = operand_def(T)
    result = result_def(T)

    traits = traits_def(Pure())
    assembly_format = (
        "$mask `,` $on `,` $off attr-dict `:` type($mask) `,` type($result)"
    )

    def __init__(self, mask: SSAValue, on: SSAValue, off: SSAValue) -> None:
        super().__init__(operands=[mask, on, off], result_types=[on.type])

    def verify_(self) -> None:
        """The mask has one bit per lane."""
        if self.mask.type != i1:
            check_lanes(self, self.mask, self.result.type)


class FoldKind(StrEnum):
    """How `lane.fold` combines two lanes."""

    ADD = "add"
    MUL = "mul"
    MAX = "max"
    MIN = "min"


@irdl_attr_definition
class FoldKindAttr(EnumAttribute[FoldKind], SpacedOpaqueSyntaxAttribute):
    """`add` in `lane.fold add`."""

    name = "lane.fold_kind"


class CompareKind(StrEnum):
    """How `lane.compare` compares."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"


@irdl_attr_definition
class CompareKindAttr(EnumAttribute[CompareKind], SpacedOpaqueSyntaxAttribute):
    """`gt` in `lane.compare gt`."""

    name = "lane.compare_kind"


@irdl_op_definition
class FoldOp(IRDLOperation):
    """`%s = lane.fold add %v : vector<16xf32> to f32`: all lanes of one register.

    Halves are combined pairwise (lane `l` with lane `l + L/2`), down to one lane.
    """

    name = "lane.fold"

    kind = prop_def(FoldKindAttr)
    input = operand_def(base(VectorType))
    result = result_def(AnyAttr())

    traits = traits_def(Pure())
    assembly_format = "$kind $input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, kind: FoldKind | str, input: SSAValue) -> None:
        super().__init__(
            operands=[input],
            properties={"kind": FoldKindAttr(FoldKind(kind))},
            result_types=[element_of(input.type)],
        )

    def verify_(self) -> None:
        """The lanes can be halved down to one."""
        lanes = lanes_of(self.input.type)
        if lanes & (lanes - 1):
            raise VerifyException(
                f"'lane.fold' op lanes must be a power of two, got {lanes}"
            )
        if self.result.type != element_of(self.input.type):
            raise VerifyException(
                f"'lane.fold' op result must be {element_of(self.input.type)}, "
                f"got {self.result.type}"
            )


@irdl_op_definition
class IndexOp(IRDLOperation):
    """`%i = lane.index %v : i32`: an unsigned table entry as an index."""

    name = "lane.index"

    input = operand_def(base(IntegerType))
    result = result_def(IndexType)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` type($input)"

    def __init__(self, input: SSAValue) -> None:
        super().__init__(operands=[input], result_types=[IndexType()])


@irdl_op_definition
class CompareOp(IRDLOperation):
    """`%m = lane.compare gt %a, %b : vector<16xf32> to vector<16xi1>`.

    Kinds: `eq`, `ne`, `lt`, `le`, `gt`, `ge`. Comparisons with NaN are false, but for
    `ne`, which is true. Integers are compared as signed numbers.
    """

    name = "lane.compare"

    T: ClassVar = VarConstraint("T", AnyAttr())
    kind = prop_def(CompareKindAttr)
    lhs = operand_def(T)
    rhs = operand_def(T)
    result = result_def(AnyAttr())

    traits = traits_def(Pure())
    assembly_format = "$kind $lhs `,` $rhs attr-dict `:` type($lhs) `to` type($result)"

    def __init__(self, kind: CompareKind | str, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(
            operands=[lhs, rhs],
            properties={"kind": CompareKindAttr(CompareKind(kind))},
            result_types=[vector(lanes_of(lhs.type), i1)],
        )

    def verify_(self) -> None:
        """The result has one bit per lane."""
        expected = vector(lanes_of(self.lhs.type), i1)
        if self.result.type != expected:
            raise VerifyException(
                f"'lane.compare' op result must be {expected}, got {self.result.type}"
            )


@irdl_op_definition
class CastOp(IRDLOperation):
    """`%r = lane.cast %v : vector<16xf32> to vector<16xi32>`: numbers of another type.

    f32 to integers goes towards zero; a number that does not fit gives any integer.
    Integers are signed; a narrower one takes the low bits. Scalars may be `index`.
    """

    name = "lane.cast"

    input = operand_def(AnyAttr())
    result = result_def(AnyAttr())

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` type($input) `to` type($result)"

    def __init__(self, input: SSAValue, result_type: Attribute) -> None:
        super().__init__(operands=[input], result_types=[result_type])

    def verify_(self) -> None:
        """Lanes stay lanes."""
        old, new = self.input.type, self.result.type
        if lanes_of(old) != lanes_of(new):
            raise VerifyException(
                f"'lane.cast' op must keep the number of lanes, got {old} to {new}"
            )
