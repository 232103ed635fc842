"""Quantization with scales that are computed at run time, as float32 arithmetic.

Each function mirrors the definition of its op (`edgec.dialects.sq.quant_dynamic`), one
`nn` op for each rounded step.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, TensorType, f32
from xdsl.ir import Operation, SSAValue

from edgec.dialects import nn, sq
from edgec.passes.patterns.rewriting import copy_labels


@dataclass(frozen=True)
class Emitter:
    """Inserts ops before another one, labelled like it."""

    place: Operation

    def insert(self, op: Operation) -> SSAValue:
        """The result of `op`, which has its place now."""
        assert self.place.parent is not None
        copy_labels(self.place, op)
        self.place.parent.insert_op_before(op, self.place)
        return op.results[0]

    def number(self, value: float) -> SSAValue:
        """A constant of rank 0."""
        type_ = TensorType(f32, [])
        dense = DenseIntOrFPElementsAttr.from_list(type_, [value])
        return self.insert(nn.ConstantOp(dense, type_))

    def binary(self, kind: str, x: SSAValue | float, y: SSAValue | float) -> SSAValue:
        """`nn.binary`; numbers become constants."""
        lhs = x if isinstance(x, SSAValue) else self.number(x)
        rhs = y if isinstance(y, SSAValue) else self.number(y)
        return self.insert(nn.BinaryOp(kind, lhs, rhs))

    def unary(self, kind: str, x: SSAValue, *params: float) -> SSAValue:
        """`nn.unary`."""
        return self.insert(nn.UnaryOp(kind, x, params))


def choose(op: sq.ChooseQparamsOp) -> tuple[SSAValue, SSAValue]:
    """Scale and zero point."""
    e, kind, eps = Emitter(op), op.kind.data, op.eps.value.data
    low, high = map(float, op.range.get_values())
    a = e.binary("min", _extreme(e, op, "min"), 0.0)
    b = e.binary("max", _extreme(e, op, "max"), 0.0)
    if kind.endswith("symmetric"):
        widest = e.binary("max", e.unary("neg", a), b)
        zero_point = 128.0 if kind == "tensor-symmetric" and low >= 0 else 0.0
        zeros = e.binary("mul", widest, 0.0)
        if kind == "token-symmetric":
            scale = e.binary("div", e.binary("max", widest, eps), high)
        else:
            scale = e.binary("max", e.binary("div", widest, (high - low) / 2), eps)
        return scale, e.binary("add", zeros, zero_point)
    spread = e.binary("sub", b, a)
    scale = e.binary("max", e.binary("div", spread, high - low), eps)
    if kind == "tensor":
        steps = e.unary("round", e.binary("div", a, scale))
        return scale, e.unary("clamp", e.binary("sub", low, steps), low, high)
    zero_point = e.unary("clamp", _nearer(e, (a, b), scale, (low, high)), low, high)
    return scale, e.unary("round", zero_point)


def _extreme(e: Emitter, op: sq.ChooseQparamsOp, kind: str) -> SSAValue:
    """The least or largest number, in the shape of the results."""
    x, shape = op.input, nn.shape_of(op.scale)
    if op.kind.data.startswith("token"):
        axes = (len(nn.shape_of(x)) - 1,)
        return e.insert(nn.ReduceOp(kind, x, axes, keep_dims=True))
    axes = tuple(range(len(nn.shape_of(x))))
    found = e.insert(nn.ReduceOp(kind, x, axes, keep_dims=False))
    return e.insert(nn.ReshapeOp(found, shape))


def _nearer(
    e: Emitter,
    extremes: tuple[SSAValue, SSAValue],
    scale: SSAValue,
    ends: tuple[float, float],
) -> SSAValue:
    """The zero point from the end of the range that it fits better.

    There is no op that selects: one of both is multiplied by 1, the other by 0.
    """
    below, above = (e.binary("div", extreme, scale) for extreme in extremes)
    errors = [e.binary("add", *side) for side in ((ends[0], below), (ends[1], above))]
    error = e.binary("add", *errors)
    from_low = e.unary("relu", e.unary("sign", error))
    from_high = e.binary("sub", 1.0, from_low)
    return e.binary(
        "add",
        e.binary("mul", e.binary("sub", ends[0], below), from_low),
        e.binary("mul", e.binary("sub", ends[1], above), from_high),
    )


def round_trip(q: sq.QuantizeDynamicOp) -> SSAValue:
    """What `q` quantizes, quantized and dequantized."""
    e, type_ = Emitter(q), sq.quant_type(q.result)
    assert type_ is not None
    inverse = e.binary("div", 1.0, q.scale)
    rounded = e.unary("round", e.binary("mul", q.input, inverse))
    moved = e.binary("add", rounded, q.zero_point)
    integers = e.unary("clamp", moved, float(type_.low), float(type_.high))
    return e.binary("mul", e.binary("sub", integers, q.zero_point), q.scale)
