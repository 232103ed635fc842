"""`nn` ops that normalize: batch, layer and group norm, softmax."""

from __future__ import annotations

from xdsl.dialects.builtin import (
    BoolAttr,
    FloatAttr,
    IntegerAttr,
)
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
from edgec.dialects.nn.attrs import (
    float_attr,
    int_attr,
)
from edgec.dialects.nn.base import (
    NNOperation,
    check_bias,
    check_rank,
    like,
    shape_of,
    tensor,
)


@irdl_op_definition
class BatchNormOp(NNOperation):
    """`%y = nn.batch_norm %x, %scale, %shift, %mean, %variance {eps = …} : …`.

    `y = (x - mean) / sqrt(variance + eps) * scale + shift` per channel (dimension 1).
    """

    name = "nn.batch_norm"

    input = operand_def(tensor)
    scale = operand_def(tensor)
    shift = operand_def(tensor)
    mean = operand_def(tensor)
    variance = operand_def(tensor)
    eps = prop_def(FloatAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input `,` $scale `,` $shift `,` $mean `,` $variance attr-dict `:` "
        "functional-type(operands, results)"
    )

    def __init__(
        self,
        input: SSAValue,
        scale: SSAValue,
        shift: SSAValue,
        mean: SSAValue,
        variance: SSAValue,
        eps: float,
    ) -> None:
        super().__init__(
            operands=[input, scale, shift, mean, variance],
            properties={"eps": float_attr(eps)},
            result_types=[like(input, shape_of(input))],
        )

    def result_shape(self) -> shapes.Shape:
        """That of the input, if all else has one entry per channel."""
        check_rank(self.input, 2, 5)
        channels = shape_of(self.input)[1]
        check_bias(self.scale, channels, "scale")
        check_bias(self.shift, channels, "shift")
        check_bias(self.mean, channels, "mean")
        check_bias(self.variance, channels, "variance")
        return shape_of(self.input)


@irdl_op_definition
class LayerNormOp(NNOperation):
    """`%y = nn.layer_norm %x, %scale, %shift {eps, normalized_rank} : …`.

    Mean and biased variance over the last `normalized_rank` dimensions; scale and shift
    have the shape of these dimensions.
    """

    name = "nn.layer_norm"

    input = operand_def(tensor)
    scale = operand_def(tensor)
    shift = operand_def(tensor)
    eps = prop_def(FloatAttr)
    normalized_rank = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input `,` $scale `,` $shift attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self, input: SSAValue, scale: SSAValue, shift: SSAValue, eps: float, rank: int
    ) -> None:
        super().__init__(
            operands=[input, scale, shift],
            properties={"eps": float_attr(eps), "normalized_rank": int_attr(rank)},
            result_types=[like(input, shape_of(input))],
        )

    def result_shape(self) -> shapes.Shape:
        """That of the input, if scale and shift have its last dimensions."""
        shape = shape_of(self.input)
        rank = self.normalized_rank.value.data
        if not 1 <= rank <= len(shape):
            raise shapes.ShapeError(
                f"normalized_rank must be in 1..{len(shape)}, got {rank}"
            )
        for value in (self.scale, self.shift):
            if shape_of(value) != shape[-rank:]:
                raise shapes.ShapeError(
                    f"scale and shift must have shape {shape[-rank:]}, "
                    f"got {shape_of(value)}"
                )
        return shape


@irdl_op_definition
class GroupNormOp(NNOperation):
    """`%y = nn.group_norm %x, %scale, %shift {eps, groups} : …`.

    Mean and biased variance over each group of channels and all positions; scale and
    shift have one entry per channel.
    """

    name = "nn.group_norm"

    input = operand_def(tensor)
    scale = operand_def(tensor)
    shift = operand_def(tensor)
    eps = prop_def(FloatAttr)
    groups = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input `,` $scale `,` $shift attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self, input: SSAValue, scale: SSAValue, shift: SSAValue, eps: float, groups: int
    ) -> None:
        super().__init__(
            operands=[input, scale, shift],
            properties={"eps": float_attr(eps), "groups": int_attr(groups)},
            result_types=[like(input, shape_of(input))],
        )

    def result_shape(self) -> shapes.Shape:
        """That of the input, if its channels divide by the groups."""
        check_rank(self.input, 2, 5)
        shape, groups = shape_of(self.input), self.groups.value.data
        if groups < 1 or shape[1] % groups:
            raise shapes.ShapeError(
                f"channels must divide by groups, got {shape[1]} and {groups}"
            )
        check_bias(self.scale, shape[1], "scale")
        check_bias(self.shift, shape[1], "shift")
        return shape


@irdl_op_definition
class SoftmaxOp(NNOperation):
    """`%y = nn.softmax %x {axis = 1 : i64} : …`; `log` gives the logarithm of it."""

    name = "nn.softmax"

    input = operand_def(tensor)
    axis = prop_def(IntegerAttr)
    log = prop_def(BoolAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, axis: int, *, log: bool = False) -> None:
        super().__init__(
            operands=[input],
            properties={"axis": int_attr(axis), "log": BoolAttr.from_bool(log)},
            result_types=[like(input, shape_of(input))],
        )

    def result_shape(self) -> shapes.Shape:
        """That of the input, if it has the axis."""
        shapes.check_axes(shape_of(self.input), (self.axis.value.data,))
        return shape_of(self.input)
