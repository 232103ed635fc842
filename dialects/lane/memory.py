"""`lane` ops that read and write buffers."""

from __future__ import annotations

from xdsl.dialects.builtin import (
    IndexType,
    IntegerAttr,
    VectorType,
    i1,
    i8,
)
from xdsl.ir import (
    Attribute,
    SSAValue,
)
from xdsl.irdl import (
    ParsePropInAttrDict,
    base,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    result_def,
)
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.lane.base import (
    AccessOp,
    check_lanes,
    element_of,
    lanes_of,
    memory,
    number,
)
from edgec.dialects.nn import (
    int_attr,
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
        """The buffer and the mask fit the lanes."""
        self.check_access(self.buffer, self.result.type, self.mask)


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
        "$value `,` $buffer `[` $index `]` (`,` $mask^ `:` type($mask) `of`)? "
        "attr-dict `:` type($value) `,` type($buffer)"
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
        """The buffer and the mask fit the lanes."""
        self.check_access(self.buffer, self.value.type, self.mask)


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

    @property
    def constant_offset(self) -> int:
        """The constant part of the address, in elements."""
        return self.offset.value.data if self.offset else 0

    def verify_(self) -> None:
        """The buffer is flat."""
        self.check_access(self.buffer, element_of(self.buffer.type))


@irdl_op_definition
class LoadMaskOp(AccessOp):
    """`%m = lane.load_mask %bits[%index] {offset} : memref<…xi8>, vector<16xi1>`.

    Lane `l` is bit `index + offset + l` of the table; bit 0 is the lowest of byte 0.
    `index + offset` must be a multiple of 8, or of the number of lanes if that is less.
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

    def verify_(self) -> None:
        """Bits of bytes, from a place that one load can take."""
        self.check_access(self.buffer, i8)
        lanes = lanes_of(self.result.type)
        check_lanes(self, self.result, self.result.type)
        if self.constant_offset % min(lanes, 8):
            raise VerifyException(
                f"'lane.load_mask' op offset must be a multiple of {min(lanes, 8)} "
                f"bits, got {self.constant_offset}"
            )
