"""Chains of ops that `fuse` makes one: what may join them, and how they end.

A chain is a product (or an elementwise op), the elementwise ops that follow one another
from its result, and on integers the `sq.quantize` behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.dialects.shapes import Shape
from edgec.passes.analysis.mapping import (
    MappingType,
    Verdict,
    fusion,
    mapping_type,
)
from edgec.passes.analysis.quantized import STEP_RANKS

Product = nn.ConvOp | nn.LinearOp | nn.MatmulOp
Head = Product | sq.ConvOp | sq.LinearOp
"""What starts a chain besides elementwise ops; of `sq` those on integers."""
Pointwise = nn.UnaryOp | nn.BinaryOp


def pad_rank(shape: Shape, rank: int) -> Shape | None:
    """`shape` with ones before or without ones before it, so that it has `rank`."""
    extra = len(shape) - rank
    if extra <= 0:
        return (1,) * -extra + shape
    return shape[extra:] if set(shape[:extra]) == {1} else None


def form_for_conv(shape: Shape, result: Shape) -> Shape | None:
    """The form in which an epilogue reads an extra operand; None if it cannot.

    `result` is `[N, C, *S]`. The form is that shape, or `[1, C, 1, …]` or
    `[N, C, 1, …]`, to which one number is repeated.
    """
    padded = pad_rank(shape, len(result))
    if padded is None or padded == result:
        return padded
    batch, channels, *spatial = padded
    if batch in (1, result[0]) and channels in (1, result[1]) and set(spatial) <= {1}:
        return (batch, result[1], *spatial)
    return None


def form_for_linear(shape: Shape, result: Shape) -> Shape | None:
    """The same for `[…, N]`: that shape, or `[N]`."""
    padded = pad_rank(shape, len(result))
    if padded is None or padded == result:
        return padded
    *rows, columns = padded
    is_vector = set(rows) <= {1} and columns in (1, result[-1])
    return (result[-1],) if is_vector else None


class Extra(NamedTuple):
    """An extra operand: an operand of a binary op, and the form in which it is read.

    Not the value itself, which changes when the chain that it ends is replaced.
    """

    op: nn.BinaryOp
    operand: int
    form: Shape

    in_bytes: bool
    """Whether the tensor is read from which the operand is dequantized."""

    @property
    def value(self) -> SSAValue:
        """The operand as it is now."""
        value = self.op.operands[self.operand]
        if not self.in_bytes:
            return value
        assert isinstance(value.owner, sq.DequantizeOp)
        return value.owner.input


@dataclass
class Chain:
    """Ops that become one; `head` is a product or the first elementwise op."""

    head: Head | Pointwise
    position: int
    """Where the head stands in its block."""
    last: Operation
    mapping: MappingType
    """Of all ops together."""
    tail: list[Pointwise] = field(default_factory=list[Pointwise])
    """The elementwise ops, in order; the head too if it is one."""
    start: int | None = None
    """Which operand of the head is the input of a chain without product."""
    steps: list[sq.StepAttr] = field(default_factory=list[sq.StepAttr])
    extras: list[Extra] = field(default_factory=list[Extra])
    reads_bytes: bool = False
    """Whether the input of a chain without product is what it is dequantized from."""
    quantize: sq.QuantizeOp | None = None
    """What ends the chain: nothing joins after it."""

    @property
    def is_integer(self) -> bool:
        """Whether the head multiplies integers: its kernel reads and writes bytes."""
        head = self.head
        return isinstance(head, sq.ConvOp | sq.LinearOp) and sq.has_integers(head.input)

    @property
    def dequantizes_extras(self) -> bool:
        """Whether the kernel of the head reads extra operands in bytes."""
        return isinstance(self.head, sq.ConvOp)

    @property
    def rank(self) -> tuple[bool, int]:
        """Of two chains the one with the higher rank takes an op."""
        return (isinstance(self.head, Head), self.position)

    def form(self, shape: Shape) -> Shape | None:
        """The form of an extra operand of `shape`; None if it cannot be one."""
        result = nn.shape_of(self.last)
        if isinstance(self.head, nn.ConvOp | sq.ConvOp):
            return form_for_conv(shape, result)
        if isinstance(self.head, nn.LinearOp | sq.LinearOp):
            return form_for_linear(shape, result)
        return shape

    def accepts(self, op: Pointwise) -> bool:
        """Whether `op`, which reads the end of this chain, can join it."""
        end = self.last.results[0]
        if not end.has_one_use() or nn.shape_of(op.result) != nn.shape_of(end):
            return False
        operand = list(op.operands).index(end)
        if fusion(self.mapping, mapping_type(op, operand)).verdict is not Verdict.FUSE:
            return False
        if isinstance(op, nn.UnaryOp):
            return True
        if isinstance(self.head, sq.ConvOp) and self.head.groups.value.data > 1:
            return False  # integer kernels of depthwise layers have unary steps only
        other = op.rhs if op.lhs is end else op.lhs
        return self.form(nn.shape_of(other)) is not None

    def append(self, op: Pointwise, operand: int) -> None:
        """Add a step, for which operand number `operand` is the running value."""
        self.tail.append(op)
        self.last = op
        self.mapping = fusion(self.mapping, mapping_type(op, operand)).result
        kind = op.kind.data.value
        if isinstance(op, nn.UnaryOp):
            self.steps.append(sq.StepAttr.unary(kind, op.parameters))
            return
        form = self.form(nn.shape_of(op.operands[1 - operand]))
        assert form is not None
        other = op.operands[1 - operand]
        in_bytes = (
            self.dequantizes_extras
            and is_readable(other)
            and form == nn.shape_of(other)
        )
        swap = operand == 1
        self.steps.append(sq.StepAttr.binary(kind, len(self.extras), swap=swap))
        self.extras.append(Extra(op, 1 - operand, form, in_bytes))

    def end(self, op: Operation) -> bool:
        """Attempt to end the chain in bytes with `op`, which quantizes its result."""
        value, type_ = self.last.results[0], sq.quant_type(op.results[0])
        if not isinstance(op, sq.QuantizeOp) or type_ is None:
            return False
        if not self.is_integer and self.forms_on_quads(in_bytes=True) is None:
            return False
        if not value.has_one_use() or sq.why_no_activation(type_) is not None:
            return False
        self.quantize = self.last = op
        return True

    def forms_on_quads(self, *, in_bytes: bool) -> list[Shape] | None:
        """The forms of the extra operands of elementwise steps on quads.

        None if the chain has a product, or if operands broadcast in other ways, or if
        its result is a matrix that does not become bytes.
        """
        result = nn.shape_of(self.last)
        if self.start is None or len(result) not in STEP_RANKS:
            return None
        if len(result) == 2 and not in_bytes:
            return None
        if nn.shape_of(self.head.operands[self.start]) != result:
            return None
        shapes = [nn.shape_of(x.op.operands[x.operand]) for x in self.extras]
        forms = [form_for_conv(shape, result) for shape in shapes]
        found = [form for form in forms if form is not None]
        return found if len(found) == len(forms) else None

    def take_bytes(self) -> None:
        """Let steps read quads where one of their operands is made of it.

        Nothing is to be appended after this.
        """
        if isinstance(self.head, sq.LinearOp) and self.quantize is not None:
            self.extras = [self._in_bytes(x, x.form) for x in self.extras]
            return
        forms = self.forms_on_quads(in_bytes=self.quantize is not None)
        if forms is None:
            return
        assert self.start is not None
        start = self.head.operands[self.start]
        extras = [
            self._in_bytes(x, form) for x, form in zip(self.extras, forms, strict=True)
        ]
        reads = is_readable(start)
        if reads or self.quantize is not None or any(x.in_bytes for x in extras):
            self.extras, self.reads_bytes = extras, reads

    def _in_bytes(self, extra: Extra, form: Shape) -> Extra:
        """An extra operand in its form, in bytes if it has the shape of the result."""
        value = extra.op.operands[extra.operand]
        is_whole = nn.shape_of(value) == nn.shape_of(self.last)
        return Extra(extra.op, extra.operand, form, is_whole and is_readable(value))


def is_readable(value: SSAValue) -> bool:
    """Whether a tensor is dequantized from bytes that kernels can read themselves."""
    if not isinstance(value.owner, sq.DequantizeOp):
        return False
    type_ = sq.quant_type(value.owner.input)
    return type_ is not None and sq.why_no_activation(type_) is None
