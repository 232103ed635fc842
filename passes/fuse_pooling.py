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
reader; the result of the pooling has a layout of its own. As chunks of whole windows
end in tiles that are not full, it is asked (`gained_cycles`) whether that costs less
than what is saved.

Invariants: needs layouts (after `eliminate-data-movement`), leaves `sq.dispatch` of an
`sq.conv` and an `nn.pool`. Values do not change.

Source: Alwani et al., "Fused-Layer CNN Accelerators" (MICRO 2016), for pairs of layers
that hand over tiles; that windows do not overlap makes it free of recomputation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from edgec.dialects import nn, sq
from edgec.kernels.conv.chunks import Chunks
from edgec.kernels.conv.pooled import MaxPool
from edgec.kernels.cost import Registers
from edgec.kernels.layout import layout, stored_shape
from edgec.passes.analysis.schedules import Machine, cycles_of
from edgec.passes.base import ReportingPass
from edgec.passes.patterns.rewriting import copy_labels, sole_producer

FAMILIES = ("dense", "columns", "quads")
"""Kernels that pool."""
MOST_COLUMNS = 2
"""Of a window: registers are taken apart two by two."""


SAVED_CYCLES = 0.3
"""Of one core, per element (quad) of the convolution's result that is not written and
read again. Measured: 0.7 for a pooling by itself, of 0.4 to 13 MB, less 0.3 to 0.4 for
what the kernel of both does."""


def pooled_conv(pool: nn.PoolOp) -> sq.ConvOp | None:
    """The convolution whose kernel can compute `pool` too."""
    conv = sole_producer(pool.input, sq.ConvOp)
    is_inside = isinstance(pool.parent_op(), sq.DispatchOp)
    if is_inside or conv is None or conv.kernel is None:
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


def gained_cycles(conv: sq.ConvOp, pool: nn.PoolOp, machine: Machine) -> float:
    """Cycles of one core that one kernel for both is predicted to save.

    Chunks of whole windows end in tiles that are not full, which costs more the more is
    computed for each element.
    """
    assert conv.kernel is not None
    settings, lanes = conv.kernel.settings, machine.registers.lanes
    source, tile = layout(conv.result), settings["vectors"] * lanes
    rows, columns = pool.kernel.get_values()
    window = MaxPool(layout(pool.result), (rows, columns))
    plain = Chunks.of(source, 0, tile, settings["chunk"])
    both = window.chunks(source, tile, settings["chunk"], settings["filters"], lanes)
    more = both.work(lanes) / plain.work(lanes) - 1
    images, *elements = stored_shape(conv.result)
    saved = SAVED_CYCLES * math.prod(elements) - more * cycles_of(conv, machine)
    return images * saved


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

    lanes: int = 8
    """f32 lanes of a vector register."""
    registers: int = 16
    """Number of vector registers."""
    l1_bytes: int = 32768
    """Level 1 data cache of a core."""
    l2_bytes: int = 1048576
    """Level 2 cache of a core."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Count poolings, and the cycles of one core that are predicted to be saved."""
        registers = Registers(self.lanes, self.registers)
        machine = Machine(registers, self.l1_bytes, self.l2_bytes)
        counts = {"pools": 0, "saved_cycles": 0}
        for pool in list(op.walk()):
            conv = pooled_conv(pool) if isinstance(pool, nn.PoolOp) else None
            if conv is None:
                continue
            assert isinstance(pool, nn.PoolOp)
            gained = gained_cycles(conv, pool, machine)
            if gained > 0:
                _join(conv, pool)
                counts["pools"] += 1
                counts["saved_cycles"] += round(gained)
        return counts


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
