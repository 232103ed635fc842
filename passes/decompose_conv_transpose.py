"""Write transposed convolutions as convolutions.

What: `nn.conv_transpose` becomes `nn.conv` and ops that move elements.

Why: one family of kernels, with its layouts, schedules and epilogues, serves both. The
usual upsampling by 2 with a 2x2 kernel becomes a 1x1 convolution, the best case of the
dense kernel, and a copy.

How: if the kernel is as large as the stride, every output position has one tap: each
filter becomes one 1x1 filter per tap, and the results are shuffled into place. Else
zeros are inserted between the input's elements (`stride - 1` of them) and a convolution
of stride 1 with mirrored kernels follows; padding `p` becomes `dilation (k - 1) - p`.

Invariants: needs constant weights: others are left alone. Leaves no other
`nn.conv_transpose`. Sums run over the same products; zeros may be added. What was said
of the layer (`sq.why_float`) stands on the convolution.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning"
(2016), section 4; Shi et al., "Real-Time Single Image and Video Super-Resolution Using
an Efficient Sub-Pixel Convolutional Neural Network" (CVPR 2016), for the shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray
from edgec.passes.base import ReportingPass
from edgec.passes.constants import (
    constant_name,
    erase_unused,
    is_constant,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.rewriting import replace, rewrite_once


def mirror(weight: AnyArray, groups: int) -> AnyArray:
    """`[C, F / groups, *K]` to `[F, C / groups, *K]`, each kernel mirrored."""
    channels, filters, *kernel = weight.shape
    split = weight.reshape(groups, channels // groups, filters, *kernel)
    merged = split.swapaxes(1, 2).reshape(-1, channels // groups, *kernel)
    return np.ascontiguousarray(np.flip(merged, tuple(range(2, merged.ndim))))


def split_taps(weight: AnyArray) -> AnyArray:
    """`[C, F, *K]` to 1x1 filters `[F * taps, C, 1, …]`: filter by filter, all taps."""
    channels, filters, *kernel = weight.shape
    flat = weight.reshape(channels, filters * math.prod(kernel))
    return np.ascontiguousarray(flat.T).reshape(-1, channels, *(1 for _ in kernel))


def interleave(rank: int) -> tuple[int, ...]:
    """The permutation of `[N, F, *taps, *S]` to `[N, F, S1, tap1, S2, tap2, …]`."""
    pairs = ((2 + rank + axis, 2 + axis) for axis in range(rank))
    return (0, 1, *(axis for pair in pairs for axis in pair))


def conv_padding(
    op: nn.ConvTransposeOp,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after the input with `stride - 1` zeros after each element."""
    kernel = nn.shape_of(op.weight)[2:]
    low = [
        d * (k - 1) - p
        for d, k, p in zip(
            op.dilation.get_values(), kernel, op.padding.get_values(), strict=True
        )
    ]
    high = [
        before + extra - (s - 1)
        for before, extra, s in zip(
            low, op.output_padding.get_values(), op.stride.get_values(), strict=True
        )
    ]
    return tuple(low), tuple(high)


