"""Constants and `nn` ops that act on each element by itself."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import (
    AnyDenseElement,
    DenseIntOrFPElementsAttr,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    base,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.hints import isa

from edgec.dialects import shapes
from edgec.dialects.nn.attrs import (
    UNARY_PARAMS,
    BinaryKind,
    BinaryKindAttr,
    UnaryKind,
    UnaryKindAttr,
    float_array,
)
from edgec.dialects.nn.base import (
    NNOperation,
    floats,
    like,
    shape_of,
    tensor,
    tensor_type,
)


@irdl_op_definition
class ConstantOp(IRDLOperation):
    """`%w = nn.constant "conv1.weight" : tensor<…>` or `%w = nn.constant dense<…> : …`.

    A string names an array in the weight store; small constants stand in the IR.
    """

    name = "nn.constant"

    value = prop_def(base(StringAttr) | base(DenseIntOrFPElementsAttr))
    result = result_def(tensor)

    traits = traits_def(Pure())

    def __init__(
        self, value: str | StringAttr | DenseIntOrFPElementsAttr, type_: Attribute
    ) -> None:
        value = StringAttr(value) if isinstance(value, str) else value
        super().__init__(properties={"value": value}, result_types=[type_])

    @classmethod
    def parse(cls, parser: Parser) -> ConstantOp:
        """Parse `"name" : type` or `dense<…> : type`."""
        attributes = parser.parse_optional_attr_dict()
        handle = parser.parse_optional_str_literal()
        if handle is None:
            value = parser.parse_attribute()
            if not isa(value, DenseIntOrFPElementsAttr[AnyDenseElement]):
                parser.raise_error("nn.constant takes a string or dense<…>")
            op = cls(value, value.get_type())
        else:
            parser.parse_punctuation(":")
            op = cls(handle, parser.parse_type())
        op.attributes.update(attributes)
        return op

    def print(self, printer: Printer) -> None:
        """Print what `parse` reads."""
        printer.print_op_attributes(self.attributes)
        printer.print_string(" ")
        printer.print_attribute(self.value)
        if isinstance(self.value, StringAttr):
            printer.print_string(" : ")
            printer.print_attribute(self.result.type)

    def verify_(self) -> None:
        """A constant that stands in the IR has the type of its value."""
        if isinstance(self.value, StringAttr):
            return
        if self.value.get_type() != self.result.type:
            raise VerifyException(
                f"'{self.name}' op result must have the type of its value, "
                f"{self.value.get_type()}, got {self.result.type}"
            )


@irdl_op_definition
class UnaryOp(NNOperation):
    """`%y = nn.unary relu %x : (…) -> …`: one function, element by element."""

    name = "nn.unary"

    kind = prop_def(UnaryKindAttr)
    input = operand_def(tensor)
    params = opt_prop_def(floats)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$kind $input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, kind: UnaryKind | str, input: SSAValue, params: Sequence[float] = ()
    ) -> None:
        super().__init__(
            operands=[input],
            properties={
                "kind": UnaryKindAttr(UnaryKind(kind)),
                "params": float_array(params) if params else None,
            },
            result_types=[like(input, shape_of(input))],
        )

    @property
    def parameters(self) -> tuple[float, ...]:
        """The values of `params`; empty if there are none."""
        return () if self.params is None else tuple(self.params.get_values())

    def result_shape(self) -> shapes.Shape:
        """That of the input, if there are as many params as the kind takes."""
        kind = self.kind.data.value
        wanted = UNARY_PARAMS.get(kind, 0)
        if len(self.parameters) != wanted:
            raise shapes.ShapeError(
                f"params of {kind} must have {wanted} entries, got {self.parameters}"
            )
        return shape_of(self.input)


@irdl_op_definition
class BinaryOp(NNOperation):
    """`%z = nn.binary add %x, %y : (…) -> …`: element by element, broadcasting."""

    name = "nn.binary"

    kind = prop_def(BinaryKindAttr)
    lhs = operand_def(tensor)
    rhs = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = (
        "$kind $lhs `,` $rhs attr-dict `:` functional-type(operands, results)"
    )

    def __init__(self, kind: BinaryKind | str, lhs: SSAValue, rhs: SSAValue) -> None:
        shape = shapes.broadcast(shape_of(lhs), shape_of(rhs))
        super().__init__(
            operands=[lhs, rhs],
            properties={"kind": BinaryKindAttr(BinaryKind(kind))},
            result_types=[like(lhs, shape)],
        )

    def result_shape(self) -> shapes.Shape:
        """What both operands broadcast to."""
        return shapes.broadcast(shape_of(self.lhs), shape_of(self.rhs))


@irdl_op_definition
class CastOp(NNOperation):
    """`%y = nn.cast %x : (tensor<…xf32>) -> tensor<…xi64>`.

    Truncates towards zero; to i1, whether the element is not zero; to bf16, the nearest
    number, ties to even.
    """

    name = "nn.cast"

    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, element_type: Attribute) -> None:
        super().__init__(
            operands=[input], result_types=[TensorType(element_type, shape_of(input))]
        )

    def result_shape(self) -> shapes.Shape:
        """That of the input."""
        return shape_of(self.input)

    def result_element(self) -> Attribute:
        """Any."""
        return tensor_type(self.result).element_type
