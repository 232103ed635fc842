"""Let tensors have their channels in the order in which filters are stored.

What: where the rows of an encoded weight hold filters in another order than the
tensor's channels, the channels take the order of the rows. All that is tied to them
moves along: weights and constants by channel in between, and the columns of the layers
that read the tensor.

Why: an order that suits the zeros is not that of the model. A kernel that stores each
filter's plane somewhere else looks the place up in a table, and a linear layer on few
rows, whose lanes are filters, cannot store them at all. As the order of the channels is
nobody's business but that of the layers around them, it can be changed once, here.

How: channels are tied to those that must move with them (`analysis.channels`), and
every layer with an encoded weight asks for its order (`analysis.channel_orders`):
linear layers first, whose kernel needs it, then those with most multiply-adds. A layer
that cannot have its order, as another one's sum has the same channels, or the caller
reads them, still moves with the others; its rows say which of the new channels they
are. Blocks of compressed columns may stand in any order, so one that only needs other
blocks first has them sorted.

Invariants: needs and leaves `nn` and `sq.weight`; before `fuse`. Weights are moved, not
changed, but sums run over the columns of a filter in another order, so results may
differ by rounding. Function arguments and results keep their order.

Source: Pool and Yu, "Channel Permutations for N:M Sparsity" (NeurIPS 2021), for the
permutation of a layer's channels that its neighbours take over; filters are put in
order as in PatDNN (ASPLOS 2020), section 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import columns, fkw, nn, sq
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.channel_orders import ChannelOrders, moves
from edgec.passes.analysis.channels import (
    Ints,
    analyse,
    is_depthwise,
    is_spread,
    size_along,
)
from edgec.passes.base import ReportingPass
from edgec.passes.constants import (
    constant_name,
    erase_unused,
    make_constant,
    read_constant,
)

Storage = columns.Columns | fkw.Fkw
Layer = nn.ConvOp | nn.LinearOp


def permute(storage: Storage, filters: Ints, channels: Ints, taps: int) -> Storage:
    """The storage of `weight[filters][:, channels]`, in the best order of blocks."""
    if isinstance(storage, fkw.Fkw):
        return fkw.permute(storage, filters, channels)
    return columns.straighten(columns.permute(storage, filters, channels, taps))


def permute_dense(
    weight: AnyArray, groups: int, filters: Ints, channels: Ints
) -> AnyArray:
    """A weight `[F, C, *K]` whose filters and channels move inside `groups`."""
    group = np.arange(groups)[:, None, None]
    rows = filters.reshape(groups, -1, 1) % (len(filters) // groups)
    inputs = channels.reshape(groups, 1, -1) % (len(channels) // groups)
    grid = weight.reshape(groups, len(filters) // groups, *weight.shape[1:])
    return grid[group, rows, inputs].reshape(weight.shape)


@dataclass(frozen=True)
class Wish:
    """A layer, and the order of its result's channels that its weight is stored in."""

    layer: Layer
    order: Ints
    work: int
    """Multiply-adds."""

    @property
    def rank(self) -> tuple[bool, int]:
        """Larger ones come first."""
        return isinstance(self.layer, nn.LinearOp), self.work


