"""What all `nn` ops share: tensor constraints, shapes of values, the verifier."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, TensorType
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import IRDLOperation, base
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes

AnyTensor = TensorType[Attribute]
tensor = base(TensorType)
ints = base(DenseArrayBase)


def tensor_type(value: SSAValue | Operation) -> AnyTensor:
    """The tensor type of a value."""
    type_ = SSAValue.get(value).type
    assert isinstance(type_, TensorType)
    return type_


def shape_of(value: SSAValue | Operation) -> shapes.Shape:
    """The shape of a tensor value."""
    return tensor_type(value).get_shape()


def like(value: SSAValue | Operation, shape: Sequence[int]) -> AnyTensor:
    """A tensor type of `shape` with the element type of `value`, no encoding."""
    return TensorType(tensor_type(value).element_type, shape)


class NNOperation(IRDLOperation):
    """Base of ops with one tensor result whose shape follows from the rest."""

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have; raises `ShapeError`."""
        raise AssertionError(f"{self.name} must define result_shape")

    def verify_(self) -> None:
        try:
            expected = self.result_shape()
        except shapes.ShapeError as error:
            raise VerifyException(f"'{self.name}' op {error}") from None
        found = shape_of(self.results[0])
        if found != expected:
            raise VerifyException(
                f"'{self.name}' op result must have shape {expected}, got {found}"
            )


def check_bias(bias: SSAValue | None, size: int) -> None:
    """A bias, where there is one, has one entry per filter."""
    if bias is not None and shape_of(bias) != (size,):
        raise shapes.ShapeError(f"bias must have shape ({size},), got {shape_of(bias)}")
