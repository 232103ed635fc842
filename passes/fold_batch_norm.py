"""Fold batch norms into the weights before them.

What: batch norm after a convolution or a linear layer becomes part of its weight and
bias; any other becomes a product and a sum per channel.

Why: a batch norm reads and writes a whole tensor to do two flops per element, four
loads of statistics and a division per channel. Folded, it costs nothing at run time:
ResNet-50 has 53 of them.

How: with `s = scale / sqrt(variance + eps)` the new weight is `w * s` per filter and
the new bias is `(bias - mean) * s + shift`, in float64, rounded once. Weights that are
zero stay zero, so pruned weights stay pruned. A batch norm whose input has other uses,
or comes from elsewhere, is written as `x * s + (shift - mean * s)`, which `fuse` can
put into loops that exist anyway.

Invariants: needs and leaves `nn`. Batch norms with statistics that are no constants,
and those after a product with such a weight, are left alone or scaled. No batch norm
with constant statistics is left.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.pattern_rewriter import (
    PatternRewriter,
    RewritePattern,
    op_type_rewrite_pattern,
)

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray, WideArray
from edgec.passes.base import ReportingPass
from edgec.passes.constants import (
    constant_name,
    erase_unused,
    is_constant,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.rewriting import replace, rewrite_once

ProductOp = nn.ConvOp | nn.ConvTransposeOp | nn.LinearOp


class Affine(NamedTuple):
    """`x * scale + shift` per channel, in float64; both are `[C]`."""

    scale: WideArray
    shift: WideArray


def affine_of(parameters: Sequence[AnyArray], eps: float) -> Affine:
    """What a batch norm with scale, shift, mean and variance does to a channel."""
    scale, shift, mean, variance = (p.astype(np.float64) for p in parameters)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + eps)
        return Affine(factor, shift - mean * factor)


def multiply(weight: AnyArray, factor: WideArray) -> AnyArray:
    """The product in float64, rounded to the type of `weight`.

    Numpy converts piece by piece: there is no float64 copy of a large weight.
    """
    result = np.empty_like(weight)
    with np.errstate(all="ignore"):
        return np.multiply(
            weight, factor, out=result, dtype=np.float64, casting="same_kind"
        )


def scale_filters(weight: AnyArray, factor: WideArray) -> AnyArray:
    """`[F, …]` with each filter multiplied by its factor; zeros stay zero."""
    rows = weight.reshape(len(weight), -1)
    return multiply(rows, factor.reshape(-1, 1)).reshape(weight.shape)


def scale_transposed(weight: AnyArray, factor: WideArray, groups: int) -> AnyArray:
    """The same for the `[C, F / groups, *K]` of a transposed convolution.

    Filter `f` of group `g` stands in the rows of the input channels of group `g`.
    """
    channels, filters, *kernel = weight.shape
    split = weight.reshape(groups, channels // groups, filters, math.prod(kernel))
    scaled = multiply(split, factor.reshape(groups, 1, filters, 1))
    return scaled.reshape(weight.shape)


@dataclass
class FoldIntoProduct(RewritePattern):
    """`batch_norm(product(x, w, b))` to `product(x, w', b')`."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BatchNormOp, rewriter: PatternRewriter) -> None:
        """Fold if the product has constant weights and no other use."""
        product = op.input.owner
        if not isinstance(product, ProductOp) or not _is_foldable(op, product):
            return
        affine = _read_affine(op, self.weights)
        weight = read_constant(product.weight, self.weights)
        assert weight is not None
        if isinstance(product, nn.ConvTransposeOp):
            groups = product.groups.value.data
            scaled = scale_transposed(weight, affine.scale, groups)
        else:
            scaled = scale_filters(weight, affine.scale)
        shift = affine.shift
        if product.bias is not None:
            bias = read_constant(product.bias, self.weights)
            assert bias is not None
            shift = bias.astype(np.float64) * affine.scale + shift
        name = constant_name(product.weight)
        new_weight = make_constant(
            scaled, f"{name}.folded", product.weight, self.weights
        )
        new_bias = make_constant(
            shift, f"{name}.folded_bias", product.weight, self.weights
        )
        rewriter.insert([new_weight, new_bias])
        old = (*op.operands[1:], *product.operands[1:])
        rewriter.replace(op, _with_weights(product, new_weight, new_bias))
        rewriter.erase(product)
        erase_unused(*old)


