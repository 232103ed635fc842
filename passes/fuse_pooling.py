"""Pool what a convolution computes before it leaves the cache.

What: a convolution and the max pooling that alone reads its result become one
`sq.dispatch`, which one kernel computes.

Why: the result of an early layer fits no cache. It is written, and read again for one
comparison per element: of the time of VGG-16 pruned 8x, poolings take 4 %, and the
convolutions before them wait for the lines that they write. The kernel of both keeps a
few rows at a time.

How: windows must not overlap (stride = kernel, at most two columns, no padding), so
that each position is needed once and rows can be cut between windows: then the table of
mapping types, whose cell for two many-to-many ops is red because the first would be
computed again, does not speak of this pair. The convolution has a kernel over flat
positions (`dense`, `columns`, `quads`), and what it computes has no phases and no other
reader; the result of the pooling has a layout of its own.

Invariants: needs layouts (after `eliminate-data-movement`), leaves `sq.dispatch` of an
`sq.conv` and an `nn.pool`. Values do not change.

Source: Alwani et al., "Fused-Layer CNN Accelerators" (MICRO 2016), for pairs of layers
that hand over tiles; that windows do not overlap makes it free of recomputation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.kernels.layout import layout
from edgec.passes.base import ReportingPass
from edgec.passes.patterns.rewriting import copy_labels, sole_producer

FAMILIES = ("dense", "columns", "quads")
"""Kernels that pool."""
MOST_COLUMNS = 2
"""Of a window: registers are taken apart two by two."""


def pooled_conv(pool: nn.PoolOp) -> sq.ConvOp | None:
    """The convolution whose kernel may compute `pool` too."""
    conv = sole_producer(pool.input, sq.ConvOp)
    if conv is None or conv.kernel is None:
        return None
    is_fit = (
        conv.kernel.family.data in FAMILIES
        and pool.kind.data is nn.PoolKind.MAX
        and not sq.has_bf16(pool.input)
        and _is_apart(pool)
        and _is_whole(conv.result)
        and _is_whole(pool.result)
    )
    return conv if is_fit else None


def _is_apart(pool: nn.PoolOp) -> bool:
    """Whether windows of a plane stand side by side, all inside."""
    window = pool.kernel.get_values()
    sizes = nn.shape_of(pool.input)[2:]
    inside = zip(nn.shape_of(pool.result)[2:], window, sizes, strict=True)
    return (
        len(window) == 2
        and window[1] <= MOST_COLUMNS
        and pool.stride.get_values() == window
        and set(pool.padding.get_values()) == {0}
        and set(pool.dilation.get_values()) == {1}
        and all(count * width <= size for count, width, size in inside)
    )


def _is_whole(value: SSAValue) -> bool:
    """Whether a tensor has planes of its own, in one piece."""
    place = layout(value)
    return place.size is None and not place.is_split


@dataclass(frozen=True)
class FusePooling(ReportingPass):
    """Pool what a convolution computes before it leaves the cache.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>)
        -> tensor<1x2x2x2xf32> {
      %y = sq.conv %x, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [],
        kernel = #sq.kernel<"dense", {filters = 2, vectors = 1, chunk = 1}>}
        : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      %p = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>,
        padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false,
        count_include_pad = true, divisor = 0 : i64}
        : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
      func.return %p : tensor<1x2x2x2xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>)
        -> tensor<1x2x2x2xf32> {
      %p = sq.dispatch {
        %y = sq.conv %x, %w {stride = array<i64: 1, 1>,
          padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
          dilation = array<i64: 1, 1>, groups = 1 : i64, epilogue = [],
          kernel = #sq.kernel<"dense", {filters = 2, vectors = 1, chunk = 1}>}
          : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
        %q = nn.pool max %y {kernel = array<i64: 2, 2>, stride = array<i64: 2, 2>,
          padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false,
          count_include_pad = true, divisor = 0 : i64}
          : (tensor<1x2x4x4xf32>) -> tensor<1x2x2x2xf32>
        sq.yield %q : tensor<1x2x2x2xf32>
      } : tensor<1x2x2x2xf32>
      func.return %p : tensor<1x2x2x2xf32>
    }
    ```
    """

    name = "fuse-pooling"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count the poolings."""
        found = 0
        for pool in list(op.walk()):
            if not isinstance(pool, nn.PoolOp):
                continue
            conv = pooled_conv(pool)
            if conv is None:
                continue
            _join(conv, pool)
            found += 1
        return {"pools": found}


def _join(conv: sq.ConvOp, pool: nn.PoolOp) -> None:
    """Both in one op, at the place of the pooling."""
    block, result = pool.parent, pool.result
    assert block is not None
    after = pool.next_op
    assert after is not None
    conv.detach()
    pool.detach()
    users = [(use.operation, use.index) for use in result.uses]
    fused = sq.DispatchOp([conv, pool], result)
    for user, index in users:
        user.operands[index] = fused.result
    fused.result.name_hint = result.name_hint
    copy_labels(conv, fused)
    block.insert_op_before(fused, after)
