"""Find pruned weights and store what they keep.

What: the weight of a convolution, linear or recurrent layer whose zeros follow a scheme
becomes an `sq.weight`: pattern-pruned kernels in FKW storage, blocks of filters that
keep the same columns (block-punched, KGS, BCR, BSP) in compressed columns, all other
zeros in columns of single filters.

Why: a mask leaves the dense kernel as slow as it was. What is stored is what has to be
multiplied, with one index per kernel or per column of a block.

How: only the zeros count, no annotation: models from any pruner work, also when filters
were permuted afterwards. Blocks are looked for in the order of the filters and in
orders that put like ones together, also where nobody pruned in blocks
(`columns.detect`). Every encoding is lossless; the one that is stored has the least
weights, each counted with the time of a multiply-add in its kernel (`PATTERN_COST`,
`COLUMN_COST`). A weight with more nonzeros than `max_density` is not looked at further.
The reason for each choice stands on the layer as `sq.why`.

Invariants: needs `nn`; leaves `nn` and `sq.weight`. Values do not change. Only 2-D
convolutions of one group have patterns, others have columns, whose blocks stay inside a
group. Depthwise convolutions, layers whose weight is computed and all but float32 stay
dense.

Source: PatDNN (ASPLOS 2020), section 5.3 (FKW); GRIM (TPAMI 2021), section 4, YOLObile
(AAAI 2021), RT3D (AAAI 2021) and RTMobile (DAC 2020) for the blocks.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr, TensorType
from xdsl.ir import SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import columns, fkw, nn, sq
from edgec.errors import InvalidInput
from edgec.interpreter.arrays import AnyArray
from edgec.passes.analysis.channel_orders import free_linear
from edgec.passes.analysis.sparse import COLUMN_COST, MAX_DENSITY
from edgec.passes.base import ReportingPass
from edgec.passes.constants import constant_name, erase_unused, read_constant

PATTERN_COST = 1.35
"""Time of a multiply-add of single kernels, by that of the dense kernel."""

TOO_DENSE = 100.0
"""More than any cost: what stores too much is chosen if nothing else is there."""
FEW_ROWS = 16
"""Rows of a linear layer below which they do not fill a register."""

Layer = nn.ConvOp | nn.LinearOp | nn.RecurrentOp
"""Ops whose weights are looked at."""

Scheme = fkw.PatternScheme | columns.ColumnScheme | fkw.Dense


def assess(
    weight: AnyArray, max_density: float, groups: int = 1, *, in_order: bool = False
) -> Scheme:
    """The scheme of a weight, if one stores at most `max_density` of it.

    With `in_order` filters are not looked at in another order than their own.
    """
    kept = np.count_nonzero(weight) / max(weight.size, 1)
    if kept > max_density:
        return fkw.Dense(f"{kept:.0%} of the weights are not zero")
    # Only windows of 2-D convolutions of one group have patterns.
    is_window = weight.ndim == 4 and math.prod(weight.shape[2:]) > 1
    pattern = fkw.detect(weight) if is_window and groups == 1 else None
    found: list[fkw.PatternScheme | columns.ColumnScheme] = []
    if isinstance(pattern, fkw.PatternScheme):
        found.append(pattern)

    def limited(scheme: fkw.PatternScheme | columns.ColumnScheme) -> float:
        return cost(scheme) + TOO_DENSE * (scheme.density > max_density)

    found.append(columns.detect(weight, limited, groups, in_order=in_order))
    best = min(found, key=limited)
    if best.density > max_density:
        return fkw.Dense(f"the best encoding would store {best.density:.0%} of it")
    return best


def cost(scheme: fkw.PatternScheme | columns.ColumnScheme) -> float:
    """Relative time: stored weights by what a multiply-add costs in that kernel."""
    if isinstance(scheme, fkw.PatternScheme):
        return scheme.density * PATTERN_COST
    return columns_cost(scheme)


def columns_cost(scheme: columns.ColumnScheme) -> float:
    """As `cost`; sharing a load among more than 8 filters gains nothing more."""
    per_weight = COLUMN_COST[min(scheme.block, 8)]
    return scheme.density * per_weight


def explain(scheme: Scheme) -> str:
    """One line for the report."""
    if isinstance(scheme, fkw.Dense):
        return f"dense: {scheme.reason}"
    if isinstance(scheme, columns.ColumnScheme):
        order = ", reordered" if scheme.is_reordered else ""
        fill = scheme.stored / max(scheme.kept, 1) - 1
        return (
            f"columns: {scheme.num_columns} kept in blocks of {scheme.block} filters"
            f"{order}, density {scheme.density:.3f}, {fill:.0%} filled"
        )
    return (
        f"pattern: {scheme.num_kernels} of {scheme.total_kernels} kernels kept, "
        f"{len(scheme.patterns)} patterns of {scheme.taps} weights, "
        f"density {scheme.density:.3f}"
    )


def keeps_order(op: Layer, free: Container[nn.LinearOp]) -> bool:
    """Whether the layer's kernel needs its filters in their own order.

    The rows of a recurrent weight are tied to elements of the state; the lanes of a
    linear layer on few rows are filters, which are written with one store. Of those
    that are `free`, `propagate-permutation` can make any order that of the channels.
    """
    if not isinstance(op, nn.LinearOp):
        return isinstance(op, nn.RecurrentOp)
    shape = nn.shape_of(op.result)
    return math.prod(shape[:-1]) < FEW_ROWS and op not in free


def unfit_reason(op: Layer) -> str | None:
    """Why the layer cannot be sparse whatever its weight is; None if it can."""
    type_ = nn.tensor_type(op.weight)
    if not isinstance(op.weight.owner, nn.ConstantOp):
        return "the weight is computed"
    if isinstance(op, nn.ConvOp):
        if len(type_.get_shape()) not in (4, 5):
            return f"the weight has rank {len(type_.get_shape())}, not 4 or 5"
        if groups_of(op) > 1 and type_.get_shape()[1] == 1:
            return "it is depthwise"
    if str(type_.element_type) != "f32":
        return f"the weights are {type_.element_type}, not f32"
    return None


def groups_of(op: Layer) -> int:
    """Those of a convolution; a linear layer is one."""
    return op.groups.value.data if isinstance(op, nn.ConvOp) else 1


Use = tuple[SSAValue, int, bool]
"""A weight, the groups of the layer, and whether its filters keep their order."""


@dataclass
class Encoder:
    """Encodes weights, each one once however many layers use it alike."""

    weights: WeightStore
    max_density: float
    counts: dict[str, int]
    encoded: dict[Use, tuple[sq.WeightOp | None, str]] = field(
        default_factory=dict[Use, tuple[sq.WeightOp | None, str]]
    )

    def encode(
        self, value: SSAValue, groups: int, *, in_order: bool
    ) -> tuple[sq.WeightOp | None, str]:
        """The encoded form of a constant, None if it stays dense, and the reason."""
        key = value, groups, in_order
        if key not in self.encoded:
            array = read_constant(value, self.weights)
            assert array is not None
            scheme = assess(array, self.max_density, groups, in_order=in_order)
            op = None
            if not isinstance(scheme, fkw.Dense):
                op = self.store(value, array, scheme)
            self.encoded[key] = op, explain(scheme)
        return self.encoded[key]

    def store(
        self,
        value: SSAValue,
        array: AnyArray,
        scheme: fkw.PatternScheme | columns.ColumnScheme,
    ) -> sq.WeightOp:
        """Pack a weight, and put an `sq.weight` next to its constant."""
        if isinstance(scheme, fkw.PatternScheme):
            packed = fkw.pack(array, scheme.patterns)
            kept, kind = packed.num_kernels, "fkw"
            encoding = sq.PatternAttr.of(packed.patterns, kept, ordered=False)
            self.counts["kernels_kept"] += kept
        else:
            packed = columns.pack(array, scheme.block, scheme.reorder, scheme.groups)
            kept, kind = packed.num_columns, "columns"
            encoding = sq.ColumnsAttr.of(
                scheme.block,
                kept,
                reordered=scheme.is_reordered,
                groups=scheme.groups,
            )
            self.counts["columns_kept"] += kept
        names = {
            key: self.weights.add(f"{constant_name(value)}.{kind}.{key}", part)
            for key, part in packed.arrays().items()
        }
        old = nn.tensor_type(value)
        op = sq.WeightOp(names, TensorType(old.element_type, old.get_shape(), encoding))
        op.result.name_hint = value.name_hint
        constant = value.owner
        assert isinstance(constant, nn.ConstantOp)
        assert constant.parent is not None
        constant.parent.insert_op_after(op, constant)
        self.counts["bytes_before"] += array.nbytes
        self.counts["bytes_after"] += packed.stored_bytes
        return op


@dataclass(frozen=True)
class EncodeSparsity(ReportingPass):
    """Find pruned weights and store what they keep.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x1x2x2xf32> {
      %w = nn.constant dense<[[[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]]> : tensor<1x2x3x3xf32>
      %y = nn.conv %x, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<1x2x3x3xf32>) -> tensor<1x1x2x2xf32>
      func.return %y : tensor<1x1x2x2xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x1x2x2xf32> {
      %w = sq.weight {index = "w.fkw.index", offset = "w.fkw.offset",
        pattern = "w.fkw.pattern", reorder = "w.fkw.reorder",
        weight = "w.fkw.weight"}
        : tensor<1x2x3x3xf32,
          #sq.pattern<patterns = [[0, 1, 3, 4]], kernels = 1, ordered = false>>
      %y = nn.conv %x, %w {
        sq.why = "pattern: 1 of 2 kernels kept, 1 patterns of 4 weights, density 0.222",
        stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<1x2x3x3xf32,
          #sq.pattern<patterns = [[0, 1, 3, 4]], kernels = 1, ordered = false>>)
        -> tensor<1x1x2x2xf32>
      func.return %y : tensor<1x1x2x2xf32>
    }
    ```
    """

    name = "encode-sparsity"

    max_density: float = MAX_DENSITY
    """Largest share of a weight that is worth storing sparsely."""

    reorder: bool = True
    """Look for blocks in other orders of the filters too."""

    ignore: bool = False
    """Leave all weights dense, and say so on each convolution."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return counts of layers, kept kernels, and bytes of encoded weights."""
        if not 0 <= self.max_density <= 1:
            raise InvalidInput(f"max_density must be in 0..1, got {self.max_density}")
        names = ("layers_encoded", "layers_dense", "kernels_kept", "columns_kept")
        counts: dict[str, int] = dict.fromkeys(
            (*names, "bytes_before", "bytes_after"), 0
        )
        free = free_linear(op) if self.reorder else set[nn.LinearOp]()
        encoder = Encoder(weights_of(ctx), self.max_density, counts)
        for layer in list(op.walk()):
            if not isinstance(layer, Layer) or _is_encoded(layer):
                continue
            reason = "sparsity is ignored" if self.ignore else unfit_reason(layer)
            weight, why = None, f"dense: {reason}"
            if reason is None:
                in_order = keeps_order(layer, free) or not self.reorder
                groups = groups_of(layer)
                weight, why = encoder.encode(layer.weight, groups, in_order=in_order)
            layer.attributes["sq.why"] = StringAttr(why)
            counts["layers_dense" if weight is None else "layers_encoded"] += 1
            if weight is not None:
                layer.operands[1] = weight.result
        erase_unused(*dict.fromkeys(value for value, *_ in encoder.encoded))
        return counts


def _is_encoded(op: Layer) -> bool:
    """Whether the weight has its form: a sparse one, or integers that kernels read."""
    return isinstance(op.weight.owner, sq.WeightOp) or sq.has_integers(op.weight)
