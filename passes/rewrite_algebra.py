"""Rewrite sums, products and their like so that less is computed.

What: constants are merged with each other and with the weights before them, common
factors are taken out of sums, and functions that undo each other go.

Why: models say `softmax(q k^T / sqrt(d))`, a multiplication of each score that the
query projection can do for free. Fusion hides the memory traffic of such ops, not their
arithmetic, and it cannot fuse what has another reader.

How: patterns for the laws of algebra (`edgec.passes.patterns.algebra`, `.weights`),
offered to each op until none matches. The work before and after is counted
(`edgec.passes.analysis.work`: elementwise arithmetic, with divisions and transcendental
functions at a higher price, and elements read and written); a rule is applied where one
of the two falls and none rises, so that the pass ends. Associative: scales and shifts
in a row. Distributive: `a c + b c`, and a scale behind a sum or mean. A scale is folded
into the weight of a convolution or linear layer, one number for all also from behind
reshapes, transposes, slices and matrix products; a shift into the bias. Commutative:
`(A B)^T` as `B^T A^T` where that spares transposes. Neutral elements and pairs such as
`-(-x)` go; divisions by powers of two are products.

Invariants: needs and leaves `nn` (and `sq.weight` on constants). Exact: neutral
elements (but for the sign of `-0 + 0`), `-(-x)`, divisions by and folded scales of
powers of two. All others round otherwise, as far as nothing overflows: factors outside
of 1e-6 to 1e6 are left alone. Weights that others read too are copied, not changed;
zeros stay zero.

Source: Niu et al., "DNNFusion: Accelerating Deep Neural Networks Execution with
Advanced Operator Fusion" (PLDI 2021), section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.pattern_rewriter import RewritePattern

from edgec.context import WeightStore, weights_of
from edgec.passes.base import ReportingPass
from edgec.passes.patterns.algebra import (
    CancelPair,
    DivideByPower,
    DropNeutral,
    FactorOut,
    MergeSteps,
    ScaleReduced,
    SquareOfRoot,
    SumToMean,
    TransposeProduct,
)
from edgec.passes.patterns.rewriting import erase_dead, rewrite_once
from edgec.passes.patterns.weights import FoldScale, FoldShift


def patterns_of(weights: WeightStore) -> dict[str, RewritePattern]:
    """All patterns by the name of their statistic, in the order they are tried."""
    return {
        "neutrals_dropped": DropNeutral(weights),
        "sums_to_means": SumToMean(weights),
        "steps_merged": MergeSteps(weights),
        "scales_folded": FoldScale(weights),
        "shifts_folded": FoldShift(weights),
        "factors_out": FactorOut(),
        "pairs_cancelled": CancelPair(),
        "roots_squared": SquareOfRoot(),
        "scales_after_sums": ScaleReduced(weights),
        "divisions_replaced": DivideByPower(weights),
        "products_transposed": TransposeProduct(),
    }


@dataclass(frozen=True)
class RewriteAlgebra(ReportingPass):
    """Rewrite sums, products and their like so that less is computed.

    **Before**

    ```mlir
    func.func @main(%x: tensor<2x2xf32>, %k: tensor<2x3xf32>) -> tensor<2x3xf32> {
      %w = nn.constant dense<[[4.0, 0.0], [8.0, 2.0]]> : tensor<2x2xf32>
      %c = nn.constant dense<0.5> : tensor<f32>
      %q = nn.linear %x, %w : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
      %s = nn.matmul %q, %k
        : (tensor<2x2xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      %t = nn.binary mul %s, %c : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
      %a = nn.binary mul %t, %k
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      %e = nn.unary exp %k : (tensor<2x3xf32>) -> tensor<2x3xf32>
      %b = nn.binary mul %e, %k
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      %y = nn.binary add %a, %b
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      func.return %y : tensor<2x3xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<2x2xf32>, %k: tensor<2x3xf32>) -> tensor<2x3xf32> {
      %w = nn.constant dense<[[2.0, 0.0], [4.0, 1.0]]> : tensor<2x2xf32>
      %q = nn.linear %x, %w : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
      %s = nn.matmul %q, %k
        : (tensor<2x2xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      %e = nn.unary exp %k : (tensor<2x3xf32>) -> tensor<2x3xf32>
      %a = nn.binary add %s, %e
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      %y = nn.binary mul %a, %k
        : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
      func.return %y : tensor<2x3xf32>
    }
    ```
    """

    name = "rewrite-algebra"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return how often each pattern was applied, and `dead_ops`."""
        patterns = patterns_of(weights_of(ctx))
        counts = dict.fromkeys([*patterns, "dead_ops"], 0)
        is_changing = True
        while is_changing:
            found = rewrite_once(op, patterns)
            # Without its dead readers a value may have one reader.
            dead = erase_dead(op)
            counts["dead_ops"] += dead
            for name, count in found.items():
                counts[name] += count
            is_changing = dead > 0 or any(found.values())
        return counts
