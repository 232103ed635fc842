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
from edgec.dialects.nn import float_array, shape_of, tensor
from edgec.dialects.nn.base import NNOperation, floats
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
        shape, found = shape_of(self.input), shape_of(self.result)
        if len(shape) != 4 or len(found) != 4 or min(found[2:]) < 1:
            raise shapes.ShapeError(
                "input and result must have rank 4, and the result positive sizes, got "
                f"{shape} and {found}"
            )
        scales = self.scales.get_values()
        if len(scales) != 2 or min(scales) < 0:
            raise shapes.ShapeError(
                f"scales must be 2 numbers of at least 0, got {scales}"
            )
        return (*shape[:2], *found[2:])

    def verify_elements(self) -> None:
        """Unsigned bytes with one scale, to these or to numbers."""
        require_quantized(self, self.input, "input")
        verify_ends(self, (), self.input)
