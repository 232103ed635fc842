"""Fused ops of `sq`: an operator, then a chain of elementwise steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import (
    ArrayAttr,
    IntegerAttr,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    base,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects import shapes
from edgec.dialects.nn import (
    NNOperation,
    check_bias,
    ints,
    shape_of,
    tensor,
    tensor_type,
)
from edgec.dialects.sq.attrs import (
    KernelAttr,
    StepAttr,
)
from edgec.dialects.sq.encodings import ColumnsAttr
from edgec.dialects.sq.halves import has_bf16, verify_bf16_product
from edgec.dialects.sq.integers import has_integers, verify_ends, verify_product
from edgec.dialects.sq.quant import (
    QuantType,
    quant_type,
    require_float,
    require_quantized,
)


def check_epilogue(op: ConvOp | LinearOp | MatmulOp | ElementwiseOp) -> None:
    """Every step is a `#sq.step` and names an extra operand that broadcasts."""
    result, used = shape_of(op.result), set[int]()
    for attribute in op.epilogue:
        if not isinstance(attribute, StepAttr):
            raise VerifyException(
                f"'{op.name}' op epilogue must hold #sq.step, got {attribute}"
            )
        operand = attribute.step.operand
        if operand < 0:
            continue
        if operand >= len(op.extras):
            raise VerifyException(
                f"'{op.name}' op epilogue names extra operand {operand}, "
                f"but there are {len(op.extras)}"
            )
        used.add(operand)
    for index, extra in enumerate(op.extras):
        if index not in used:
            raise VerifyException(
                f"'{op.name}' op extra operand {index} is used by no step"
            )
        if shapes.broadcast(shape_of(extra), result) != result:
            raise VerifyException(
                f"'{op.name}' op extra operand {index} must broadcast to {result}, "
                f"got {shape_of(extra)}"
            )


@irdl_op_definition
class ConvOp(NNOperation):
    """`%y = sq.conv %x, %w bias(%b : …) extras(%r : …) {…} : …`: `nn.conv`.

    Then the steps of `epilogue`.

    With a quantized input and weight, of zero point z and scales s and t[f]:
    `f32(sum((x - z) w)) (s t[f]) + b[f]`, the sum exact in 32 bits, all else and each
    step in float32 as `edgec.dialects.quad_ending` says. Quantized extra operands count
    as dequantized, and a quantized result is quantized after the last step.

    With a bf16 input the weight is rounded to bf16 too; sums, bias and steps are
    float32, and a bf16 result is rounded after the last step.
    """

    name = "sq.conv"

    input = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    extras = var_operand_def(tensor)
    stride = prop_def(ints)
    padding_low = prop_def(ints)
    padding_high = prop_def(ints)
    dilation = prop_def(ints)
    groups = prop_def(IntegerAttr)
    epilogue = prop_def(base(ArrayAttr))
    kernel = opt_prop_def(KernelAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$input `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? "
        "(`extras` `(` $extras^ `:` type($extras) `)`)? attr-dict `:` "
        "type($input) `,` type($weight) `->` type($result)"
    )

    def __init__(
        self,
        input: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None,
        extras: Sequence[SSAValue],
        properties: Mapping[str, Attribute],
        epilogue: Sequence[StepAttr],
        result_type: Attribute,
        kernel: KernelAttr | None = None,
    ) -> None:
        names = ("stride", "padding_low", "padding_high", "dilation", "groups")
        super().__init__(
            operands=[input, weight, bias, extras],
            properties={
                **{name: properties[name] for name in names},
                "epilogue": ArrayAttr(epilogue),
                "kernel": kernel,
            },
            result_types=[result_type],
        )

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have."""
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

    def verify_elements(self) -> None:
        """All are alike, or bytes are multiplied."""
        if has_integers(self.input, self.weight):
            verify_product(self, self.weight, self.bias, self.extras)
        elif has_bf16(self.input):
            verify_bf16_product(self, self.weight, self.bias, self.extras)
        else:
            super().verify_elements()

    def verify_(self) -> None:
        """Check the shapes and the epilogue."""
        super().verify_()
        check_epilogue(self)
        encoding, groups = tensor_type(self.weight).encoding, self.groups.value.data
        if isinstance(encoding, ColumnsAttr) and encoding.num_groups != groups:
            raise VerifyException(
                f"'sq.conv' op has {groups} groups, "
                f"but its weight is encoded in {encoding.num_groups}"
            )


