"""What all `nn` ops share: tensor constraints, shapes of values, the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.dialects.builtin import DenseArrayBase, TensorType, f64, i64
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import IRDLOperation, base
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes

AnyTensor = TensorType[Attribute]
tensor = base(TensorType)
ints = DenseArrayBase.constr(i64)
floats = DenseArrayBase.constr(f64)


def tensor_type(value: SSAValue | Operation) -> AnyTensor:
    """The tensor type of a value."""
    type_ = SSAValue.get(value).type
    # `isa` checks every parameter and is 20 times slower; passes ask this often.
    assert isinstance(type_, TensorType)
    return cast(AnyTensor, type_)


def shape_of(value: SSAValue | Operation) -> shapes.Shape:
    """The shape of a tensor value."""
    return tensor_type(value).get_shape()


def like(value: SSAValue | Operation, shape: Sequence[int]) -> AnyTensor:
    """A tensor type of `shape` with the element type of `value`, no encoding."""
    return TensorType(tensor_type(value).element_type, shape)


def verify_same_elements(op: Operation, values: Sequence[SSAValue]) -> None:
    """All `values` have the same element type."""
    found = [tensor_type(value).element_type for value in values]
    if any(type_ != found[0] for type_ in found):
        listed = ", ".join(map(str, found))
        raise VerifyException(
            f"'{op.name}' op operands must have one element type, got {listed}"
        )


class NNOperation(IRDLOperation):
    """Base of ops with one tensor result whose type follows from the rest.

    The verifier demands that operands share one element type, that the result has the
    element type `result_element` (by default that of the operands) and the shape
    `result_shape`.
    """

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have; raises `ShapeError`."""
        raise AssertionError(f"{self.name} must define result_shape")

    def result_element(self) -> Attribute:
        """The element type that the result must have."""
        return tensor_type(self.operands[0]).element_type

    def verify_(self) -> None:
        """Check element types and the shape of the result."""
        try:
            expected = self.result_shape()
        except shapes.ShapeError as error:
            raise VerifyException(f"'{self.name}' op {error}") from None
        found = tensor_type(self.results[0])
        if found.get_shape() != expected:
            raise VerifyException(
                f"'{self.name}' op result must have shape {expected}, "
                f"got {found.get_shape()}"
            )
        self.verify_elements()

    def verify_elements(self) -> None:
        """Check the element types; the shapes fit."""
        verify_same_elements(self, self.operands)
        found = tensor_type(self.results[0])
        if found.element_type != self.result_element():
            raise VerifyException(
                f"'{self.name}' op result must have element type "
                f"{self.result_element()}, got {found.element_type}"
            )


def check_bias(bias: SSAValue | None, size: int, name: str = "bias") -> None:
    """A bias, where there is one, has one entry per filter."""
    if bias is not None and shape_of(bias) != (size,):
        raise shapes.ShapeError(
            f"{name} must have shape ({size},), got {shape_of(bias)}"
        )


def check_rank(value: SSAValue, low: int, high: int) -> None:
    """The rank of `value` lies in `low..high`."""
    rank = len(shape_of(value))
    if not low <= rank <= high:
        allowed = f"{low}" if low == high else f"{low} to {high}"
        raise shapes.ShapeError(f"input must have rank {allowed}, got {rank}")
