"""Bring a network into the one form that later passes match.

What: no-ops go away, and what can be said in several ways is said in one.

Why: a model is written for people: padding layers, 1-D convolutions, products with
constants and global pools in many spellings. Each spelling that stays costs a kernel of
its own, a copy, or a fusion that is missed.

How: patterns by theme (`edgec.passes.patterns`), offered to each op until none matches:
ops that do nothing, reshapes of reshapes and the like; padding into the op that reads
it; layers on `[N, C, W]` as layers on `[N, C, 1, W]`; a strided 1x1 convolution as a
slice and a plain one; kernels without taps that read padding only; a convolution with
one position of results as a linear layer; matrix products with constants as linear
layers; constants added to a product as its bias; adaptive pools as reductions or pools;
activations, and norms and sums of such layers, before a reshape instead of after it;
ops on constants as constants. Then dead code goes.

Invariants: needs and leaves `nn` (and `sq.weight`). A new bias is added before a sum is
rounded, not after; no other number changes.

Source: folklore; the name and the idea of one form are MLIR's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.pattern_rewriter import RewritePattern

from edgec.context import weights_of
from edgec.passes.base import ReportingPass
from edgec.passes.patterns.elementwise import (
    DropRepeated,
    FoldConstants,
    SimplifyClamp,
)
from edgec.passes.patterns.movement import (
    CropToSlice,
    DropIdentity,
    HoistBinaryNarrowed,
    HoistNormNarrowed,
    HoistUnary,
    MergeReshapes,
    MergeTransposes,
    TransposeToReshape,
)
from edgec.passes.patterns.pooling import (
    AdaptivePoolToStatic,
    DropUnitPool,
    PadIntoPool,
    WidenPool,
)
from edgec.passes.patterns.products import (
    AddToBias,
    MatmulToLinear,
    PadIntoConv,
    StrideToSlice,
    WidenConv,
)
from edgec.passes.patterns.rewriting import erase_dead, rewrite_once
from edgec.passes.patterns.small_planes import (
    ConvToLinear,
    HoistBinaryOnePosition,
    HoistNormOnePosition,
    TrimTaps,
)


def patterns_of(ctx: Context) -> dict[str, RewritePattern]:
    """All patterns by the name of their statistic, in the order they are tried."""
    return {
        "identities_dropped": DropIdentity(),
        "constants_folded": FoldConstants(ctx),
        "reshapes_merged": MergeReshapes(),
        "transposes_merged": MergeTransposes(),
        "transposes_reshaped": TransposeToReshape(),
        "pads_sliced": CropToSlice(),
        "pads_into_convs": PadIntoConv(),
        "pads_into_pools": PadIntoPool(),
        "convs_widened": WidenConv(),
        "pools_widened": WidenPool(),
        "taps_trimmed": TrimTaps(),
        "convs_linear": ConvToLinear(),
        "strides_sliced": StrideToSlice(),
        "matmuls_linear": MatmulToLinear(),
        "biases_added": AddToBias(weights_of(ctx)),
        "pools_dropped": DropUnitPool(),
        "pools_static": AdaptivePoolToStatic(),
        "repeats_dropped": DropRepeated(),
        "clamps_simplified": SimplifyClamp(),
        "unaries_hoisted": HoistUnary(),
        "norms_hoisted": HoistNormNarrowed(),
        "binaries_hoisted": HoistBinaryNarrowed(),
        "positions_norms_hoisted": HoistNormOnePosition(),
        "positions_binaries_hoisted": HoistBinaryOnePosition(),
    }


@dataclass(frozen=True)
class CanonicalizeNn(ReportingPass):
    """Bring a network into the one form that later passes match.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x8xf32>) -> tensor<1x1x8xf32> {
      %w = nn.constant dense<1.0> : tensor<1x2x3xf32>
      %p = nn.pad constant %x {low = array<i64: 0, 0, 2>,
        high = array<i64: 0, 0, 0>, value = 0.0 : f64}
        : (tensor<1x2x8xf32>) -> tensor<1x2x10xf32>
      %y = nn.conv %p, %w {stride = array<i64: 1>,
        padding_low = array<i64: 0>, padding_high = array<i64: 0>,
        dilation = array<i64: 1>, groups = 1 : i64}
        : (tensor<1x2x10xf32>, tensor<1x2x3xf32>) -> tensor<1x1x8xf32>
      %b = nn.constant dense<2.0> : tensor<1x1xf32>
      %s = nn.binary add %y, %b
        : (tensor<1x1x8xf32>, tensor<1x1xf32>) -> tensor<1x1x8xf32>
      %z = nn.unary relu %s : (tensor<1x1x8xf32>) -> tensor<1x1x8xf32>
      func.return %z : tensor<1x1x8xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x8xf32>) -> tensor<1x1x8xf32> {
      %b = nn.constant dense<2.0> : tensor<1xf32>
      %x2 = nn.reshape %x : (tensor<1x2x8xf32>) -> tensor<1x2x1x8xf32>
      %w = nn.constant dense<1.0> : tensor<1x2x1x3xf32>
      %y = nn.conv %x2, %w, %b {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 2>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x1x8xf32>, tensor<1x2x1x3xf32>, tensor<1xf32>)
        -> tensor<1x1x1x8xf32>
      %r = nn.unary relu %y : (tensor<1x1x1x8xf32>) -> tensor<1x1x1x8xf32>
      %z = nn.reshape %r : (tensor<1x1x1x8xf32>) -> tensor<1x1x8xf32>
      func.return %z : tensor<1x1x8xf32>
    }
    ```
    """

    name = "canonicalize-nn"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return how often each pattern matched, and `dead_ops`."""
        patterns = patterns_of(ctx)
        counts = dict.fromkeys([*patterns, "dead_ops"], 0)
        is_changing = True
        while is_changing:
            found = rewrite_once(op, patterns)
            counts["dead_ops"] += erase_dead(op)
            for name, count in found.items():
                counts[name] += count
            is_changing = any(found.values())
        return counts
