"""Quantization with scales that are computed at run time.

`sq.choose_qparams` looks at the numbers of a tensor, `sq.quantize_dynamic` and
`sq.dequantize_dynamic` take what it found. Scale and zero point are float32 tensors:
`[1]`, or `[..., 1]` with one number for each row (token).
"""

from __future__ import annotations

from xdsl.dialects.builtin import (
    Float64Type,
    FloatAttr,
    StringAttr,
    TensorType,
    f32,
    f64,
)
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import int_array, ints, shape_of, tensor
from edgec.dialects.shapes import Shape
from edgec.dialects.sq.quant import QuantType, quant_type, require_float

KINDS = ("tensor", "tensor-symmetric", "token", "token-symmetric")
"""Ways of choosing; of a whole tensor, or of each row."""


def choice_shape(kind: str, shape: Shape) -> Shape:
    """The shape of scale and zero point."""
    return (*shape[:-1], 1) if kind.startswith("token") else (1,)


@irdl_op_definition
class ChooseQparamsOp(IRDLOperation):
    """`%s, %z = sq.choose_qparams %x {kind = "tensor", range = …, eps = …} : …`.

    With `a` the least number or 0, `b` the largest or 0, and `n = high - low`:
    `tensor` is `s = max((b - a) / n, eps)`, `z = clamp(low - rint(a / s), low, high)`.
    `tensor-symmetric` is `s = max(max(-a, b) / (n / 2), eps)`, and `z` is 0, or 128 if
    `low` is not negative. `token-symmetric` is `s = max(max(-a, b), eps) / high` and `z
    = 0`. `token` has the `s` of `tensor`, and as `z` whichever of `low - a / s` and
    `high - b / s` has the smaller error in float32, clamped and rounded. All steps are
    in float32, as in torch's ops `choose_qparams*`.
    """

    name = "sq.choose_qparams"

    input = operand_def(tensor)
    kind = prop_def(StringAttr)
    range = prop_def(ints)
    eps = prop_def(FloatAttr[Float64Type])
    scale = result_def(tensor)
    zero_point = result_def(tensor)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(
        self, input: SSAValue, kind: str, ends: tuple[int, int], eps: float
    ) -> None:
        type_ = TensorType(f32, choice_shape(kind, shape_of(input)))
        super().__init__(
            operands=[input],
            properties={
                "kind": StringAttr(kind),
                "range": int_array(ends),
                "eps": FloatAttr(eps, f64),
            },
            result_types=[type_, type_],
        )

    def verify_(self) -> None:
        """Check kind, range and shapes."""
        kind, ends = self.kind.data, self.range.get_values()
        if kind not in KINDS:
            raise VerifyException(
                f"'{self.name}' op kind must be one of {KINDS}, got {kind}"
            )
        if len(ends) != 2 or not ends[0] < ends[1] or ends[1] < 1:
            raise VerifyException(
                f"'{self.name}' op range must be two numbers that rise above 0, "
                f"got {ends}"
            )
        if self.eps.value.data <= 0:
            raise VerifyException(
                f"'{self.name}' op eps must be positive, got {self.eps.value.data}"
            )
        require_float(self, self.input, "input")
        shape = shape_of(self.input)
        if not shape:
            raise VerifyException(
                f"'{self.name}' op input must have a rank of 1 or more"
            )
        for value, what in ((self.scale, "scale"), (self.zero_point, "zero_point")):
            require_float(self, value, what)
            check_choice(self, value, what, {choice_shape(kind, shape)})


def check_choice(
    op: Operation, value: SSAValue, what: str, allowed: set[Shape]
) -> None:
    """A scale or zero point has one of the shapes."""
    if shape_of(value) not in allowed:
        listed = " or ".join(map(str, sorted(allowed)))
        raise VerifyException(
            f"'{op.name}' op {what} must have shape {listed}, got {shape_of(value)}"
        )


class DynamicOperation(IRDLOperation):
    """Base of the two ops that take a scale and a zero point."""

    input = operand_def(tensor)
    scale = operand_def(tensor)
    zero_point = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = (
        "$input `,` $scale `,` $zero_point attr-dict `:` "
        "functional-type(operands, results)"
    )

    def verify_operands(self, quantized: SSAValue, floats: SSAValue) -> None:
        """Shapes agree, and the quantized side has no scale in its type."""
        shape = shape_of(self.input)
        if shape_of(self.result) != shape:
            raise VerifyException(
                f"'{self.name}' op result must have shape {shape}, "
                f"got {shape_of(self.result)}"
            )
        type_ = quant_type(quantized)
        if type_ is None or not type_.is_dynamic:
            found = type_ or quantized.type
            raise VerifyException(
                f"'{self.name}' op needs a !sq.quant without a scale, got {found}"
            )
        require_float(self, floats, "float side")
        for value, what in ((self.scale, "scale"), (self.zero_point, "zero_point")):
            require_float(self, value, what)
            check_choice(self, value, what, {(1,), (*shape[:-1], 1)})


@irdl_op_definition
class QuantizeDynamicOp(DynamicOperation):
    """`%q = sq.quantize_dynamic %x, %s, %z : (…) -> tensor<…x!sq.quant<i8<…>>>`."""

    name = "sq.quantize_dynamic"

    def __init__(
        self, input: SSAValue, scale: SSAValue, zero_point: SSAValue, type_: QuantType
    ) -> None:
        super().__init__(
            operands=[input, scale, zero_point],
            result_types=[TensorType(type_, shape_of(input))],
        )

    def verify_(self) -> None:
        """From f32 to a type without a scale."""
        self.verify_operands(self.result, self.input)


@irdl_op_definition
class DequantizeDynamicOp(DynamicOperation):
    """`%y = sq.dequantize_dynamic %q, %s, %z : (…) -> tensor<…xf32>`."""

    name = "sq.dequantize_dynamic"

    def __init__(self, input: SSAValue, scale: SSAValue, zero_point: SSAValue) -> None:
        super().__init__(
            operands=[input, scale, zero_point],
            result_types=[TensorType(f32, shape_of(input))],
        )

    def verify_(self) -> None:
        """From a type without a scale to f32."""
        self.verify_operands(self.input, self.result)
