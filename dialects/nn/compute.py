"""`nn` ops that multiply and add: convolutions, linear and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    IntegerAttr,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure

from edgec.dialects import shapes
from edgec.dialects.nn.attrs import (
    int_array,
    int_attr,
)
from edgec.dialects.nn.base import (
    NNOperation,
    check_bias,
    ints,
    like,
    shape_of,
    tensor,
)


@irdl_op_definition
class ConvOp(NNOperation):
    """`%y = nn.conv %x, %w, %b {…} : (…) -> …`: cross-correlation, 1-D to 3-D.

    `y[n, f, p] = b[f] + sum(c, k) x[n, c, p * stride + k * dilation - padding_low]
    w[f, c, k]`, zero outside of `x`; `w` is `[F, C / groups, *K]`.
    """

    name = "nn.conv"

    input = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    stride = prop_def(ints)
    padding_low = prop_def(ints)
    padding_high = prop_def(ints)
    dilation = prop_def(ints)
    groups = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input `,` $weight (`,` $bias^)? attr-dict `:` "
        "functional-type(operands, results)"
    )

    def __init__(  # noqa: PLR0913 - one argument per property
        self,
        input: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None = None,
        *,
        stride: Sequence[int],
        padding_low: Sequence[int],
        padding_high: Sequence[int],
        dilation: Sequence[int],
        groups: int = 1,
        result_type: Attribute | None = None,
    ) -> None:
        if result_type is None:
            shape = shapes.convolution(
                shape_of(input),
                shape_of(weight),
                stride=stride,
                low=padding_low,
                high=padding_high,
                dilation=dilation,
                groups=groups,
            )
            result_type = like(input, shape)
        super().__init__(
            operands=[input, weight, bias],
            properties={
                "stride": int_array(stride),
                "padding_low": int_array(padding_low),
                "padding_high": int_array(padding_high),
                "dilation": int_array(dilation),
                "groups": int_attr(groups),
            },
            result_types=[result_type],
        )

    def result_shape(self) -> shapes.Shape:
        """`[N, F, *S']`, if the bias fits."""
        check_bias(self.bias, shape_of(self.weight)[0])
        return shapes.convolution(
            shape_of(self.input),
            shape_of(self.weight),
            stride=self.stride.get_values(),
            low=self.padding_low.get_values(),
            high=self.padding_high.get_values(),
            dilation=self.dilation.get_values(),
            groups=self.groups.value.data,
        )


@irdl_op_definition
class ConvTransposeOp(NNOperation):
    """`%y = nn.conv_transpose %x, %w, %b {…} : (…) -> …`: adjoint of `nn.conv`.

    `w` is `[C, F / groups, *K]` as in torch's `ConvTranspose`.
    """

    name = "nn.conv_transpose"

    input = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    stride = prop_def(ints)
    padding = prop_def(ints)
    output_padding = prop_def(ints)
    dilation = prop_def(ints)
    groups = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input `,` $weight (`,` $bias^)? attr-dict `:` "
        "functional-type(operands, results)"
    )

    def __init__(
        self,
        input: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None = None,
        *,
        stride: Sequence[int],
        padding: Sequence[int],
        output_padding: Sequence[int],
        dilation: Sequence[int],
        groups: int = 1,
    ) -> None:
        shape = shapes.transposed_convolution(
            shape_of(input),
            shape_of(weight),
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            dilation=dilation,
            groups=groups,
        )
        super().__init__(
            operands=[input, weight, bias],
            properties={
                "stride": int_array(stride),
                "padding": int_array(padding),
                "output_padding": int_array(output_padding),
                "dilation": int_array(dilation),
                "groups": int_attr(groups),
            },
            result_types=[like(input, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """`[N, F, *S']`, if the bias fits."""
        groups = self.groups.value.data
        check_bias(self.bias, shape_of(self.weight)[1] * groups)
        return shapes.transposed_convolution(
            shape_of(self.input),
            shape_of(self.weight),
            stride=self.stride.get_values(),
            padding=self.padding.get_values(),
            output_padding=self.output_padding.get_values(),
            dilation=self.dilation.get_values(),
            groups=groups,
        )


@irdl_op_definition
class LinearOp(NNOperation):
    """`%y = nn.linear %x, %w, %b : (…) -> …`.

    `y[..., n] = sum(k) x[..., k] w[n, k] + b[n]`.
    """

    name = "nn.linear"

    input = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = (
        "$input `,` $weight (`,` $bias^)? attr-dict `:` "
        "functional-type(operands, results)"
    )

    def __init__(
        self, input: SSAValue, weight: SSAValue, bias: SSAValue | None = None
    ) -> None:
        shape = shapes.linear(shape_of(input), shape_of(weight))
        super().__init__(
            operands=[input, weight, bias], result_types=[like(input, shape)]
        )

    def result_shape(self) -> shapes.Shape:
        """`[..., N]`, if the bias fits."""
        check_bias(self.bias, shape_of(self.weight)[0])
        return shapes.linear(shape_of(self.input), shape_of(self.weight))


@irdl_op_definition
class MatmulOp(NNOperation):
    """`%y = nn.matmul %a, %b : (…) -> …`: product of matrices.

    The last two dimensions are multiplied, those before them broadcast.
    """

    name = "nn.matmul"

    lhs = operand_def(tensor)
    rhs = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)"

    def __init__(self, lhs: SSAValue, rhs: SSAValue) -> None:
        shape = shapes.matmul(shape_of(lhs), shape_of(rhs))
        super().__init__(operands=[lhs, rhs], result_types=[like(lhs, shape)])

    def result_shape(self) -> shapes.Shape:
        """`[..., M, N]`."""
        return shapes.matmul(shape_of(self.lhs), shape_of(self.rhs))
