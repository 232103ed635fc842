"""Put the filters and kernels of pattern-pruned weights in an order for the machine.

What: filters of like length and like patterns stand next to each other, and inside a
filter the kernels of one pattern.

Why: in the order of the model, neighbouring kernels have different patterns, so that
the loop over them branches at every step, and neighbouring filters read different
inputs. Ordered, each pattern is one loop without branches, and loads can be shared.

How: filters by number of kernels, longest first; among equals each is followed by the
one that shares most (channel, pattern) pairs with it. Kernels in a filter by pattern,
then by channel (`fkw.reorder`). The storage says which filter a row computes, so the
result is written to its old place and no other layer changes.

Invariants: needs `sq.weight` with `#sq.pattern`; leaves all of them ordered, with the
run of each pattern in `stride`. Values do not change. Other encodings are left alone.

Source: Niu et al., "PatDNN: Achieving Real-Time DNN Execution on Mobile Devices with
Pattern-based Weight Pruning" (ASPLOS 2020), section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType

from edgec.context import WeightStore, weights_of
from edgec.dialects import fkw, nn, sq
from edgec.passes.base import ReportingPass


def count_runs(storage: fkw.Fkw) -> int:
    """Stretches of kernels of one pattern in one row: loops that the code needs."""
    if not storage.num_kernels:
        return 0
    is_first = np.diff(storage.pattern) != 0
    starts = storage.offset[1:-1]
    inner = starts[(starts > 0) & (starts < storage.num_kernels)]
    is_first[inner - 1] = True
    return 1 + int(np.count_nonzero(is_first))


def count_moves(before: fkw.Fkw, after: fkw.Fkw) -> tuple[int, int]:
    """Filters whose row changed, and kernels whose place in the storage changed."""
    filters = before.reorder != after.reorder
    kernels = _places(before) != _places(after)
    return int(np.count_nonzero(filters)), int(np.count_nonzero(kernels))


def _places(storage: fkw.Fkw) -> npt.NDArray[np.intp]:
    """Where each kernel stands in the storage, by (filter, channel) in order."""
    filters = np.repeat(storage.reorder, np.diff(storage.offset))
    return np.lexsort((storage.index, filters))


@dataclass(frozen=True)
class FilterKernelReorder(ReportingPass):
    """Put the filters and kernels of pattern-pruned weights in an order.

    The example starts from the dense weights, which `encode-sparsity` stores first.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x2x2xf32>) -> tensor<1x2x1x1xf32> {
      %w = nn.constant dense<[[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]],
        [[[0.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]]]> : tensor<2x2x2x2xf32>
      %y = nn.conv %x, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x2x2xf32>, tensor<2x2x2x2xf32>) -> tensor<1x2x1x1xf32>
      func.return %y : tensor<1x2x1x1xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x2x2xf32>) -> tensor<1x2x1x1xf32> {
      %w = sq.weight {index = "w.fkw.index.ordered",
        offset = "w.fkw.offset.ordered", pattern = "w.fkw.pattern.ordered",
        reorder = "w.fkw.reorder.ordered", stride = "w.fkw.stride.ordered",
        weight = "w.fkw.weight.ordered"}
        : tensor<2x2x2x2xf32,
          #sq.pattern<patterns = [[1], [2]], kernels = 3, ordered = true>>
      %y = nn.conv %x, %w {
        sq.why = "pattern: 3 of 4 kernels kept, 2 patterns of 1 weights, density 0.188",
        stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x2x2xf32>, tensor<2x2x2x2xf32,
          #sq.pattern<patterns = [[1], [2]], kernels = 3, ordered = true>>)
        -> tensor<1x2x1x1xf32>
      func.return %y : tensor<1x2x1x1xf32>
    }
    ```
    """

    name = "filter-kernel-reorder"

    example_after: ClassVar[tuple[str, ...]] = ("encode-sparsity",)

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return counts of moves, and of runs of one pattern before and after."""
        names = ("filters_moved", "kernels_moved", "runs_before", "runs_after")
        counts: dict[str, int] = dict.fromkeys(names, 0)
        weights = weights_of(ctx)
        for weight in list(op.walk()):
            if not isinstance(weight, sq.WeightOp):
                continue
            encoding = weight.encoding
            if isinstance(encoding, sq.PatternAttr) and not encoding.is_ordered:
                before, after = _reorder(weight, encoding, weights)
                filters, kernels = count_moves(before, after)
                counts["filters_moved"] += filters
                counts["kernels_moved"] += kernels
                counts["runs_before"] += count_runs(before)
                counts["runs_after"] += count_runs(after)
        return counts


def _reorder(
    op: sq.WeightOp, encoding: sq.PatternAttr, weights: WeightStore
) -> tuple[fkw.Fkw, fkw.Fkw]:
    """Replace a weight by its ordered form; the storage before and after."""
    names = op.resource_names()
    before = encoding.storage({key: weights[name] for key, name in names.items()})
    after = fkw.reorder(before)
    prefix = names["weight"].removesuffix("weight")
    ordered = {
        key: weights.add(f"{prefix}{key}.ordered", array)
        for key, array in after.arrays().items()
    }
    old = nn.tensor_type(op.result)
    attr = sq.PatternAttr.of(after.patterns, after.num_kernels, ordered=True)
    new = sq.WeightOp(ordered, TensorType(old.element_type, old.get_shape(), attr))
    new.attributes.update(op.attributes)
    new.result.name_hint = op.result.name_hint
    block = op.parent
    assert block is not None
    block.insert_op_before(new, op)
    op.result.replace_all_uses_with(new.result)
    op.detach()
    op.erase()
    return before, after
