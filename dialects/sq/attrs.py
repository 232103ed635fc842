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
    NoneAttr,
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

    A `[N, C, D, H, W]` tensor has `slab` too, the rows from one depth slice to the
    next, and a phase along each of the three axes:
    `#sq.lane<pitch = 9, slab = 8, plane = 352, origin = 96, phase = [1, 1, 1]>` puts
    row y of slice z at `((z div sz) slab + y div sy) pitch`. Rows between slices are
    zero as well.
    """

    name = "sq.lane"

    pitch: IntegerAttr[IntegerType] = param_def()
    plane: IntegerAttr[IntegerType] = param_def()
    origin: IntegerAttr[IntegerType] = param_def()
    phase: DenseArrayBase[IntegerType] = param_def()
    slab: IntegerAttr[IntegerType] | NoneAttr = param_def()

    @staticmethod
    def of(
        pitch: int,
        plane: int,
        origin: int,
        phase: Sequence[int] = (1, 1),
        *,
        slab: int | None = None,
    ) -> LaneAttr:
        """The attribute from plain values; a slab goes with three phases."""
        return LaneAttr(
            int_attr(pitch),
            int_attr(plane),
            int_attr(origin),
            int_array(phase),
            NoneAttr() if slab is None else int_attr(slab),
        )

    @property
    def slab_rows(self) -> int | None:
        """Rows from one depth slice to the next; None of a tensor of rank 4."""
        return None if isinstance(self.slab, NoneAttr) else self.slab.value.data

    @property
    def rank(self) -> int:
        """Of the tensors that can have this layout."""
        return 4 if isinstance(self.slab, NoneAttr) else 5

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse the form in the class docstring."""
        with parser.in_angle_brackets():
            pitch = int_attr(parse_field(parser, "pitch"))
            parser.parse_punctuation(",")
            slab: Attribute = NoneAttr()
            if parser.parse_optional_keyword("slab") is not None:
                parser.parse_punctuation("=")
                slab = int_attr(parser.parse_integer())
                parser.parse_punctuation(",")
            plane = int_attr(parse_field(parser, "plane"))
            parser.parse_punctuation(",")
            origin = int_attr(parse_field(parser, "origin"))
            parser.parse_punctuation(",")
            parser.parse_keyword("phase")
            parser.parse_punctuation("=")
            phase = int_array(parse_ints(parser))
        return [pitch, plane, origin, phase, slab]

    def print_parameters(self, printer: Printer) -> None:
        """Print the form in the class docstring."""
        phase = list(self.phase.get_values())
        slab = "" if self.slab_rows is None else f"slab = {self.slab_rows}, "
        printer.print_string(
            f"<pitch = {self.pitch.value.data}, {slab}plane = {self.plane.value.data}, "
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
        if self.slab_rows is not None and self.slab_rows < 1:
            raise VerifyException(
                f"#sq.lane slab must be positive, got {self.slab_rows}"
            )
        if len(phase) != self.rank - 2 or min(phase) < 1:
            wanted = "two" if self.rank == 4 else "three"
            slab = "without" if self.rank == 4 else "with"
            raise VerifyException(
                f"#sq.lane phase must be {wanted} positive numbers {slab} a slab, "
                f"got {phase}"
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