@irdl_op_definition
class LinearOp(NNOperation):
    """`%y = sq.linear %x, %w bias(%b : …) extras(%r : …) {…} : …`: `nn.linear`.

    Then the steps of `epilogue`. A quantized weight counts as dequantized; all else is
    float32 then, or the input is quantized too. Products are those of `sq.conv` in that
    case, and an input `[N, C, ...]` of any rank from 2 on has
    its dimensions after the first in row-major order in each row of the weight. An
    extra operand of the result's shape may be quantized then if the result is, others
    are float32. With a bf16 input the weight is rounded as by `sq.conv`.
    """

    name = "sq.linear"

    input = operand_def(tensor)
    weight = operand_def(tensor)
    bias = opt_operand_def(tensor)
    extras = var_operand_def(tensor)
    epilogue = prop_def(base(ArrayAttr))
    kernel = opt_prop_def(KernelAttr)
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$input `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? "
        "(`extras` `(` $extras^ `:` type($extras) `)`)? attr-dict `:` "
        "type($input) `,` type($weight) `->` type($result)"
    )

    def __init__(
        self,
        input: SSAValue,
        weight: SSAValue,
        bias: SSAValue | None,
        extras: Sequence[SSAValue],
        epilogue: Sequence[StepAttr],
        result_type: Attribute,
        kernel: KernelAttr | None = None,
    ) -> None:
        super().__init__(
            operands=[input, weight, bias, extras],
            properties={"epilogue": ArrayAttr(epilogue), "kernel": kernel},
            result_types=[result_type],
        )

    def verify_elements(self) -> None:
        """All are alike, or a weight in integers meets float32 numbers."""
        if has_bf16(self.input):
            verify_bf16_product(self, self.weight, self.bias, self.extras)
            return
        if not has_integers(self.input, self.weight):
            super().verify_elements()
            return
        if has_integers(self.input):
            verify_product(self, self.weight, self.bias, self.extras)
            for number, value in enumerate(self.extras):
                self._verify_extra(number, value)
            return
        require_quantized(self, self.weight, "weight")
        others = [value for value in self.operands if value is not self.weight]
        for value in others:
            require_float(self, value, "operand besides a quantized weight")
        require_float(self, self.result, "result")

    def _verify_extra(self, number: int, value: SSAValue) -> None:
        """Bytes are read where bytes are written, in the same places."""
        is_alike = shape_of(value) == shape_of(self.result)
        if not is_alike or not has_integers(self.result):
            require_float(self, value, f"extra operand {number}")

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have."""
        check_bias(self.bias, shape_of(self.weight)[0])
        shape = shape_of(self.input)
        if has_integers(self.input):
            shape = shapes.flattened(shape)
        return shapes.linear(shape, shape_of(self.weight))

    def verify_(self) -> None:
        """Check the shapes and the epilogue."""
        super().verify_()
        check_epilogue(self)


@irdl_op_definition
class MatmulOp(NNOperation):
    """`%y = sq.matmul %a, %b extras(%r : …) {…} : …`: `nn.matmul`.

    Then the steps of `epilogue`.
    """

    name = "sq.matmul"

    lhs = operand_def(tensor)
    rhs = operand_def(tensor)
    extras = var_operand_def(tensor)
    epilogue = prop_def(base(ArrayAttr))
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$lhs `,` $rhs (`extras` `(` $extras^ `:` type($extras) `)`)? attr-dict `:` "
        "type($lhs) `,` type($rhs) `->` type($result)"
    )

    def __init__(
        self,
        lhs: SSAValue,
        rhs: SSAValue,
        extras: Sequence[SSAValue],
        epilogue: Sequence[StepAttr],
        result_type: Attribute,
    ) -> None:
        super().__init__(
            operands=[lhs, rhs, extras],
            properties={"epilogue": ArrayAttr(epilogue)},
            result_types=[result_type],
        )

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have."""
        return shapes.matmul(shape_of(self.lhs), shape_of(self.rhs))

    def verify_(self) -> None:
        """Check the shapes and the epilogue."""
        super().verify_()
        check_epilogue(self)


@irdl_op_definition
class ElementwiseOp(NNOperation):
    """`%y = sq.elementwise %x extras(%r : …) {…} : …`: a chain of steps.

    `%x` is broadcast to the shape of the result first. Quantized operands count as
    dequantized, a quantized result is quantized after the last step; then each step
    rounds to float32.
    """

    name = "sq.elementwise"

    input = operand_def(tensor)
    extras = var_operand_def(tensor)
    epilogue = prop_def(base(ArrayAttr))
    result = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$input (`extras` `(` $extras^ `:` type($extras) `)`)? attr-dict `:` "
        "type($input) `->` type($result)"
    )

    def __init__(
        self,
        input: SSAValue,
        extras: Sequence[SSAValue],
        epilogue: Sequence[StepAttr],
        result_type: Attribute,
    ) -> None:
        super().__init__(
            operands=[input, extras],
            properties={"epilogue": ArrayAttr(epilogue)},
            result_types=[result_type],
        )

    def result_shape(self) -> shapes.Shape:
        """The shape that the result must have."""
        return shapes.broadcast(shape_of(self.input), shape_of(self.result))

    def verify_elements(self) -> None:
        """All are alike, or numbers that bytes may stand for."""
        if has_integers(self.input, *self.extras, self.result):
            verify_ends(self, self.extras, self.input)
        else:
            super().verify_elements()

    def verify_(self) -> None:
        """Check the shapes and the epilogue."""
        super().verify_()
        check_epilogue(self)


def addable_types(op: ConvOp | LinearOp) -> list[QuantType | None]:
    """Types of the extra operands whose bytes the kernels may add as they are.

    For `edgec.dialects.quad_ending.ending`; linear layers add the numbers instead.
    """
    return [quant_type(v) for v in op.extras] if isinstance(op, ConvOp) else []
