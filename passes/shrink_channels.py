"""Remove channels that nobody needs, with all that makes and reads them.

What: a channel whose filter has no weights, or that no filter reads, goes: the filter's
row and bias, the channel in everything between, and the columns of the layers that read
it.

Why: a pruner leaves a filter as a row of zeros. Stored sparsely it costs no
multiply-add, yet its plane is still written, activated, pooled, added and read. A
smaller tensor costs nothing of that, and the layers stay dense, which the fastest
kernels are for.

How: channels are tied to those that must go with them (`analysis.channels`): both sides
of a sum, the parts of a concatenation, the features after flattening. A filter without
weights gives its bias, a number that activations and pools pass on
(`analysis.channel_values`). A layer that reads such a channel takes it into its bias if
that is exact, that is if the number is zero or nothing is padded; at the borders of a
padded convolution, where zeros are read instead, several channels with a number become
one. Then, from the results back, live filters need the channels that they have weights
for (`analysis.channel_liveness`), and all others go at once, in all tensors.

Invariants: needs and leaves `nn`. Values change by rounding at most, and only where a
number went into a bias or several channels into one; a module without such channels
stays as it is. Function arguments and results keep their shapes. Tensors keep one
channel, and the groups of a convolution stay alike; what is held for that is counted.

Source: Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017), section 3; Fang
et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023) for what goes together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue
from xdsl.rewriter import Rewriter

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.channel_liveness import Liveness, live_groups
from edgec.passes.analysis.channel_values import channel_values
from edgec.passes.analysis.channels import Bools, Ints, analyse, is_spread
from edgec.passes.analysis.products import Product, input_values, products
from edgec.passes.base import ReportingPass
from edgec.passes.constants import (
    constant_name,
    erase_unused,
    make_constant,
    read_constant,
)


def places(live: Bools) -> Ints:
    """`[n, k]`: where the `k` live entries of each of the `n` live rows stand."""
    rows = live[live.any(axis=1)]
    return np.nonzero(rows)[1].reshape(len(rows), -1)


def shrunk_weight(weight: AnyArray, filters: Bools, channels: Bools) -> AnyArray:
    """`[G, F, C, T]` with the live groups, filters and channels only.

    Live groups have equally many live filters, and equally many live channels.
    """
    groups = np.flatnonzero(filters.any(axis=1))[:, None, None]
    return weight[groups, places(filters)[:, :, None], places(channels)[:, None]]


@dataclass
class Shrinker:
    """What goes, and the rewrites that make it go; types change last."""

    weights: WeightStore
    state: Liveness
    counts: dict[str, int]
    replaced: list[SSAValue] = field(default_factory=list[SSAValue])
    """Constants that may have no use any more."""

    def loses(self, value: SSAValue) -> bool:
        """Whether a tensor loses channels."""
        return value in self.state.channels.axes and not self.state.of(value).all()

    def shrink_product(self, product: Product) -> None:
        """Take rows and columns out of a weight, and what they add into the bias."""
        op, state = product.op, self.state
        filters, inputs = state.filters(product), state.inputs(product)
        if filters.all() and inputs.all():
            return
        values = input_values(product, state.channels, state.values)
        merged = product.merged(filters, ~inputs, values)
        weight = shrunk_weight(merged, filters, inputs)
        groups, rows, columns, _ = weight.shape
        old_shape = nn.shape_of(op.weight)
        shape = (groups * rows, columns, *old_shape[2:])
        bias = product.with_bias(filters, ~inputs, values)
        operands = [op.input, self.add(op, weight.reshape(shape), op.weight)]
        if bias is not None:
            operands.append(self.add(op, bias[filters], op.weight, "bias"))
        self.replaced += op.operands[1:]
        op.operands = operands
        if isinstance(op, nn.ConvOp):
            op.properties["groups"] = nn.int_attr(groups)
        self.counts["filters_removed"] += old_shape[0] - shape[0]
        self.counts["weights_removed"] += math.prod(old_shape) - math.prod(shape)

    def shrink_constants(self, op: nn.BinaryOp | nn.ConcatOp) -> None:
        """Take what stands for channels that go out of constant operands."""
        start = 0
        axis, live = self.state.channels.axes[op.result], self.state.of(op.result)
        is_joined = isinstance(op, nn.ConcatOp) and op.axis.value.data == axis
        for number, value in enumerate(op.operands):
            at = axis - len(nn.shape_of(op.result))
            part = live
            if is_joined:
                part = live[start : start + nn.shape_of(value)[at]]
                start += len(part)
            array = read_constant(value, self.weights)
            if array is None or is_spread(value, at, len(part)) or part.all():
                continue
            less = array.compress(part, array.ndim + at)
            op.operands[number] = self.add(op, less, value)
            self.replaced.append(value)

    def shrink_slice(self, op: nn.SliceOp) -> None:
        """Channels before the first may be gone."""
        axis, starts = self.state.channels.axes[op.input], list(op.starts.get_values())
        starts[axis] = int(self.state.of(op.input)[: starts[axis]].sum())
        op.properties["starts"] = nn.int_array(starts)

    def add(
        self, op: Operation, array: AnyArray, old: SSAValue, what: str = ""
    ) -> SSAValue:
        """A new constant before `op`, named after an old one."""
        hint = ".".join(filter(None, (constant_name(old), "shrunk", what)))
        constant = make_constant(array, hint, old, self.weights)
        assert op.parent is not None
        op.parent.insert_op_before(constant, op)
        constant.result.name_hint = old.name_hint
        return constant.result

    def retype(self, value: SSAValue) -> None:
        """Give a tensor its new shape."""
        type_ = nn.tensor_type(value)
        shape, live = list(type_.get_shape()), self.state.of(value)
        shape[self.state.channels.axes[value]] = int(live.sum())
        new = TensorType(type_.element_type, shape, type_.encoding)
        Rewriter.replace_value_with_new_type(value, new)


@dataclass(frozen=True)
class ShrinkChannels(ReportingPass):
    """Remove channels that nobody needs, with all that makes and reads them.

    Filter 0 of the first convolution has no weights, and its bias is not above zero.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> {
      %v = nn.constant dense<[[[[0.0]]], [[[2.0]]]]> : tensor<2x1x1x1xf32>
      %b = nn.constant dense<[-1.0, 3.0]> : tensor<2xf32>
      %w = nn.constant dense<[[[[4.0]], [[5.0]]]]> : tensor<1x2x1x1xf32>
      %0 = nn.conv %x, %v, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x1x4x4xf32>, tensor<2x1x1x1xf32>, tensor<2xf32>)
        -> tensor<1x2x4x4xf32>
      %1 = nn.unary relu %0 : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
      %2 = nn.conv %1, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32>) -> tensor<1x1x4x4xf32>
      func.return %2 : tensor<1x1x4x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32> {
      %v = nn.constant dense<2.0> : tensor<1x1x1x1xf32>
      %b = nn.constant dense<3.0> : tensor<1xf32>
      %0 = nn.conv %x, %v, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>, tensor<1xf32>)
        -> tensor<1x1x4x4xf32>
      %1 = nn.unary relu %0 : (tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
      %w = nn.constant dense<5.0> : tensor<1x1x1x1xf32>
      %2 = nn.conv %1, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x1x4x4xf32>, tensor<1x1x1x1xf32>) -> tensor<1x1x4x4xf32>
      func.return %2 : tensor<1x1x4x4xf32>
    }
    ```
    """

    name = "shrink-channels"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return counts of what was removed, and of dead channels that had to stay.

        A weight that has taken others into it may leave a channel without a reader, so
        what shrank is looked at again.
        """
        total = self._once(weights_of(ctx), op)
        removed = total["weights_removed"]
        while removed:
            more = self._once(weights_of(ctx), op)
            removed = more["weights_removed"]
            held = more["channels_held"]
            total = {name: total[name] + more[name] for name in total}
            total["channels_held"] = held
        return total

    def _once(self, weights: WeightStore, op: ModuleOp) -> dict[str, int]:
        """Remove what one analysis finds."""
        channels = analyse(op)
        layers = products(op, channels, weights)
        values = channel_values(op, channels, layers, weights)
        state, held = live_groups(channels, tuple(layers.values()), values)
        counts = {"filters_removed": 0, "weights_removed": 0, "channels_held": held}
        shrinker = Shrinker(weights, state, counts)
        lost = [value for value in channels.axes if shrinker.loses(value)]
        for one in list(op.walk()):
            if isinstance(one, nn.ConvOp | nn.LinearOp) and one in layers:
                shrinker.shrink_product(layers[one])
            elif not any(map(shrinker.loses, (*one.operands, *one.results))):
                continue
            elif isinstance(one, nn.BinaryOp | nn.ConcatOp):
                shrinker.shrink_constants(one)
            elif isinstance(one, nn.SliceOp):
                shrinker.shrink_slice(one)
        for value in lost:
            shrinker.retype(value)
        erase_unused(*shrinker.replaced)
        return counts
