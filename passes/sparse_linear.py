"""Run linear layers on many rows as convolutions: sparse ones, and those on tiles.

What: an `sq.linear` of family `conv` or `tiles` becomes a transpose, a pointwise
`sq.conv` over the rows, and a transpose back.

Why: in a block of few filters there is less than a register of outputs, but there may
be many rows. A column-sparse convolution has its lanes over positions and shares each
load among the filters of the block; with rows for positions the same kernel serves
linear layers. Tiles take positions for one side of their products too, in the layout of
convolutions. The transposes move each element once, the kernel uses it many times.

How: rows of all leading dimensions are one dimension of positions. Extra operands are
brought to the same form: one number per filter, or a transpose too. A layer that reads
the result of another one takes it before it is transposed back.

Invariants: needs `kernel` on `sq.linear` (after `choose-kernel`); leaves no `sq.linear`
of family `conv` or `tiles`. Values do not change.

Source: this project's; the blocks are those of GRIM (TPAMI 2021), section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.ir import Operation, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.dialects.nn import int_array, int_attr
from edgec.passes.base import ReportingPass
from edgec.passes.constants import constant_name, erase_unused, read_constant

POINTWISE = {
    "stride": int_array((1, 1)),
    "padding_low": int_array((0, 0)),
    "padding_high": int_array((0, 0)),
    "dilation": int_array((1, 1)),
    "groups": int_attr(1),
}
"""The geometry of a pointwise convolution."""


FAMILIES = {"conv": "columns", "tiles": "tiles"}
"""Of linear layers that are to be convolutions, and those of the convolutions."""
MOVES = nn.ReshapeOp | nn.TransposeOp
"""What turns rows and turns them back."""


class _Writer:
    """Writes ops before one place.

    `known` remembers results that were turned back, by what they were: a layer that
    reads one takes it as it was, and nothing is turned twice in vain.
    """

    def __init__(self, place: Operation, known: dict[SSAValue, SSAValue]) -> None:
        self.place, self.known = place, known

    def add(self, op: Operation) -> SSAValue:
        """Insert an op; its result."""
        block = self.place.parent
        assert block is not None
        block.insert_op_before(op, self.place)
        return op.results[0]

    def reshape(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        """The same elements in another shape."""
        if nn.shape_of(value) == tuple(shape):
            return value
        return self.add(nn.ReshapeOp(value, shape))

    def turned(self, value: SSAValue) -> SSAValue:
        """`[…, C]` as `[1, C, 1, rows]`."""
        if value in self.known:
            return self.known[value]
        *lead, columns = nn.shape_of(value)
        # Columns stay axis 1, of which several may share a lane.
        flat = self.reshape(value, (math.prod(lead), columns, 1, 1))
        return self.add(nn.TransposeOp(flat, (2, 1, 3, 0)))

    def turned_back(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        """The inverse of `turned`."""
        flipped = self.add(nn.TransposeOp(value, (3, 1, 0, 2)))
        result = self.reshape(flipped, shape)
        self.known[result] = value
        return result


def pointwise_weight(op: sq.LinearOp, weights: WeightStore) -> Operation:
    """The weight with a window of one tap."""
    source, type_ = op.weight.owner, nn.tensor_type(op.weight)
    shape = (*type_.get_shape(), 1, 1)
    if isinstance(source, sq.WeightOp):
        new = TensorType(type_.element_type, shape, source.encoding)
        return sq.WeightOp(source.resource_names(), new)
    array = read_constant(op.weight, weights)
    assert array is not None
    name = weights.add(f"{constant_name(op.weight)}.pointwise", array.reshape(shape))
    return nn.ConstantOp(name, TensorType(type_.element_type, shape))


def as_convolution(
    op: sq.LinearOp, known: dict[SSAValue, SSAValue], weights: WeightStore
) -> None:
    """Replace one linear layer."""
    source, kernel = op.weight.owner, op.kernel
    assert isinstance(source, Operation)
    assert kernel is not None
    writer = _Writer(op, known)
    shape = nn.shape_of(op.result)
    filters = shape[-1]
    weight = writer.add(pointwise_weight(op, weights))
    extras = [
        writer.reshape(extra, (1, filters, 1, 1))
        if nn.shape_of(extra) == (filters,)
        else writer.turned(extra)
        for extra in op.extras
    ]
    rows = math.prod(shape[:-1])
    result = nn.tensor_type(op.result).element_type
    conv = sq.ConvOp(
        writer.turned(op.input),
        weight,
        op.bias,
        extras,
        POINTWISE,
        [step for step in op.epilogue if isinstance(step, sq.StepAttr)],
        TensorType(result, (1, filters, 1, rows)),
        sq.KernelAttr.of(FAMILIES[kernel.family.data], kernel.settings),
    )
    conv.attributes.update(op.attributes)
    value = writer.turned_back(writer.add(conv), shape)
    op.result.replace_all_uses_with(value)
    op.detach()
    op.erase()
    erase_unused(source.results[0])


def erase_unread(value: SSAValue) -> None:
    """Remove the reshapes and transposes that made `value`, if nobody reads it."""
    while not value.first_use and isinstance(value.owner, MOVES):
        op = value.owner
        value = op.operands[0]
        op.detach()
        op.erase()


@dataclass(frozen=True)
class SparseLinear(ReportingPass):
    """Rewrite every `sq.linear` of family `conv` or `tiles`.

    **Before**

    ```mlir
    func.func @main(%x: tensor<64x8xf32>) -> tensor<64x4xf32> {
      %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder",
        weight = "w.weight"} : tensor<4x8xf32,
          #sq.columns<block = 4, columns = 2, reordered = false>>
      %y = sq.linear %x, %w {epilogue = [#sq.step<"relu">],
        kernel = #sq.kernel<"conv">} : tensor<64x8xf32>, tensor<4x8xf32,
          #sq.columns<block = 4, columns = 2, reordered = false>> -> tensor<64x4xf32>
      func.return %y : tensor<64x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<64x8xf32>) -> tensor<64x4xf32> {
      %w = sq.weight {index = "w.index", offset = "w.offset", reorder = "w.reorder",
        weight = "w.weight"} : tensor<4x8x1x1xf32,
          #sq.columns<block = 4, columns = 2, reordered = false>>
      %f = nn.reshape %x : (tensor<64x8xf32>) -> tensor<64x8x1x1xf32>
      %t = nn.transpose %f {permutation = array<i64: 2, 1, 3, 0>}
        : (tensor<64x8x1x1xf32>) -> tensor<1x8x1x64xf32>
      %c = sq.conv %t, %w {dilation = array<i64: 1, 1>,
        epilogue = [#sq.step<"relu">], groups = 1 : i64,
        kernel = #sq.kernel<"columns">, padding_high = array<i64: 0, 0>,
        padding_low = array<i64: 0, 0>, stride = array<i64: 1, 1>}
        : tensor<1x8x1x64xf32>, tensor<4x8x1x1xf32,
          #sq.columns<block = 4, columns = 2, reordered = false>>
          -> tensor<1x4x1x64xf32>
      %b = nn.transpose %c {permutation = array<i64: 3, 1, 0, 2>}
        : (tensor<1x4x1x64xf32>) -> tensor<64x4x1x1xf32>
      %y = nn.reshape %b : (tensor<64x4x1x1xf32>) -> tensor<64x4xf32>
      func.return %y : tensor<64x4xf32>
    }
    ```
    """

    name = "sparse-linear"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count the layers that became convolutions."""
        found = [
            layer
            for layer in op.walk()
            if isinstance(layer, sq.LinearOp)
            and layer.kernel is not None
            and layer.kernel.family.data in FAMILIES
        ]
        known: dict[SSAValue, SSAValue] = {}
        for layer in found:
            as_convolution(layer, known, weights_of(ctx))
        for value in known:
            erase_unread(value)
        return {"layers": len(found)}
