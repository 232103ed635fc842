"""Attributes of `sq`: layouts, epilogue steps, kernel choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import (
    DenseArrayBase,
    DictionaryAttr,
    Float64Type,
    IntegerAttr,
    IntegerType,
    StringAttr,
    f64,
)
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import (
    irdl_attr_definition,
    param_def,
)
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from edgec.dialects.nn import (
    UNARY_PARAMS,
    BinaryKind,
    UnaryKind,
    int_array,
    int_attr,
)
from edgec.dialects.sq.parsing import parse_field, parse_ints


@irdl_attr_definition
class LaneAttr(ParametrizedAttribute):
    """`#sq.lane<pitch = 57, plane = 3249, origin = 58, phase = [1, 1]>`: a layout.

    Of a `[N, C, H, W]` tensor of f32; all numbers count elements. Position (y, x) of
    channel c of image n stands at `origin + (n C + c) plane sy sx + ((y mod sy) sx +
    x mod sx) plane + (y div sy) pitch + x div sx` with `phase = [sy, sx]`: a phase of
    [2, 2] makes a convolution of stride 2 read neighbouring positions (stride 1 has
    [1, 1]). Everything between rows, between planes and before `origin` is zero, and
    is kept zero by whoever writes the tensor; it serves as padding of convolutions.
    """

    name = "sq.lane"

    pitch: IntegerAttr[IntegerType] = param_def()
    plane: IntegerAttr[IntegerType] = param_def()
    origin: IntegerAttr[IntegerType] = param_def()
    phase: DenseArrayBase[IntegerType] = param_def()

    @staticmethod
    def of(
        pitch: int, plane: int, origin: int, phase: Sequence[int] = (1, 1)
    ) -> LaneAttr:
        """The attribute from plain values."""
        return LaneAttr(
            int_attr(pitch), int_attr(plane), int_attr(origin), int_array(phase)
        )

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            values: list[Attribute] = []
            for field in ("pitch", "plane", "origin"):
                values.append(int_attr(parse_field(parser, field)))
                parser.parse_punctuation(",")
            parser.parse_keyword("phase")
            parser.parse_punctuation("=")
            values.append(int_array(parse_ints(parser)))
        return values

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        phase = list(self.phase.get_values())
        printer.print_string(
            f"<pitch = {self.pitch.value.data}, plane = {self.plane.value.data}, "
            f"origin = {self.origin.value.data}, phase = {phase}>"
        )

    def verify(self) -> None:
        """Check the values."""
        numbers = [v.value.data for v in (self.pitch, self.plane, self.origin)]
        phase = tuple(self.phase.get_values())
        if numbers[0] < 1 or numbers[1] < numbers[0] or numbers[2] < 0:
            raise VerifyException(
                f"#sq.lane needs 1 <= pitch <= plane and origin >= 0, got {numbers}"
            )
        if len(phase) != 2 or min(phase) < 1:
            raise VerifyException(
                f"#sq.lane phase must be two positive numbers, got {phase}"
            )


@irdl_attr_definition
class StepAttr(ParametrizedAttribute):
    """One step of an epilogue, applied to every element in turn.

    `#sq.step<"relu">` and `#sq.step<"clamp", params = [0.0, 6.0]>` are kinds of
    `nn.unary`. `#sq.step<"add", operand = 0>` is a kind of `nn.binary` whose right side
    is extra operand 0 of the op, broadcast to the shape of the result; with
    `operand = 0, swap` the extra operand is the left side.
    """

    name = "sq.step"

    kind: StringAttr = param_def()
    params: DenseArrayBase[Float64Type] = param_def()
    operand: IntegerAttr[IntegerType] = param_def()
    swap: IntegerAttr[IntegerType] = param_def()

    @staticmethod
    def unary(kind: str, params: Sequence[float] = ()) -> StepAttr:
        """A step of one operand."""
        return StepAttr(StringAttr(kind), _floats(params), int_attr(-1), int_attr(0))

    @staticmethod
    def binary(kind: str, operand: int, *, swap: bool = False) -> StepAttr:
        """A step whose other side is extra operand number `operand`."""
        return StepAttr(
            StringAttr(kind), _floats(()), int_attr(operand), int_attr(int(swap))
        )

    @property
    def step(self) -> Step:
        """The step as plain values."""
        return Step(
            self.kind.data,
            tuple(self.params.get_values()),
            self.operand.value.data,
            bool(self.swap.value.data),
        )

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        params: list[float] = []
        operand, swap = -1, 0
        with parser.in_angle_brackets():
            kind = parser.parse_str_literal()
            while parser.parse_optional_punctuation(",") is not None:
                if parser.parse_optional_keyword("swap") is not None:
                    swap = 1
                elif parser.parse_optional_keyword("params") is not None:
                    parser.parse_punctuation("=")
                    params = parser.parse_comma_separated_list(
                        parser.Delimiter.SQUARE,
                        lambda: float(parser.parse_number()),
                    )
                else:
                    operand = parse_field(parser, "operand")
        return [StringAttr(kind), _floats(params), int_attr(operand), int_attr(swap)]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        step = self.step
        text = f'<"{step.kind}"'
        if step.params:
            text += f", params = [{', '.join(repr(float(p)) for p in step.params)}]"
        if step.operand >= 0:
            text += f", operand = {step.operand}" + (", swap" if step.swap else "")
        printer.print_string(text + ">")

    def verify(self) -> None:
        """Check the values."""
        step = self.step
        kinds = [k.value for k in (UnaryKind if step.operand < 0 else BinaryKind)]
        if step.kind not in kinds:
            raise VerifyException(
                f"#sq.step kind must be one of {kinds}, got '{step.kind}'"
            )
        wanted = UNARY_PARAMS.get(step.kind, 0)
        if len(step.params) != wanted:
            raise VerifyException(
                f"#sq.step {step.kind} takes {wanted} params, got {step.params}"
            )


def _floats(values: Iterable[float]) -> DenseArrayBase[Any]:
    return DenseArrayBase.from_list(f64, [float(v) for v in values])


@dataclass(frozen=True)
class Step:
    """A step of an epilogue as plain values; `operand` is -1 for a unary kind."""

    kind: str
    params: tuple[float, ...]
    operand: int
    swap: bool


@irdl_attr_definition
class KernelAttr(ParametrizedAttribute):
    """`#sq.kernel<"conv-lanes", {filters = 12, vectors = 2}>`: how an op is computed.

    A micro-kernel family and its schedule, chosen by `choose-kernel` and
    `layout-tuning`. Changes speed, never values beyond rounding.
    """

    name = "sq.kernel"

    family: StringAttr = param_def()
    schedule: DictionaryAttr = param_def()

    @staticmethod
    def of(family: str, schedule: Mapping[str, int]) -> KernelAttr:
        """The attribute from plain values."""
        return KernelAttr(
            StringAttr(family),
            DictionaryAttr({k: int_attr(v) for k, v in sorted(schedule.items())}),
        )

    @property
    def settings(self) -> dict[str, int]:
        """The schedule as plain values."""
        result: dict[str, int] = {}
        for key, value in self.schedule.data.items():
            assert isinstance(value, IntegerAttr)
            result[key] = value.value.data
        return result

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            family = parser.parse_str_literal()
            schedule: dict[str, Attribute] = {}
            if parser.parse_optional_punctuation(",") is not None:
                entries = parser.parse_comma_separated_list(
                    parser.Delimiter.BRACES,
                    lambda: _parse_entry(parser),
                )
                schedule = {key: int_attr(value) for key, value in entries}
        return [StringAttr(family), DictionaryAttr(schedule)]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        text = ", ".join(f"{k} = {v}" for k, v in sorted(self.settings.items()))
        tail = f", {{{text}}}" if text else ""
        printer.print_string(f'<"{self.family.data}"{tail}>')


def _parse_entry(parser: AttrParser) -> tuple[str, int]:
    key = parser.parse_identifier()
    parser.parse_punctuation("=")
    return key, parser.parse_integer()