@dataclass
class Permuter:
    """What moves, and the rewrites that move it."""

    weights: WeightStore
    orders: ChannelOrders
    counts: dict[str, int]
    made: dict[tuple[SSAValue, bytes, bytes], SSAValue] = field(
        default_factory=dict[tuple[SSAValue, bytes, bytes], SSAValue]
    )
    """What became of each weight: layers that share one share what it became."""
    replaced: list[SSAValue] = field(default_factory=list[SSAValue])
    """Constants that may have no use any more."""

    def storage(self, op: sq.WeightOp) -> Storage | None:
        """The arrays of a weight; None if its encoding has no order of filters."""
        if not isinstance(op.encoding, sq.ColumnsAttr | sq.PatternAttr):
            return None
        names = op.resource_names()
        arrays = {key: self.weights[name] for key, name in names.items()}
        return op.encoding.storage(arrays)

    def wish(self, layer: Layer) -> Wish | None:
        """The order of a layer's rows; None if it has none, or any would do."""
        source = layer.weight.owner
        if not isinstance(source, sq.WeightOp):
            return None
        storage = self.storage(source)
        if isinstance(storage, columns.Columns):
            storage = columns.straighten(storage) if storage.block > 1 else None
        if storage is None:
            return None
        positions = math.prod(nn.shape_of(layer.result)) // len(storage.reorder)
        work = storage.weight.size * positions
        return Wish(layer, storage.reorder.astype(np.int64), work)

    def grant(self, layers: list[Layer]) -> None:
        """Settle the orders of the channels, in the order of the wishes' ranks."""
        wishes = [wish for wish in map(self.wish, layers) if wish is not None]
        for wish in sorted(wishes, key=lambda wish: wish.rank, reverse=True):
            is_granted = self.orders.settle(wish.layer.result, wish.order)
            self.counts["permutations_pushed"] += is_granted and moves(wish.order)

    def permute_layer(self, op: Layer) -> None:
        """Move the rows, the bias and the columns of a weight."""
        filters = self.orders.of(op.result)
        axis = 1 if isinstance(op, nn.ConvOp) else len(nn.shape_of(op.input)) - 1
        channels = np.arange(size_along(op.input, axis))
        if self.orders.channels.axes.get(op.input) == axis:
            channels = self.orders.of(op.input)
        key = op.weight, filters.tobytes(), channels.tobytes()
        if key not in self.made:
            self.made[key] = self.permuted_weight(op, filters, channels)
        self.replace(op, 1, self.made[key])
        if op.bias is not None and moves(filters):
            bias = read_constant(op.bias, self.weights)
            assert bias is not None
            self.replace(op, 2, self.add(op, bias[filters], op.bias))

    def permuted_weight(self, op: Layer, filters: Ints, channels: Ints) -> SSAValue:
        """The weight with its rows and columns in other orders."""
        source = op.weight.owner
        if isinstance(source, sq.WeightOp):
            return self.permuted_storage(op, source, filters, channels)
        weight = read_constant(op.weight, self.weights)
        assert weight is not None
        if not moves(filters) and not moves(channels):
            return op.weight
        groups = 1
        if isinstance(op, nn.ConvOp):
            if is_depthwise(op):
                channels = np.zeros(1, np.int64)
            else:
                groups = op.groups.value.data
        self.counts["weights_permuted"] += 1
        return self.add(op, permute_dense(weight, groups, filters, channels), op.weight)

    def permuted_storage(
        self, op: Layer, source: sq.WeightOp, filters: Ints, channels: Ints
    ) -> SSAValue:
        """The encoded weight with its rows and columns in other orders."""
        old, shape = self.storage(source), nn.shape_of(op.weight)
        if old is None:
            return op.weight
        new = permute(old, filters, channels, math.prod(shape[2:]))
        arrays, names = old.arrays(), source.resource_names()
        changed = {
            key: array
            for key, array in new.arrays().items()
            if not np.array_equal(array, arrays[key])
        }
        if not changed:
            return op.weight
        for key, array in changed.items():
            names[key] = self.weights.add(f"{names[key]}.permuted", array)
        encoding = source.encoding
        if isinstance(encoding, sq.ColumnsAttr):
            encoding = sq.ColumnsAttr.of(
                encoding.block_size,
                encoding.num_columns,
                reordered=moves(new.reorder),
            )
        element = nn.tensor_type(op.weight).element_type
        result = sq.WeightOp(names, TensorType(element, shape, encoding))
        result.attributes.update(source.attributes)
        self.counts["weights_permuted"] += 1
        return self.insert(op, result, op.weight)

    def permute_constants(self, op: nn.BinaryOp | nn.ConcatOp) -> None:
        """Move what stands for channels in constant operands."""
        axis = self.orders.channels.axes[op.result]
        at, order = axis - len(nn.shape_of(op.result)), self.orders.of(op.result)
        is_joined = isinstance(op, nn.ConcatOp) and op.axis.value.data == axis
        start = 0
        for number, value in enumerate(op.operands):
            part = order
            if is_joined:
                part = order[start : start + nn.shape_of(value)[at]] - start
                start += len(part)
            array = read_constant(value, self.weights)
            if array is None or is_spread(value, at, len(part)) or not moves(part):
                continue
            moved = array.take(part, array.ndim + at)
            self.replace(op, number, self.add(op, moved, value))

    def replace(self, op: Operation, number: int, value: SSAValue) -> None:
        """Give an op another operand."""
        if op.operands[number] is not value:
            self.replaced.append(op.operands[number])
            op.operands[number] = value

    def add(self, op: Operation, array: AnyArray, old: SSAValue) -> SSAValue:
        """A new constant before `op`, named after an old one."""
        hint = f"{constant_name(old)}.permuted"
        constant = make_constant(array, hint, old, self.weights)
        return self.insert(op, constant, old)

    def insert(
        self, op: Operation, new: nn.ConstantOp | sq.WeightOp, old: SSAValue
    ) -> SSAValue:
        """Put what stands for `old` before `op`."""
        assert op.parent is not None
        op.parent.insert_op_before(new, op)
        new.result.name_hint = old.name_hint
        return new.result