@dataclass
class ShuffleTaps(RewritePattern):
    """Kernel as large as the stride: a 1x1 convolution and a shuffle."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self, op: nn.ConvTransposeOp, rewriter: PatternRewriter
    ) -> None:
        """Replace if no two taps meet in one position."""
        kernel = nn.shape_of(op.weight)[2:]
        weight = _read(op, self.weights)
        is_plain = (
            op.groups.value.data == 1
            and op.stride.get_values() == kernel
            and not any((*op.padding.get_values(), *op.output_padding.get_values()))
            and set(op.dilation.get_values()) == {1}
        )
        if weight is None or not is_plain:
            return
        name, rank, taps = constant_name(op.weight), len(kernel), math.prod(kernel)
        new_weight = make_constant(
            split_taps(weight), f"{name}.taps", op.weight, self.weights
        )
        biases = [] if op.bias is None else [self._repeated(op.bias, taps)]
        conv = nn.ConvOp(
            op.input,
            new_weight.result,
            biases[0].result if biases else None,
            stride=(1,) * rank,
            padding_low=(0,) * rank,
            padding_high=(0,) * rank,
            dilation=(1,) * rank,
        )
        conv.attributes.update(op.attributes)
        batch, _, *spatial = nn.shape_of(op.input)
        apart = nn.ReshapeOp(conv.result, (batch, weight.shape[1], *kernel, *spatial))
        woven = nn.TransposeOp(apart.result, interleave(rank))
        merged = nn.ReshapeOp(woven.result, nn.shape_of(op.result))
        old = op.operands[1:]
        ops = [new_weight, *biases, conv, apart, woven, merged]
        replace(rewriter, op, ops)
        erase_unused(*old)

    def _repeated(self, bias: SSAValue, taps: int) -> nn.ConstantOp:
        """The bias of a filter for each of its taps."""
        array = read_constant(bias, self.weights)
        assert array is not None
        hint = f"{constant_name(bias)}.taps"
        return make_constant(np.repeat(array, taps), hint, bias, self.weights)


@dataclass
class InsertZeros(RewritePattern):
    """Any other: zeros between elements, then a convolution with mirrored kernels."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self, op: nn.ConvTransposeOp, rewriter: PatternRewriter
    ) -> None:
        """Replace if the weight is constant."""
        weight = _read(op, self.weights)
        if weight is None:
            return
        groups, rank = op.groups.value.data, weight.ndim - 2
        new_weight = make_constant(
            mirror(weight, groups),
            f"{constant_name(op.weight)}.mirrored",
            op.weight,
            self.weights,
        )
        ops: list[Operation] = [
            new_weight,
            *_spread(op.input, op.stride.get_values()),
        ]
        value = ops[-1].results[0] if len(ops) > 1 else op.input
        low, high = conv_padding(op)
        if min(*low, *high) < 0:
            # A convolution cannot crop, so all padding is done before it.
            ops.append(nn.PadOp("constant", value, (0, 0, *low), (0, 0, *high)))
            value, low, high = ops[-1].results[0], (0,) * rank, (0,) * rank
        conv = nn.ConvOp(
            value,
            new_weight.result,
            op.bias,
            stride=(1,) * rank,
            padding_low=low,
            padding_high=high,
            dilation=op.dilation.get_values(),
            groups=groups,
        )
        conv.attributes.update(op.attributes)
        old = op.weight
        replace(rewriter, op, [*ops, conv])
        erase_unused(old)


def _read(op: nn.ConvTransposeOp, weights: WeightStore) -> AnyArray | None:
    """The weight, if it and the bias are constant."""
    if not all(map(is_constant, op.operands[1:])):
        return None
    return read_constant(op.weight, weights)


def _spread(value: SSAValue, stride: Sequence[int]) -> list[Operation]:
    """Ops that put `stride - 1` zeros after each element; none for stride 1."""
    if set(stride) == {1}:
        return []
    batch, channels, *spatial = nn.shape_of(value)
    apart = nn.ReshapeOp(
        value, (batch, channels, *(n for s in spatial for n in (s, 1)))
    )
    high = (0, 0, *(n for s in stride for n in (0, s - 1)))
    padded = nn.PadOp("constant", apart.result, (0,) * len(high), high)
    sizes = (size * s for size, s in zip(spatial, stride, strict=True))
    return [apart, padded, nn.ReshapeOp(padded.result, (batch, channels, *sizes))]


@dataclass(frozen=True)
class DecomposeConvTranspose(ReportingPass):
    """Write transposed convolutions as convolutions.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x8x8xf32> {
      %w = nn.constant dense<[[[[1.0, 2.0], [3.0, 4.0]]]]> : tensor<1x1x2x2xf32>
      %b = nn.constant dense<5.0> : tensor<1xf32>
      %y = nn.conv_transpose %x, %w, %b {stride = array<i64: 2, 2>,
        padding = array<i64: 0, 0>, output_padding = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x1x4x4xf32>, tensor<1x1x2x2xf32>, tensor<1xf32>)
        -> tensor<1x1x8x8xf32>
      func.return %y : tensor<1x1x8x8xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x8x8xf32> {
      %w = nn.constant dense<[[[[1.0]]], [[[2.0]]], [[[3.0]]], [[[4.0]]]]>
        : tensor<4x1x1x1xf32>
      %b = nn.constant dense<5.0> : tensor<4xf32>
      %0 = nn.conv %x, %w, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x1x4x4xf32>, tensor<4x1x1x1xf32>, tensor<4xf32>)
        -> tensor<1x4x4x4xf32>
      %1 = nn.reshape %0 : (tensor<1x4x4x4xf32>) -> tensor<1x1x2x2x4x4xf32>
      %2 = nn.transpose %1 {permutation = array<i64: 0, 1, 4, 2, 5, 3>}
        : (tensor<1x1x2x2x4x4xf32>) -> tensor<1x1x4x2x4x2xf32>
      %y = nn.reshape %2 : (tensor<1x1x4x2x4x2xf32>) -> tensor<1x1x8x8xf32>
      func.return %y : tensor<1x1x8x8xf32>
    }
    ```
    """

    name = "decompose-conv-transpose"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return the counts `shuffled` and `inserted`, by form."""
        weights = weights_of(ctx)
        patterns = {
            "shuffled": ShuffleTaps(weights),
            "inserted": InsertZeros(weights),
        }
        return rewrite_once(op, patterns)
