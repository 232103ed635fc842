"""Ops of `sq` that say how values are stored: encoded weights and layouts."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects.builtin import DictionaryAttr, NoneAttr, StringAttr, TensorType
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes
from edgec.dialects.nn import NNOperation, shape_of, tensor, tensor_type
from edgec.dialects.sq.attrs import LaneAttr
from edgec.dialects.sq.encodings import WeightEncoding


@irdl_op_definition
class WeightOp(IRDLOperation):
    """`%w = sq.weight {reorder = "w.reorder", …} : tensor<…, #sq.pattern<…>>`.

    An encoded weight tensor; each array of its encoding is named in the weight store.
    """

    name = "sq.weight"

    arrays = prop_def(DictionaryAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$arrays attr-dict `:` type($result)"

    def __init__(self, arrays: Mapping[str, str], type_: Attribute) -> None:
        names = {key: StringAttr(name) for key, name in sorted(arrays.items())}
        super().__init__(
            properties={"arrays": DictionaryAttr(names)}, result_types=[type_]
        )

    @property
    def encoding(self) -> WeightEncoding:
        """How the weights are stored."""
        encoding = tensor_type(self.result).encoding
        assert isinstance(encoding, WeightEncoding)
        return encoding

    def resource_names(self) -> dict[str, str]:
        """Array name of the encoding to name in the weight store."""
        result: dict[str, str] = {}
        for key, value in self.arrays.data.items():
            assert isinstance(value, StringAttr)
            result[key] = value.data
        return result

    def verify_(self) -> None:
        """Check that there is an encoding, and that it has its arrays."""
        encoding = tensor_type(self.result).encoding
        if not isinstance(encoding, WeightEncoding):
            raise VerifyException(
                "'sq.weight' op result must carry a weight encoding such as "
                f"#sq.pattern, got {self.result.type}"
            )
        wanted, found = sorted(encoding.array_names()), sorted(self.arrays.data)
        if wanted != found:
            raise VerifyException(
                f"'sq.weight' op arrays must be {wanted}, got {found}"
            )


@irdl_op_definition
class ConvertLayoutOp(NNOperation):
    """`%y = sq.convert_layout %x : (tensor<…>) -> tensor<…, #sq.lane<…>>`: a copy."""

    name = "sq.convert_layout"

    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, encoding: Attribute) -> None:
        old = tensor_type(input)
        super().__init__(
            operands=[input],
            result_types=[TensorType(old.element_type, old.get_shape(), encoding)],
        )

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have."""
        return shape_of(self.input)

    def verify_(self) -> None:
        """Check the shape, and that layouts are those of tensors of this rank."""
        super().verify_()
        for value in (self.input, self.result):
            layout, rank = layout_of(value), len(shape_of(value))
            if layout is not None and layout.rank != rank:
                raise VerifyException(
                    f"'sq.convert_layout' op layout of a tensor of rank {rank} must "
                    f"have a slab if the rank is 5 and none if it is 4, got {layout}"
                )


def layout_of(value: SSAValue) -> LaneAttr | None:
    """The layout of an activation; None for row-major without gaps."""
    encoding = tensor_type(value).encoding
    if isinstance(encoding, NoneAttr):
        return None
    assert isinstance(encoding, LaneAttr)
    return encoding
