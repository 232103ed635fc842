"""Patterns on convolutions, linear layers and matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from xdsl.ir import SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.context import WeightStore
from edgec.dialects import nn
from edgec.dialects.shapes import Shape
from edgec.passes.constants import (
    constant_name,
    is_constant,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.rewriting import copy_labels, producer, replace

Ints = tuple[int, ...]


class Window(NamedTuple):
    """The geometry of a convolution, one number per spatial dimension."""

    stride: Ints
    low: Ints
    high: Ints
    dilation: Ints

    @classmethod
    def of(cls, op: nn.ConvOp) -> Window:
        """That of `op`."""
        properties = (op.stride, op.padding_low, op.padding_high, op.dilation)
        return cls(*(tuple(p.get_values()) for p in properties))

    @property
    def is_padded(self) -> bool:
        """Whether any position outside of the input is read."""
        return any((*self.low, *self.high))


def rebuild(
    op: nn.ConvOp, data: SSAValue, weight: SSAValue, bias: SSAValue | None, to: Window
) -> nn.ConvOp:
    """`op` with other operands and another window; its attributes stay."""
    new = nn.ConvOp(
        data,
        weight,
        bias,
        stride=to.stride,
        padding_low=to.low,
        padding_high=to.high,
        dilation=to.dilation,
        groups=op.groups.value.data,
    )
    new.attributes.update(op.attributes)
    return new


class PadIntoConv(RewritePattern):
    """Zeros around the input of a convolution become its padding."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> None:
        """Fold if only spatial dimensions grow, with zeros."""
        pad = producer(op.input, nn.PadOp)
        if pad is None or not is_zero_border(pad, 0.0):
            return
        window = Window.of(op)
        low, high = (
            tuple(a + b for a, b in zip(values.get_values()[2:], own, strict=True))
            for values, own in ((pad.low, window.low), (pad.high, window.high))
        )
        window = window._replace(low=low, high=high)
        replace(rewriter, op, [rebuild(op, pad.input, op.weight, op.bias, window)])


def is_zero_border(op: nn.PadOp, value: float) -> bool:
    """Whether a pad adds `value` around the spatial dimensions, nothing else."""
    low, high = op.low.get_values(), op.high.get_values()
    return (
        op.kind.data is nn.PadKind.CONSTANT
        and op.value.value.data == value
        and not any((*low[:2], *high[:2]))
        and min(*low, *high) >= 0
    )


class WidenConv(RewritePattern):
    """A 1-D convolution becomes a 2-D one on a single row."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> None:
        """Replace if the input has rank 3."""
        if len(nn.shape_of(op.input)) != 3:
            return
        data, weight = (
            nn.ReshapeOp(value, with_row(nn.shape_of(value)))
            for value in (op.input, op.weight)
        )
        stride, low, high, dilation = Window.of(op)
        window = Window((1, *stride), (0, *low), (0, *high), (1, *dilation))
        conv = rebuild(op, data.result, weight.result, op.bias, window)
        back = nn.ReshapeOp(conv.result, nn.shape_of(op.result))
        copy_labels(op, back)
        replace(rewriter, op, [data, weight, conv, back])


def with_row(shape: Shape) -> Shape:
    """`[A, B, W]` as `[A, B, 1, W]`."""
    return (*shape[:2], 1, *shape[2:])


class StrideToSlice(RewritePattern):
    """A strided convolution that reads one tap reads a part of its input only."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.ConvOp, rewriter: PatternRewriter) -> None:
        """Slice first, if the kernel is 1x1 and nothing is padded."""
        window, kernel = Window.of(op), nn.shape_of(op.weight)[2:]
        if set(kernel) != {1} or window.is_padded or set(window.stride) == {1}:
            return
        shape, rank = nn.shape_of(op.input), len(kernel)
        part = nn.SliceOp(
            op.input,
            (0,) * len(shape),
            (*shape[:2], *nn.shape_of(op.result)[2:]),
            (1, 1, *window.stride),
        )
        plain = window._replace(stride=(1,) * rank)
        conv = rebuild(op, part.result, op.weight, op.bias, plain)
        replace(rewriter, op, [part, conv])


class MatmulToLinear(RewritePattern):
    """A product with a constant matrix is a linear layer."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.MatmulOp, rewriter: PatternRewriter) -> None:
        """Replace if the right side is one constant matrix; it is transposed."""
        if not is_constant(op.rhs) or len(nn.shape_of(op.rhs)) != 2:
            return
        weight = nn.TransposeOp(op.rhs, (1, 0))
        replace(rewriter, op, [weight, nn.LinearOp(op.lhs, weight.result)])


@dataclass
class AddToBias(RewritePattern):
    """A constant added to each filter of a product without bias becomes its bias."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BinaryOp, rewriter: PatternRewriter) -> None:
        """Fold from either side, if nobody else reads the product."""
        if op.kind.data is not nn.BinaryKind.ADD:
            return
        for value, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            product = value.owner
            if (
                isinstance(product, nn.ConvOp | nn.LinearOp)
                and product.bias is None
                and value.has_one_use()
                and nn.shape_of(value) == nn.shape_of(op.result)
                and is_per_filter(product, nn.shape_of(other))
                and is_constant(other)
            ):
                self._fold(op, product, other, rewriter)
                return

    def _fold(
        self,
        op: nn.BinaryOp,
        product: nn.ConvOp | nn.LinearOp,
        other: SSAValue,
        rewriter: PatternRewriter,
    ) -> None:
        array = read_constant(other, self.weights)
        assert array is not None
        filters = nn.shape_of(product.weight)[0]
        repeated = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), filters))
        hint = f"{constant_name(other)}.bias"
        bias = make_constant(repeated, hint, other, self.weights)
        if isinstance(product, nn.ConvOp):
            new = rebuild(
                product, product.input, product.weight, bias.result, Window.of(product)
            )
        else:
            new = nn.LinearOp(product.input, product.weight, bias.result)
            new.attributes.update(product.attributes)
        replace(rewriter, op, [bias, new])
        rewriter.erase(product)


def is_per_filter(product: nn.ConvOp | nn.LinearOp, shape: Shape) -> bool:
    """Whether a value of `shape` adds one number to each filter of `product`."""
    result = nn.shape_of(product.result)
    axis = 1 if isinstance(product, nn.ConvOp) else len(result) - 1
    padded = [*(1 for _ in range(len(result) - len(shape))), *shape]
    return padded.pop(axis) in (1, result[axis]) and set(padded) <= {1}
