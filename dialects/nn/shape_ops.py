"""`nn` ops that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
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
    var_operand_def,
)
from xdsl.traits import Pure

from edgec.dialects import shapes
from edgec.dialects.nn.attrs import (
    PadKind,
    PadKindAttr,
    float_attr,
    int_array,
    int_attr,
)
from edgec.dialects.nn.base import (
    NNOperation,
    ints,
    like,
    shape_of,
    tensor,
)


@irdl_op_definition
class ReshapeOp(NNOperation):
    """`%y = nn.reshape %x : (…) -> …`: same elements in row-major order."""

    name = "nn.reshape"

    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, shape: Sequence[int]) -> None:
        super().__init__(operands=[input], result_types=[like(input, shape)])

    def result_shape(self) -> shapes.Shape:
        """Any with the same number of elements."""
        return shapes.reshape(shape_of(self.input), shape_of(self.result))


@irdl_op_definition
class TransposeOp(NNOperation):
    """`%y = nn.transpose %x {permutation = array<i64: 1, 0>} : (…) -> …`.

    Dimension `i` of the result is dimension `permutation[i]` of the input.
    """

    name = "nn.transpose"

    input = operand_def(tensor)
    permutation = prop_def(ints)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, permutation: Sequence[int]) -> None:
        shape = shapes.transpose(shape_of(input), permutation)
        super().__init__(
            operands=[input],
            properties={"permutation": int_array(permutation)},
            result_types=[like(input, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """The input's sizes, permuted."""
        return shapes.transpose(shape_of(self.input), self.permutation.get_values())


@irdl_op_definition
class ConcatOp(NNOperation):
    """`%y = nn.concat %a, %b {axis = 1 : i64} : (…) -> …`."""

    name = "nn.concat"

    inputs = var_operand_def(tensor)
    axis = prop_def(IntegerAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$inputs attr-dict `:` functional-type(operands, results)"

    def __init__(self, inputs: Sequence[SSAValue], axis: int) -> None:
        shape = shapes.concat([shape_of(value) for value in inputs], axis)
        super().__init__(
            operands=[inputs],
            properties={"axis": int_attr(axis)},
            result_types=[like(inputs[0], shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """The inputs' shape with the sum of their sizes along the axis."""
        if not self.inputs:
            raise shapes.ShapeError("inputs must not be empty")
        return shapes.concat(
            [shape_of(value) for value in self.inputs], self.axis.value.data
        )


@irdl_op_definition
class SliceOp(NNOperation):
    """`%y = nn.slice %x {starts, steps} : (…) -> …`: `y[i] = x[starts + i * steps]`."""

    name = "nn.slice"

    input = operand_def(tensor)
    starts = prop_def(ints)
    steps = prop_def(ints)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        input: SSAValue,
        starts: Sequence[int],
        sizes: Sequence[int],
        steps: Sequence[int],
    ) -> None:
        shape = shapes.slice_(shape_of(input), starts, sizes, steps)
        super().__init__(
            operands=[input],
            properties={"starts": int_array(starts), "steps": int_array(steps)},
            result_types=[like(input, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """Any that stays inside the input."""
        return shapes.slice_(
            shape_of(self.input),
            self.starts.get_values(),
            shape_of(self.result),
            self.steps.get_values(),
        )


@irdl_op_definition
class PadOp(NNOperation):
    """`%y = nn.pad constant %x {low, high, value} : (…) -> …`.

    Adds `low` positions before and `high` after each dimension: `value`, or the input
    mirrored without its edge, or its edge repeated. Negative entries crop.
    """

    name = "nn.pad"

    kind = prop_def(PadKindAttr)
    input = operand_def(tensor)
    low = prop_def(ints)
    high = prop_def(ints)
    value = prop_def(FloatAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        kind: PadKind | str,
        input: SSAValue,
        low: Sequence[int],
        high: Sequence[int],
        value: float = 0.0,
    ) -> None:
        shape = shapes.pad(shape_of(input), low, high)
        super().__init__(
            operands=[input],
            properties={
                "kind": PadKindAttr(PadKind(kind)),
                "low": int_array(low),
                "high": int_array(high),
                "value": float_attr(value),
            },
            result_types=[like(input, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """The input's sizes plus `low` and `high`."""
        low, high = self.low.get_values(), self.high.get_values()
        if self.kind.data is PadKind.REFLECT:
            shapes.check_reflection(shape_of(self.input), low, high)
        return shapes.pad(shape_of(self.input), low, high)


@irdl_op_definition
class BroadcastOp(NNOperation):
    """`%y = nn.broadcast %x : (…) -> …`: numpy's `broadcast_to`."""

    name = "nn.broadcast"

    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, shape: Sequence[int]) -> None:
        super().__init__(operands=[input], result_types=[like(input, shape)])

    def result_shape(self) -> shapes.Shape:
        """Any that the input broadcasts to."""
        return shapes.broadcast(shape_of(self.input), shape_of(self.result))
