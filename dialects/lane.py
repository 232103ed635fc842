"""`lane`: kernels as loop nests over lanes, and the program that launches them.

Made by `convert-to-lane`; left by code generation. A *lane* is one 32-bit position of a
vector register; a buffer is a flat `memref<…xf32>` and an address is `base[index]` plus
a constant `offset`, all in elements. Control flow and index arithmetic are upstream `scf`
and `arith`. Loads are ops of their own, so that `load-redundancy-elimination` can see
which of them read the same address.

A kernel is a `func.func` whose first two arguments are the thread's number and the number
of threads; it does its share of the work. `@main` launches kernels one after the other;
every launch ends with a barrier.

    func.func @relu(%thread: index, %threads: index, %x: memref<64xf32>,
                    %y: memref<64xf32>) {
      %begin = arith.constant 0 : index
      %end = arith.constant 64 : index
      %step = arith.constant 16 : index
      scf.for %i = %begin to %end step %step {
        %v = lane.load %x[%i] : memref<64xf32>, vector<16xf32>
        %r = lane.unary relu %v : vector<16xf32>
        lane.store %r, %y[%i] : vector<16xf32>, memref<64xf32>
      }
      func.return
    }
    func.func @main(%x: memref<64xf32>, %y: memref<64xf32>) {
      lane.launch @relu(%x, %y) : memref<64xf32>, memref<64xf32>
      func.return
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from xdsl.dialects.builtin import (
    DenseArrayBase,
    Float32Type,
    FlatSymbolRefAttrConstr,
    IndexType,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
    VectorType,
    f32,
    i1,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import (
    Attribute,
    Dialect,
    Operation,
    SpacedOpaqueSyntaxAttribute,
    SSAValue,
)
from xdsl.irdl import (
    AnyAttr,
    AttrSizedOperandSegments,
    IRDLOperation,
    ParsePropInAttrDict,
    VarConstraint,
    base,
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from edgec.dialects.nn import (
    UNARY_PARAMS,
    BinaryKind,
    BinaryKindAttr,
    UnaryKind,
    UnaryKindAttr,
    float_array,
    int_attr,
)

memory = base(MemRefType)
number = base(Float32Type) | base(IntegerType) | base(VectorType)
ArithValue = base(Float32Type) | base(VectorType)


def lanes_of(type_: Attribute) -> int:
    """Number of lanes of a vector type; 1 for a scalar."""
    return type_.get_shape()[0] if isinstance(type_, VectorType) else 1


def vector(lanes: int, element: Attribute = f32) -> Attribute:
    """`vector<lanes x element>`, or `element` itself for one lane."""
    return VectorType(element, [lanes]) if lanes > 1 else element


def buffer_type(elements: int, element: Attribute = f32) -> MemRefType[Any]:
    """A flat buffer of `elements`."""
    return MemRefType(element, [elements])


class AccessOp(IRDLOperation):
    """Base of ops that read or write `buffer[index + offset]`."""

    def check_access(self, buffer: SSAValue, value: Attribute) -> None:
        """Element types agree and the offset is a whole number of elements."""
        assert isinstance(buffer.type, MemRefType)
        element = value.element_type if isinstance(value, VectorType) else value
        if buffer.type.get_num_dims() != 1 or buffer.type.element_type != element:
            raise VerifyException(
                f"'{self.name}' op must access a flat buffer of {element}, "
                f"got {buffer.type}"
            )


@irdl_op_definition
class LoadOp(AccessOp):
    """`%v = lane.load %buffer[%index] {offset = 3 : i64} : memref<…>, vector<16xf32>`.

    Lane `l` is `buffer[index + offset + l * stride]`; a scalar result is lane 0. With a
    mask, lanes whose bit is off are not read and give 0. Stride is 1 by default.
    """

    name = "lane.load"

    buffer = operand_def(memory)
    index = operand_def(IndexType)
    mask = opt_operand_def(base(VectorType))
    offset = opt_prop_def(IntegerAttr)
    stride = opt_prop_def(IntegerAttr)
    result = result_def(number)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$buffer `[` $index `]` (`,` $mask^ `:` type($mask) `of`)? attr-dict `:` "
        "type($buffer) `,` type($result)"
    )

    def __init__(
        self,
        buffer: SSAValue,
        index: SSAValue,
        result_type: Attribute,
        *,
        offset: int = 0,
        stride: int = 1,
        mask: SSAValue | None = None,
    ) -> None:
        super().__init__(
            operands=[buffer, index, mask],
            properties={
                "offset": int_attr(offset) if offset else None,
                "stride": int_attr(stride) if stride != 1 else None,
            },
            result_types=[result_type],
        )

    @property
    def constant_offset(self) -> int:
        """The constant part of the address, in elements."""
        return self.offset.value.data if self.offset else 0

    @property
    def lane_stride(self) -> int:
        """Elements between neighbouring lanes."""
        return self.stride.value.data if self.stride else 1

    def verify_(self) -> None:
        self.check_access(self.buffer, self.result.type)


@irdl_op_definition
class StoreOp(AccessOp):
    """`lane.store %v, %buffer[%index] {offset} : vector<16xf32>, memref<…>`.

    With a mask, lanes whose bit is off are not written.
    """

    name = "lane.store"

    value = operand_def(number)
    buffer = operand_def(memory)
    index = operand_def(IndexType)
    mask = opt_operand_def(base(VectorType))
    offset = opt_prop_def(IntegerAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$value `,` $buffer `[` $index `]` (`,` $mask^ `:` type($mask) `of`)? attr-dict "
        "`:` type($value) `,` type($buffer)"
    )

    def __init__(
        self,
        value: SSAValue,
        buffer: SSAValue,
        index: SSAValue,
        *,
        offset: int = 0,
        mask: SSAValue | None = None,
    ) -> None:
        super().__init__(
            operands=[value, buffer, index, mask],
            properties={"offset": int_attr(offset) if offset else None},
        )

    @property
    def constant_offset(self) -> int:
        """The constant part of the address, in elements."""
        return self.offset.value.data if self.offset else 0

    def verify_(self) -> None:
        self.check_access(self.buffer, self.value.type)


@irdl_op_definition
class PrefetchOp(AccessOp):
    """`lane.prefetch %buffer[%index] {offset} : memref<…>`: no effect on values."""

    name = "lane.prefetch"

    buffer = operand_def(memory)
    index = operand_def(IndexType)
    offset = opt_prop_def(IntegerAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$buffer `[` $index `]` attr-dict `:` type($buffer)"

    def __init__(self, buffer: SSAValue, index: SSAValue, *, offset: int = 0) -> None:
        super().__init__(
            operands=[buffer, index],
            properties={"offset": int_attr(offset) if offset else None},
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


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """`%v = lane.constant {value = array<f64: 0.5>} : vector<16xf32>`: one f32 in every lane."""

    name = "lane.constant"

    value = prop_def(base(DenseArrayBase))
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
    params = opt_prop_def(base(DenseArrayBase))
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


@irdl_op_definition
class LoadMaskOp(AccessOp):
    """`%m = lane.load_mask %bits[%index] {offset} : memref<…xi8>, vector<16xi1>`.

    Lane `l` is bit `index + offset + l` of the table; bit 0 is the lowest of byte 0.
    `index + offset` must be a multiple of 8.
    """

    name = "lane.load_mask"

    buffer = operand_def(memory)
    index = operand_def(IndexType)
    offset = opt_prop_def(IntegerAttr)
    result = result_def(base(VectorType))

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$buffer `[` $index `]` attr-dict `:` type($buffer) `,` type($result)"
    )

    def __init__(
        self, buffer: SSAValue, index: SSAValue, lanes: int, *, offset: int = 0
    ) -> None:
        super().__init__(
            operands=[buffer, index],
            properties={"offset": int_attr(offset) if offset else None},
            result_types=[VectorType(i1, [lanes])],
        )

    @property
    def constant_offset(self) -> int:
        """The constant part of the address, in bits."""
        return self.offset.value.data if self.offset else 0


@irdl_op_definition
class SelectOp(IRDLOperation):
    """`%r = lane.select %mask, %a, %b : vector<16xi1>, vector<16xf32>`."""

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


class FoldKind(StrEnum):
    ADD = "add"
    MUL = "mul"
    MAX = "max"
    MIN = "min"


@irdl_attr_definition
class FoldKindAttr(EnumAttribute[FoldKind], SpacedOpaqueSyntaxAttribute):
    name = "lane.fold_kind"


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
        assert isinstance(input.type, VectorType)
        super().__init__(
            operands=[input],
            properties={"kind": FoldKindAttr(FoldKind(kind))},
            result_types=[input.type.element_type],
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
class BufferOp(IRDLOperation):
    """`%b = lane.buffer : memref<64xf32>`: an activation buffer in `@main`.

    `plan-memory` sets `offset`, its place in the arena in bytes.
    """

    name = "lane.buffer"

    offset = opt_prop_def(IntegerAttr)
    result = result_def(memory)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, type_: Attribute) -> None:
        super().__init__(result_types=[type_])


@irdl_op_definition
class ScratchOp(IRDLOperation):
    """`%s = lane.scratch : memref<64xf32>`: memory of one thread inside a kernel.

    `offset` is its place in the thread's scratch, in bytes. Content is undefined when
    the kernel starts.
    """

    name = "lane.scratch"

    offset = prop_def(IntegerAttr)
    result = result_def(memory)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, type_: Attribute, offset: int = 0) -> None:
        super().__init__(properties={"offset": int_attr(offset)}, result_types=[type_])


@irdl_op_definition
class WeightsOp(IRDLOperation):
    """`%w = lane.weights "conv1.weight.packed" : memref<…xf32>`: a packed array by name."""

    name = "lane.weights"

    resource = prop_def(StringAttr)
    result = result_def(memory)

    traits = traits_def(Pure())
    assembly_format = "$resource attr-dict `:` type($result)"

    def __init__(self, resource: str, type_: Attribute) -> None:
        super().__init__(
            properties={"resource": StringAttr(resource)}, result_types=[type_]
        )


@irdl_op_definition
class LaunchOp(IRDLOperation):
    """`lane.launch @kernel(%x, %y) : memref<…>, memref<…>`: all threads run the kernel, then meet."""

    name = "lane.launch"

    callee = prop_def(FlatSymbolRefAttrConstr)
    arguments = var_operand_def(memory)
    layer = opt_prop_def(StringAttr)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$callee `(` $arguments `)` attr-dict `:` type($arguments)"

    def __init__(
        self, callee: str, arguments: Sequence[SSAValue], layer: str | None = None
    ) -> None:
        super().__init__(
            operands=[arguments],
            properties={
                "callee": SymbolRefAttr(callee),
                "layer": StringAttr(layer) if layer else None,
            },
        )


LANE = Dialect(
    "lane",
    [
        LoadOp,
        StoreOp,
        PrefetchOp,
        SplatOp,
        ConstantOp,
        DotOp,
        UnaryOp,
        BinaryOp,
        TailMaskOp,
        LoadMaskOp,
        SelectOp,
        FoldOp,
        IndexOp,
        BufferOp,
        ScratchOp,
        WeightsOp,
        LaunchOp,
    ],
    [FoldKindAttr],
)
