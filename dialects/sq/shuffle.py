"""Channels of quantized tensors in another order."""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from edgec.dialects import shapes
from edgec.dialects.nn import int_attr, shape_of, tensor
from edgec.dialects.nn.base import NNOperation
from edgec.dialects.sq.quant import require_quantized


@irdl_op_definition
class ShuffleChannelsOp(NNOperation):
    """`%y = sq.shuffle_channels %x {groups = 2} : (tensor<…>) -> tensor<…>`.

    Takes one channel of each of `groups` equal parts in turn: channel `i * groups + j`
    is channel `j * (C / groups) + i` of the input. A reshape, a transpose and a reshape
    do the same to float32.

    Source: Zhang et al., "ShuffleNet" (CVPR 2018), section 3.1.
    """

    name = "sq.shuffle_channels"

    input = operand_def(tensor)
    groups = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, groups: int) -> None:
        super().__init__(
            operands=[input],
            properties={"groups": int_attr(groups)},
            result_types=[input.type],
        )

    def parts(self) -> shapes.Shape:
        """The input's shape with groups apart: `[N, groups, C / groups, ...]`."""
        batch, channels, *rest = shape_of(self.input)
        groups = self.groups.value.data
        return (batch, groups, channels // groups, *rest)

    def sources(self) -> tuple[int, ...]:
        """The channel of the input that each one of the result is."""
        _, groups, size, *_ = self.parts()
        return tuple(j * size + i for i in range(size) for j in range(groups))

    def result_shape(self) -> shapes.Shape:
        """That of the input."""
        shape, groups = shape_of(self.input), self.groups.value.data
        if len(shape) < 2 or groups < 1 or shape[1] % groups:
            raise shapes.ShapeError(
                f"channels must be a multiple of the groups, got {groups} groups of "
                f"{shape}"
            )
        return shape

    def verify_elements(self) -> None:
        """Bytes of one type."""
        super().verify_elements()
        require_quantized(self, self.input, "input")
