"""`#sq.strided`: a tensor that lies inside of a buffer which is not its own alone."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, IntegerType
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition, param_def
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import int_array, int_attr
from edgec.dialects.sq.parsing import parse_field, parse_ints


@irdl_attr_definition
class StridedAttr(ParametrizedAttribute):
    """`#sq.strided<strides = [1, 64], origin = 0, elements = 128>`: a layout.

    Element `index` stands at `origin + sum(index[i] * strides[i])` in a buffer of so
    many elements. A transposed, sliced, repeated or reshaped tensor has such a layout
    in the buffer of the tensor that it was made of, and a part of a concatenation in
    the buffer of the whole.
    """

    name = "sq.strided"

    strides: DenseArrayBase[IntegerType] = param_def()
    origin: IntegerAttr[IntegerType] = param_def()
    elements: IntegerAttr[IntegerType] = param_def()

    @staticmethod
    def of(strides: Sequence[int], origin: int, elements: int) -> StridedAttr:
        """The attribute from plain values."""
        return StridedAttr(int_array(strides), int_attr(origin), int_attr(elements))

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            parser.parse_keyword("strides")
            parser.parse_punctuation("=")
            strides = int_array(parse_ints(parser))
            parser.parse_punctuation(",")
            origin = int_attr(parse_field(parser, "origin"))
            parser.parse_punctuation(",")
            elements = int_attr(parse_field(parser, "elements"))
        return [strides, origin, elements]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        printer.print_string(
            f"<strides = {list(self.strides.get_values())}, "
            f"origin = {self.origin.value.data}, "
            f"elements = {self.elements.value.data}>"
        )

    def verify(self) -> None:
        """Nothing lies before the buffer."""
        found = [self.origin.value.data, *self.strides.get_values()]
        if min(found) < 0 or self.elements.value.data < 1:
            raise VerifyException(
                "#sq.strided needs strides and origin >= 0 and elements >= 1, got "
                f"{list(self.strides.get_values())}, {self.origin.value.data}, "
                f"{self.elements.value.data}"
            )
