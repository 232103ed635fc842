"""`!sq.quant` and the ops between float32 and quantized tensors.

Quantized is `q = clamp(rint(x * (1 / scale)) + zero_point, low, high)`, dequantized
`(q - zero_point) * scale`, each step in float32 and ties to even, as torch's
`quantized_decomposed` ops compute. What a NaN becomes is not defined.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), section 2.1, for the affine scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import (
    DenseArrayBase,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    IntegerType,
    NoneAttr,
    Signedness,
    StringAttr,
    TensorType,
    f32,
    f64,
)
from xdsl.ir import Attribute, Operation, ParametrizedAttribute, SSAValue, TypeAttribute
from xdsl.irdl import (
    irdl_attr_definition,
    irdl_op_definition,
    operand_def,
    param_def,
    result_def,
    traits_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import (
    NNOperation,
    int_array,
    int_attr,
    shape_of,
    tensor,
    tensor_type,
)
from edgec.dialects.shapes import Shape
from edgec.dialects.sq.parsing import parse_field

STORAGE = {
    "i8": IntegerType(8),
    "ui8": IntegerType(8, Signedness.UNSIGNED),
}
"""What quantized numbers are stored as; `i8` is signed."""

Field = IntegerAttr[IntegerType] | NoneAttr


@irdl_attr_definition
class QuantType(ParametrizedAttribute, TypeAttribute):
    """`!sq.quant<i8<-128:127>, scale = 0.1, zero_point = 3>`: an element type.

    Integers of one byte in a range, which stand for float32 numbers. A scale is kept in
    float64, as torch does, and used as float32; so is `1 / scale`, which is rounded
    once.

    `!sq.quant<i8<-127:127>, scale = "w.scale", zero_point = "w.zero", axis = 0>` has a
    scale for each index along an axis: the strings name arrays in the weight store,
    f32 `[C]` and i32 `[C]`. With `group = 32` too, the tensor has the shape `[C, K]`,
    and each 32 entries of a row have a scale of their own: arrays of `[C, K / 32]`.

    `!sq.quant<i8<-128:127>>` has a scale that is computed at run time, an operand of
    the ops that quantize and dequantize (`sq.quantize_dynamic`).
    """

    name = "sq.quant"

    storage: IntegerType = param_def()
    range: DenseArrayBase[IntegerType] = param_def()
    scale: FloatAttr[Float64Type] | StringAttr | NoneAttr = param_def()
    zero_point: IntegerAttr[IntegerType] | StringAttr | NoneAttr = param_def()
    axis: Field = param_def()
    group: Field = param_def()

    @staticmethod
    def per_tensor(
        storage: str, low: int, high: int, scale: float, zero_point: int
    ) -> QuantType:
        """One scale for all; `storage` is a key of `STORAGE`."""
        return QuantType(
            STORAGE[storage],
            int_array((low, high)),
            FloatAttr(scale, f64),
            int_attr(zero_point),
            NoneAttr(),
            NoneAttr(),
        )

    @staticmethod
    def per_axis(
        storage: str,
        low: int,
        high: int,
        arrays: tuple[str, str],
        axis: int,
        group: int | None = None,
    ) -> QuantType:
        """Scales and zero points from two arrays of the weight store."""
        return QuantType(
            STORAGE[storage],
            int_array((low, high)),
            StringAttr(arrays[0]),
            StringAttr(arrays[1]),
            int_attr(axis),
            NoneAttr() if group is None else int_attr(group),
        )

    @staticmethod
    def dynamic(storage: str, low: int, high: int) -> QuantType:
        """A scale that is computed at run time."""
        none = NoneAttr()
        ends = int_array((low, high))
        return QuantType(STORAGE[storage], ends, none, none, none, none)

    @property
    def is_dynamic(self) -> bool:
        """Whether the scale is computed at run time."""
        return isinstance(self.scale, NoneAttr)

    @property
    def is_unsigned(self) -> bool:
        """Whether numbers are stored as `ui8`."""
        return self.storage == STORAGE["ui8"]

    @property
    def low(self) -> int:
        """The smallest integer."""
        return self.range.get_values()[0]

    @property
    def high(self) -> int:
        """The largest integer."""
        return self.range.get_values()[1]

    @property
    def numbers(self) -> tuple[float, int] | None:
        """Scale and zero point of all elements; None if these stand elsewhere."""
        scale, zero_point = self.scale, self.zero_point
        if isinstance(scale, FloatAttr) and isinstance(zero_point, IntegerAttr):
            return scale.value.data, zero_point.value.data
        return None

    @property
    def arrays(self) -> tuple[str, str] | None:
        """Names of the arrays of scales and zero points; None if there are none."""
        if isinstance(self.scale, StringAttr) and isinstance(
            self.zero_point, StringAttr
        ):
            return self.scale.data, self.zero_point.data
        return None

    @property
    def axis_number(self) -> int | None:
        """The axis that scales belong to; None if there is one scale."""
        return None if isinstance(self.axis, NoneAttr) else self.axis.value.data

    @property
    def group_size(self) -> int | None:
        """How many entries of a row share a scale; None if all do."""
        return None if isinstance(self.group, NoneAttr) else self.group.value.data

    def array_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of the arrays for a tensor of `shape`."""
        axis, group = self.axis_number, self.group_size
        assert axis is not None
        return (shape[axis],) if group is None else (shape[0], shape[1] // group)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the forms in the class docstring."""
        fields = dict.fromkeys(("scale", "zero_point", "axis", "group"), NoneAttr())
        found: dict[str, Attribute] = {**fields}
        with parser.in_angle_brackets():
            storage = parser.parse_type()
            with parser.in_angle_brackets():
                low = parser.parse_integer()
                parser.parse_punctuation(":")
                high = parser.parse_integer()
            for name in fields:
                if parser.parse_optional_punctuation(",") is None:
                    break
                found[name] = _parse_field(parser, name)
        return [storage, int_array((low, high)), *found.values()]

    def print_parameters(self, printer: Printer) -> None:
        """Print the forms in the class docstring."""
        storage = "ui8" if self.is_unsigned else "i8"
        parts = [f"{storage}<{self.low}:{self.high}>"]
        if self.numbers is not None:
            parts.append(f"scale = {_decimal(self.numbers[0])}")
            parts.append(f"zero_point = {self.numbers[1]}")
        if self.arrays is not None:
            parts.append(f'scale = "{self.arrays[0]}"')
            parts.append(f'zero_point = "{self.arrays[1]}"')
        if self.axis_number is not None:
            parts.append(f"axis = {self.axis_number}")
        if self.group_size is not None:
            parts.append(f"group = {self.group_size}")
        printer.print_string(f"<{', '.join(parts)}>")

    def verify(self) -> None:
        """Check the storage, the range and the numbers."""
        if self.storage not in STORAGE.values():
            raise VerifyException(
                f"!sq.quant storage must be i8 or ui8, got {self.storage}"
            )
        least, most = (0, 255) if self.is_unsigned else (-128, 127)
        if not least <= self.low < self.high <= most:
            raise VerifyException(
                f"!sq.quant range must rise within {least}:{most}, "
                f"got {self.low}:{self.high}"
            )
        axis, group = self.axis_number, self.group_size
        if {self.scale, self.zero_point, self.axis, self.group} == {NoneAttr()}:
            return
        if self.numbers is not None and axis is None and group is None:
            self._verify_numbers(*self.numbers)
        elif self.arrays is None or axis is None:
            raise VerifyException(
                "!sq.quant must have a scale and a zero point that are numbers, or "
                f"names of arrays and an axis, got {self}"
            )
        elif axis < 0 or (group is not None and (axis != 0 or group < 1)):
            raise VerifyException(
                "!sq.quant axis must not be negative, and groups must have at least "
                f"one entry and stand along rows (axis = 0), got {self}"
            )

    def _verify_numbers(self, scale: float, zero_point: int) -> None:
        with np.errstate(all="ignore"):
            used = [float(np.float32(scale))]
            used.append(float(np.float32(1 / scale)) if scale else math.inf)
        if not all(0 < number < math.inf for number in used):
            raise VerifyException(
                "!sq.quant scale must be positive, and finite in float32 like its "
                f"inverse, got {scale:g}"
            )
        if not self.low <= zero_point <= self.high:
            raise VerifyException(
                f"!sq.quant zero_point must lie in {self.low}:{self.high}, "
                f"got {zero_point}"
            )


def _parse_field(parser: AttrParser, name: str) -> Attribute:
    """`scale = 0.1` or `scale = "w.scale"`."""
    if name in ("axis", "group"):
        return int_attr(parse_field(parser, name))
    parser.parse_keyword(name)
    parser.parse_punctuation("=")
    text = parser.parse_optional_str_literal()
    if text is not None:
        return StringAttr(text)
    if name == "scale":
        return FloatAttr(float(parser.parse_number()), f64)
    return int_attr(parser.parse_integer())


def _decimal(number: float) -> str:
    """The shortest text with a point, without which MLIR reads no exponent."""
    digits, found, exponent = repr(number).partition("e")
    return digits + ("" if "." in digits else ".0") + found + exponent


def quant_type(value: SSAValue) -> QuantType | None:
    """The element type of a quantized tensor; None for any other."""
    element = tensor_type(value).element_type
    return element if isinstance(element, QuantType) else None


class QuantOperation(NNOperation):
    """Base of ops that keep the shape and change the element type."""

    input = operand_def(tensor)
    result = result_def(tensor)

    traits = traits_def(Pure())
    assembly_format = "$input attr-dict `:` functional-type(operands, results)"

    def __init__(self, input: SSAValue, element: Attribute) -> None:
        result = TensorType(element, shape_of(input))
        super().__init__(operands=[input], result_types=[result])

    def result_shape(self) -> Shape:
        """That of the input."""
        return shape_of(self.input)

    def result_element(self) -> Attribute:
        """Any; subclasses ask for one kind."""
        return tensor_type(self.result).element_type


def require_float(op: Operation, value: SSAValue, what: str) -> None:
    """`value` holds f32."""
    found = tensor_type(value).element_type
    if found != f32:
        raise VerifyException(f"'{op.name}' op {what} must hold f32, got {found}")


def require_quantized(op: Operation, value: SSAValue, what: str) -> None:
    """`value` is quantized, in a way that a tensor of its shape can be."""
    type_, shape = quant_type(value), shape_of(value)
    if type_ is None:
        raise VerifyException(
            f"'{op.name}' op {what} must hold !sq.quant, "
            f"got {tensor_type(value).element_type}"
        )
    if type_.is_dynamic:
        raise VerifyException(
            f"'{op.name}' op {what} must have a scale in its type, got {type_}"
        )
    axis, group = type_.axis_number, type_.group_size
    if axis is not None and axis >= len(shape):
        raise VerifyException(
            f"'{op.name}' op {what} has scales along axis {axis}, but rank {len(shape)}"
        )
    if group is not None and (len(shape) != 2 or shape[1] % group):
        raise VerifyException(
            f"'{op.name}' op {what} has groups of {group}, so its shape must be "
            f"[C, K] with K a multiple of that, got {list(shape)}"
        )


@irdl_op_definition
class QuantizeOp(QuantOperation):
    """`%q = sq.quantize %x : (tensor<…xf32>) -> tensor<…x!sq.quant<…>>`."""

    name = "sq.quantize"

    def verify_(self) -> None:
        """From f32 to a quantized type."""
        super().verify_()
        require_float(self, self.input, "input")
        require_quantized(self, self.result, "result")


@irdl_op_definition
class DequantizeOp(QuantOperation):
    """`%y = sq.dequantize %q : (tensor<…x!sq.quant<…>>) -> tensor<…xf32>`."""

    name = "sq.dequantize"

    def __init__(self, input: SSAValue) -> None:
        super().__init__(input, f32)

    def verify_(self) -> None:
        """From a quantized type to f32."""
        super().verify_()
        require_quantized(self, self.input, "input")
        require_float(self, self.result, "result")


@irdl_op_definition
class RequantizeOp(QuantOperation):
    """`%r = sq.requantize %q : (tensor<…x!sq.quant<…>>) -> tensor<…x!sq.quant<…>>`.

    Dequantizes, then quantizes with other scales.
    """

    name = "sq.requantize"

    def verify_(self) -> None:
        """From one quantized type to another."""
        super().verify_()
        require_quantized(self, self.input, "input")
        require_quantized(self, self.result, "result")
