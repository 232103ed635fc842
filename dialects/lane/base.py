"""What all `lane` ops share: types of lanes and buffers."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from xdsl.dialects.builtin import (
    Float32Type,
    IntegerType,
    MemRefType,
    VectorType,
    f32,
    i1,
)
from xdsl.ir import (
    Attribute,
    Operation,
    SSAValue,
)
from xdsl.irdl import (
    IRDLOperation,
    base,
)
from xdsl.utils.exceptions import VerifyException

memory = base(MemRefType)
number = base(Float32Type) | base(IntegerType) | base(VectorType)
ArithValue = base(Float32Type) | base(VectorType)


Buffer = MemRefType[Attribute]
Container = VectorType[Attribute] | Buffer


# The three functions below run several times per op of a kernel, where `isa` would
# take most of the time of code generation; hence `isinstance`, and the casts.


def lanes_of(type_: Attribute) -> int:
    """Number of lanes of a vector type; 1 for a scalar."""
    if isinstance(type_, VectorType):
        return cast("Container", type_).get_shape()[0]
    return 1


def element_of(type_: Attribute) -> Attribute:
    """The element type of a vector or buffer; a scalar type itself."""
    if isinstance(type_, VectorType | MemRefType):
        return cast("Container", type_).element_type
    return type_


def width_of(type_: Attribute) -> int | None:
    """Bits of an integer type; None for any other type."""
    if isinstance(type_, IntegerType):
        return cast("IntegerType", type_).width.data
    return None


@cache
def vector(lanes: int, element: Attribute = f32) -> Attribute:
    """`vector<lanes x element>`, or `element` itself for one lane."""
    return VectorType(element, [lanes]) if lanes > 1 else element


@cache
def buffer_type(elements: int, element: Attribute = f32) -> MemRefType[Any]:
    """A flat buffer of `elements`."""
    return MemRefType(element, [elements])


def check_lanes(op: Operation, mask: SSAValue, value: Attribute) -> None:
    """A mask has one bit for each lane of `value`."""
    if mask.type != VectorType(i1, [lanes_of(value)]):
        raise VerifyException(
            f"'{op.name}' op mask must be vector<{lanes_of(value)}xi1>, got {mask.type}"
        )


class AccessOp(IRDLOperation):
    """Base of ops that read or write `buffer[index + offset]`."""

    def check_access(
        self, buffer: SSAValue, value: Attribute, mask: SSAValue | None = None
    ) -> None:
        """The buffer is flat and of the value's element type; the mask fits."""
        element = element_of(value)
        memory = cast("Buffer", buffer.type)  # the operand's constraint holds
        if len(memory.shape.data) != 1 or memory.element_type != element:
            raise VerifyException(
                f"'{self.name}' op must access a flat buffer of {element}, got {memory}"
            )
        if mask is not None:
            check_lanes(self, mask, value)
