"""Rules for convolutions."""

# A rule takes the arguments of its overload, however many these are.
# ruff: noqa: PLR0913, PLR0917

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.ir import SSAValue

from edgec.dialects import nn
from edgec.importer.builder import Builder, spread

Ints = int | Sequence[int]


def _batched(
    b: Builder,
    x: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None,
    build: Callable[[SSAValue, SSAValue | None], SSAValue],
) -> SSAValue:
    """`build(x, bias)`, with a batch dimension of 1 around it where `x` has none.

    A bias that the model computes is added to the result.
    """
    b.require_constant(weight)
    window = [1] * (len(nn.shape_of(weight)) - 2)
    shape = nn.shape_of(x)
    has_batch = len(shape) == len(window) + 2
    x = x if has_batch else b.reshape(x, (1, *shape))
    if bias is None or b.constant_of(bias) is not None:
        y = build(x, bias)
    else:
        addend = b.reshape(bias, (*nn.shape_of(bias), *window))
        y = b.binary("add", build(x, None), addend)
    return y if has_batch else b.reshape(y, nn.shape_of(y)[1:])


def _conv(
    b: Builder,
    input: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> SSAValue:
    rank = len(nn.shape_of(weight)) - 2
    pads = spread(padding, rank)
    return _padded_conv(b, input, weight, bias, stride, (pads, pads), dilation, groups)


def _conv_named_padding(
    b: Builder,
    input: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None = None,
    stride: Ints = 1,
    padding: str = "valid",
    dilation: Ints = 1,
    groups: int = 1,
) -> SSAValue:
    kernel = nn.shape_of(weight)[2:]
    rank = len(kernel)
    totals = [0] * rank
    if padding == "same":
        totals = [
            d * (k - 1) for d, k in zip(spread(dilation, rank), kernel, strict=True)
        ]
    low = [total // 2 for total in totals]
    high = [total - total // 2 for total in totals]
    return _padded_conv(b, input, weight, bias, stride, (low, high), dilation, groups)


def _padded_conv(
    b: Builder,
    input: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None,
    stride: Ints,
    padding: tuple[list[int], list[int]],
    dilation: Ints,
    groups: int,
) -> SSAValue:
    rank = len(nn.shape_of(weight)) - 2

    def build(x: SSAValue, bias: SSAValue | None) -> SSAValue:
        return b.emit(
            nn.ConvOp(
                x,
                weight,
                bias,
                stride=spread(stride, rank),
                padding_low=padding[0],
                padding_high=padding[1],
                dilation=spread(dilation, rank),
                groups=groups,
            )
        )

    return _batched(b, input, weight, bias, build)


def _conv_transpose(
    b: Builder,
    input: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> SSAValue:
    rank = len(nn.shape_of(weight)) - 2

    def build(x: SSAValue, bias: SSAValue | None) -> SSAValue:
        return b.emit(
            nn.ConvTransposeOp(
                x,
                weight,
                bias,
                stride=spread(stride, rank),
                padding=spread(padding, rank),
                output_padding=spread(output_padding, rank),
                dilation=spread(dilation, rank),
                groups=groups,
            )
        )

    return _batched(b, input, weight, bias, build)


def _convolution(
    b: Builder,
    input: SSAValue,
    weight: SSAValue,
    bias: SSAValue | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> SSAValue:
    if not transposed:
        return _conv(b, input, weight, bias, stride, padding, dilation, groups)
    return _conv_transpose(
        b, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


RULES: dict[str, Callable[..., Any]] = {
    "conv1d.default": _conv,
    "conv2d.default": _conv,
    "conv3d.default": _conv,
    "conv1d.padding": _conv_named_padding,
    "conv2d.padding": _conv_named_padding,
    "conv3d.padding": _conv_named_padding,
    "conv_transpose1d.default": _conv_transpose,
    "conv_transpose2d.input": _conv_transpose,
    "conv_transpose3d.input": _conv_transpose,
    "convolution.default": _convolution,
}