@dataclass(frozen=True)
class PropagatePermutation(ReportingPass):
    """Let tensors have their channels in the order in which filters are stored.

    The example starts from dense weights, which `encode-sparsity` stores first: filters
    0 and 2 keep the same channels, and so do 1 and 3, so these are the blocks.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x2x2xf32>) -> tensor<1x1x2x2xf32> {
      %v = nn.constant dense<[[[[1.0]], [[0.0]]], [[[0.0]], [[2.0]]],
        [[[3.0]], [[0.0]]], [[[0.0]], [[4.0]]]]> : tensor<4x2x1x1xf32>
      %b = nn.constant dense<[5.0, 6.0, 7.0, 8.0]> : tensor<4xf32>
      %w = nn.constant dense<[[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]>
        : tensor<1x4x1x1xf32>
      %0 = nn.conv %x, %v, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x2x2xf32>, tensor<4x2x1x1xf32>, tensor<4xf32>)
        -> tensor<1x4x2x2xf32>
      %1 = nn.unary relu %0 : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32>
      %2 = nn.conv %1, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
      func.return %2 : tensor<1x1x2x2xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x2x2xf32>) -> tensor<1x1x2x2xf32> {
      %v = sq.weight {index = "v.columns.index", offset = "v.columns.offset",
        reorder = "v.columns.reorder.permuted", weight = "v.columns.weight"}
        : tensor<4x2x1x1xf32, #sq.columns<block = 2, columns = 2, reordered = false>>
      %b = nn.constant "b.permuted" : tensor<4xf32>
      %0 = nn.conv %x, %v, %b {
        sq.why =
        "columns: 2 kept in blocks of 2 filters, reordered, density 0.500, 0% filled",
        stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x2x2xf32>, tensor<4x2x1x1xf32,
          #sq.columns<block = 2, columns = 2, reordered = false>>, tensor<4xf32>)
        -> tensor<1x4x2x2xf32>
      %1 = nn.unary relu %0 : (tensor<1x4x2x2xf32>) -> tensor<1x4x2x2xf32>
      %w = nn.constant "w.permuted" : tensor<1x4x1x1xf32>
      %2 = nn.conv %1, %w {
        sq.why = "dense: 100% of the weights are not zero", stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x4x2x2xf32>, tensor<1x4x1x1xf32>) -> tensor<1x1x2x2xf32>
      func.return %2 : tensor<1x1x2x2xf32>
    }
    ```
    """

    name = "propagate-permutation"

    example_after: ClassVar[tuple[str, ...]] = ("encode-sparsity",)

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return counts of orders that became those of channels, and of moved weights.

        `permutations_left`: layers whose rows are not in the order of the channels.
        """
        channels = analyse(op, (nn.ConstantOp, sq.WeightOp))
        names = ("permutations_pushed", "permutations_left", "weights_permuted")
        orders = ChannelOrders(op, channels)
        permuter = Permuter(weights_of(ctx), orders, dict.fromkeys(names, 0))
        found = [o for o in op.walk() if o.results and o.results[0] in channels.axes]
        layers = [o for o in found if isinstance(o, Layer)]
        permuter.grant(layers)
        for layer in layers:
            permuter.permute_layer(layer)
        for one in found:
            if isinstance(one, nn.BinaryOp | nn.ConcatOp):
                permuter.permute_constants(one)
        erase_unused(*permuter.replaced)
        for layer in op.walk():
            if isinstance(layer, Layer) and isinstance(layer.weight.owner, sq.WeightOp):
                storage = permuter.storage(layer.weight.owner)
                is_left = storage is not None and moves(storage.reorder)
                permuter.counts["permutations_left"] += is_left
        return permuter.counts
