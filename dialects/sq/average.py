"""Means of quantized tensors over windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xdsl.dialects.builtin import BoolAttr, IntegerAttr
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
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes
from edgec.dialects.nn import int_array, int_attr, shape_of, tensor
from edgec.dialects.nn.base import NNOperation, check_rank, ints
from edgec.dialects.nn.pooling import spatial_result
from edgec.dialects.sq.integers import verify_ends
from edgec.dialects.sq.quant import require_quantized

MOST_POSITIONS = 2**24 // 255
"""Of a window: float32 holds every sum of so many bytes."""


def adaptive_positions(size: Sequence[int], out: Sequence[int]) -> int:
    """Of the largest window that shares `size` with others, at most."""
    pairs = zip(size, out, strict=True)
    return math.prod(min(-(-n // o) + 1, n) for n, o in pairs)


@irdl_op_definition
class AverageOp(NNOperation):
    """`%y = sq.average %x {kernel, stride, padding, …} : (…!sq.quant<…>) -> …`.

    The mean of what the bytes of a window stand for, with the windows and the divisor
    of `nn.pool avg`; without any numbers in `kernel`, those of `nn.adaptive_pool avg`.

        v = f32(sum of (q - zero point) / count) * scale

    The sum is exact, and each of the two steps rounds to float32. A quantized result
    is then quantized. A window has at most `MOST_POSITIONS` positions.
    """

    name = "sq.average"

    input = operand_def(tensor)
    kernel = prop_def(ints)
    stride = prop_def(ints)
    padding = prop_def(ints)
    ceil_mode = prop_def(BoolAttr)
    count_include_pad = prop_def(BoolAttr)
    divisor = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        input: SSAValue,
        result_type: Attribute,
        *,
        kernel: Sequence[int] = (),
        stride: Sequence[int] = (),
        padding: Sequence[int] = (),
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor: int = 0,
    ) -> None:
        super().__init__(
            operands=[input],
            properties={
                "kernel": int_array(kernel),
                "stride": int_array(stride),
                "padding": int_array(padding),
                "ceil_mode": BoolAttr.from_bool(ceil_mode),
                "count_include_pad": BoolAttr.from_bool(count_include_pad),
                "divisor": int_attr(divisor),
            },
            result_types=[result_type],
        )

    @property
    def is_adaptive(self) -> bool:
        """Whether windows share the input evenly."""
        return not self.kernel.get_values()

    def positions(self) -> int:
        """Of the largest window."""
        if not self.is_adaptive:
            return math.prod(self.kernel.get_values())
        return adaptive_positions(shape_of(self.input)[2:], shape_of(self.result)[2:])

    def result_shape(self) -> shapes.Shape:
        """`[N, C, *S']`."""
        if self.is_adaptive:
            check_rank(self.input, 3, 5)
            return spatial_result(self.input, self.result)
        shape = shape_of(self.input)
        return shapes.pool(
            shape,
            kernel=self.kernel.get_values(),
            stride=self.stride.get_values(),
            padding=self.padding.get_values(),
            dilation=(1,) * (len(shape) - 2),
            ceil_mode=bool(self.ceil_mode),
        )

    def verify_elements(self) -> None:
        """Unsigned bytes with one scale, to these or to numbers."""
        require_quantized(self, self.input, "input")
        verify_ends(self, (), self.input)
        if self.positions() > MOST_POSITIONS:
            raise VerifyException(
                f"'{self.name}' op windows must have at most {MOST_POSITIONS} "
                f"positions, got {self.positions()}"
            )
