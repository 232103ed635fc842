"""Quantized tensors in another size."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import BoolAttr
from xdsl.ir import Attribute, SSAValue
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
from edgec.dialects.nn import float_array, tensor
from edgec.dialects.nn.base import NNOperation, check_rank, floats
from edgec.dialects.nn.pooling import resized
from edgec.dialects.sq.integers import verify_ends
from edgec.dialects.sq.quant import require_quantized


@irdl_op_definition
class ResizeOp(NNOperation):
    """`%y = sq.resize %x {scales, align_corners} : (…!sq.quant<…>) -> …`.

    Bilinear resizing of what bytes stand for, at the positions of `nn.resize bilinear`.
    It interpolates the bytes themselves, along rows first: of two neighbours `a` and
    `b`, where a position has the share `s` of `b`,

        a + (b - a) * s

    in each of two rows and then between these, and takes `(u - zero point) * scale` of
    that. All steps are in float32, and each rounds. A quantized result is then
    quantized.
    """

    name = "sq.resize"

    input = operand_def(tensor)
    scales = prop_def(floats)
    align_corners = prop_def(BoolAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        input: SSAValue,
        result_type: Attribute,
        scales: Sequence[float],
        *,
        align_corners: bool,
    ) -> None:
        super().__init__(
            operands=[input],
            properties={
                "scales": float_array(scales),
                "align_corners": BoolAttr.from_bool(align_corners),
            },
            result_types=[result_type],
        )

    def result_shape(self) -> shapes.Shape:
        """Any `[N, C, H, W]`."""
        check_rank(self.input, 4, 4)
        return resized(self.input, self.result, self.scales.get_values())

    def verify_elements(self) -> None:
        """Unsigned bytes with one scale, to these or to numbers."""
        require_quantized(self, self.input, "input")
        verify_ends(self, (), self.input)