def _is_foldable(op: nn.BatchNormOp, product: ProductOp) -> bool:
    """Whether all is constant and the product's filters are the norm's channels."""
    is_by_channel = (
        not isinstance(product, nn.LinearOp) or len(nn.shape_of(product.result)) == 2
    )
    is_read_once = product.result.has_one_use()
    constants = (*op.operands[1:], *product.operands[1:])
    return is_by_channel and is_read_once and all(map(is_constant, constants))


def _read_affine(op: nn.BatchNormOp, weights: WeightStore) -> Affine:
    parameters = [read_constant(value, weights) for value in op.operands[1:]]
    return affine_of([p for p in parameters if p is not None], op.eps.value.data)


def _with_weights(
    product: ProductOp, weight: nn.ConstantOp, bias: nn.ConstantOp
) -> ProductOp:
    """A copy of `product` with another weight and bias."""
    copy = product.clone()
    copy.operands = [product.input, weight.result, bias.result]
    return copy


@dataclass
class ScaleAndShift(RewritePattern):
    """`batch_norm(x)` to `x * [1, C, 1, 1] + [1, C, 1, 1]`."""

    weights: WeightStore

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BatchNormOp, rewriter: PatternRewriter) -> None:
        """Replace if the statistics are constant."""
        if not all(map(is_constant, op.operands[1:])):
            return
        channels = nn.shape_of(op.scale)[0]
        shape = (1, channels, *(1,) * (len(nn.shape_of(op.input)) - 2))
        factor, shift = (
            make_constant(
                part.reshape(shape),
                f"{constant_name(source)}.folded",
                op.scale,
                self.weights,
            )
            for part, source in zip(
                _read_affine(op, self.weights), (op.scale, op.shift), strict=True
            )
        )
        product = nn.BinaryOp("mul", op.input, factor.result)
        total = nn.BinaryOp("add", product.result, shift.result)
        old: tuple[SSAValue, ...] = tuple(op.operands[1:])
        replace(rewriter, op, [factor, shift, product, total])
        erase_unused(*old)


@dataclass(frozen=True)
class FoldBatchNorm(ReportingPass):
    """Fold batch norms into the weights before them, or make them a scale and a shift.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %w = nn.constant dense<[[[[2.0]], [[0.0]]], [[[1.0]], [[3.0]]]]>
        : tensor<2x2x1x1xf32>
      %scale = nn.constant dense<[2.0, 1.0]> : tensor<2xf32>
      %shift = nn.constant dense<[0.5, 1.0]> : tensor<2xf32>
      %mean = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
      %variance = nn.constant dense<[16.0, 4.0]> : tensor<2xf32>
      %y = nn.conv %x, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x4x4xf32>
      %z = nn.batch_norm %y, %scale, %shift, %mean, %variance {eps = 0.0 : f64}
        : (tensor<1x2x4x4xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>,
        tensor<2xf32>) -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
      %w = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.5]], [[1.5]]]]>
        : tensor<2x2x1x1xf32>
      %b = nn.constant dense<0.0> : tensor<2xf32>
      %z = nn.conv %x, %w, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32>, tensor<2xf32>)
        -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```
    """

    name = "fold-batch-norm"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return the counts `folded` and `scaled`."""
        weights = weights_of(ctx)
        patterns = {
            "folded": FoldIntoProduct(weights),
            "scaled": ScaleAndShift(weights),
        }
        return rewrite_once(op, patterns)
