"""The pipeline: which passes run, in which order, and why; and what each may leave.

`tensor_passes` and `kernel_passes` are the two halves. Between them the module is small
and says everything that the code depends on, so that is where compiled programs are
looked up in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import DiagnosticException, VerifyException

from edgec.codegen.intrinsics import wants_bounded
from edgec.codegen.intrinsics.amx import Product, has_tiles
from edgec.codegen.intrinsics.bf16 import has_dot_pairs
from edgec.errors import EdgecError, PassFailed
from edgec.options import Options
from edgec.passes.base import run_pass
from edgec.passes.canonicalize_nn import CanonicalizeNn
from edgec.passes.choose_kernel import ChooseKernel
from edgec.passes.convert_to_lane import ConvertToLane
from edgec.passes.decompose_conv_transpose import DecomposeConvTranspose
from edgec.passes.decompose_quantization import DecomposeQuantization
from edgec.passes.eliminate_data_movement import EliminateDataMovement
from edgec.passes.encode_sparsity import EncodeSparsity
from edgec.passes.filter_kernel_reorder import FilterKernelReorder
from edgec.passes.flatten_rows import FlattenRows
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.fuse import Fuse
from edgec.passes.fuse_pooling import FusePooling
from edgec.passes.integer_layers import IntegerLayers
from edgec.passes.layout_tuning import LayoutTuning
from edgec.passes.load_redundancy_elimination import LoadRedundancyElimination
from edgec.passes.lower_precision import LowerPrecision
from edgec.passes.plan_memory import PlanMemory
from edgec.passes.propagate_permutation import PropagatePermutation
from edgec.passes.propagate_quantization import PropagateQuantization
from edgec.passes.rewrite_algebra import RewriteAlgebra
from edgec.passes.shrink_channels import ShrinkChannels
from edgec.passes.sparse_linear import SparseLinear
from edgec.passes.weight_only import WeightOnly
from edgec.target import Target

Observer = Callable[[ModulePass, ModuleOp], None]

TENSOR_DIALECTS = frozenset({"builtin", "func", "nn", "sq"})
KERNEL_DIALECTS = frozenset({"builtin", "func", "arith", "scf", "lane"})

STAGES: Mapping[str, frozenset[str]] = {
    "canonicalize-nn": TENSOR_DIALECTS,
    "flatten-rows": TENSOR_DIALECTS,
    "propagate-quantization": TENSOR_DIALECTS,
    "weight-only": TENSOR_DIALECTS,
    "integer-layers": TENSOR_DIALECTS,
    "fold-batch-norm": TENSOR_DIALECTS,
    "decompose-conv-transpose": TENSOR_DIALECTS,
    "rewrite-algebra": TENSOR_DIALECTS,
    "shrink-channels": TENSOR_DIALECTS,
    "encode-sparsity": TENSOR_DIALECTS,
    "filter-kernel-reorder": TENSOR_DIALECTS,
    "propagate-permutation": TENSOR_DIALECTS,
    "decompose-quantization": TENSOR_DIALECTS,
    "fuse": TENSOR_DIALECTS,
    "lower-precision": TENSOR_DIALECTS,
    "choose-kernel": TENSOR_DIALECTS,
    "sparse-linear": TENSOR_DIALECTS,
    "layout-tuning": TENSOR_DIALECTS,
    "eliminate-data-movement": TENSOR_DIALECTS,
    "fuse-pooling": TENSOR_DIALECTS,
    "convert-to-lane": KERNEL_DIALECTS,
    "load-redundancy-elimination": KERNEL_DIALECTS,
    "plan-memory": KERNEL_DIALECTS,
}
"""Dialects that may remain after each pass."""


def tensor_passes(options: Options, target: Target) -> tuple[ModulePass, ...]:
    """The first half: passes on whole tensors."""
    return (
        *_number_passes(options, target),
        *_weight_passes(options),
        *_choice_passes(options, target),
    )


def _number_passes(options: Options, target: Target) -> tuple[ModulePass, ...]:
    """One form for every layer, and integers wherever they stay."""
    return (
        # Padding, no-ops and 1-D layers in the one form that later passes match.
        CanonicalizeNn(),
        # Rows of tokens as matrices, before bytes take the shapes they have.
        *((FlattenRows(),) if options.integers == "auto" else ()),
        # Layers are in one form: let bytes meet between them.
        PropagateQuantization(),
        # What is bound by reading weights; the others get them in float32 next.
        *((WeightOnly(),) if options.integers == "auto" else ()),
        # Before passes that look at weights, which float32 layers have from here on.
        IntegerLayers(
            never=options.integers == "never",
            # Nothing in float32 comes near to tiles.
            sparse=options.sparsity != "ignore"
            and not has_tiles(target, Product.BYTES),
            lanes=target.lanes,
            registers=target.registers,
            l1_bytes=target.l1d_bytes,
            bounded=wants_bounded(target),
        ),
    )


def _weight_passes(options: Options) -> tuple[ModulePass, ...]:
    """The last values of weights, and what of them is stored in which order."""
    sparse = options.sparsity != "ignore"
    return (
        # Before anything looks at weights: folding changes them.
        FoldBatchNorm(),
        # After folding, which knows transposed convolutions too.
        DecomposeConvTranspose(),
        # What folding and decomposing left: reshapes, dead constants.
        CanonicalizeNn(),
        # Last to change the values of weights; matches the one form.
        *((RewriteAlgebra(),) if options.rewrite_algebra else ()),
        # Weights have their last values; smaller ones are encoded, if at all.
        *((ShrinkChannels(),) if sparse and options.shrink else ()),
        # The weights are final now: find the zeros that a scheme explains.
        *((EncodeSparsity(reorder=options.reorder),) if sparse else ()),
        # Order is a property of the storage, so it comes before any layout.
        *((FilterKernelReorder(),) if sparse and options.reorder else ()),
        # Rows have their last order, and ops are still single: channels take it over.
        *((PropagatePermutation(),) if sparse and options.reorder else ()),
        # What no integer kernel reads; after rewrites that would change its rounding.
        DecomposeQuantization(),
    )


def _choice_passes(options: Options, target: Target) -> tuple[ModulePass, ...]:
    """Which ops one kernel computes, with which kernel, and where tensors lie."""
    lanes, registers = target.lanes, target.registers
    return (
        # After weight rewrites, which match plain nn ops.
        Fuse(),
        # Steps have joined their layers, so casts stand between layers only.
        *(
            (
                LowerPrecision(
                    options.precision,
                    options.error_budget,
                    lanes,
                    registers,
                    target.l1d_bytes,
                    emulated=not has_dot_pairs(target),
                    tiles=has_tiles(target, Product.PAIRS),
                ),
            )
            if options.precision != "float32"
            else ()
        ),
        # Needs fused ops, whose epilogues are part of the cost.
        ChooseKernel(
            lanes,
            registers,
            l1_bytes=target.l1d_bytes,
            force="sparse" if options.sparsity == "always" else None,
            bounded=wants_bounded(target),
            emulated=not has_dot_pairs(target),
            tiles=has_tiles(target, Product.BYTES),
            pair_tiles=has_tiles(target, Product.PAIRS),
        ),
        # Some linear layers are to be convolutions, which layouts are made for.
        SparseLinear(),
        # Needs the families: each asks for other layouts.
        LayoutTuning(
            lanes,
            registers,
            l1_bytes=target.l1d_bytes,
            l2_bytes=target.l2_bytes,
            tune=options.tune_layouts,
            share=options.share_loads,
        ),
        # Where tensors lie is known now; what only moves them can become addresses.
        *((EliminateDataMovement(),) if options.fold_moves else ()),
        # Last on tensors, since it puts ops inside of others.
        FusePooling(lanes, registers, target.l1d_bytes, target.l2_bytes),
    )


def kernel_passes(options: Options, target: Target) -> tuple[ModulePass, ...]:
    """The second half: kernels and memory."""
    return (
        # One kernel per distinct layer, as plain as the algorithm.
        ConvertToLane(lanes=target.lanes),
        # Only here are loads visible.
        *((LoadRedundancyElimination(),) if options.share_loads else ()),
        # Last: nothing adds or removes buffers any more.
        PlanMemory(),
    )


@dataclass(frozen=True)
class PassRecord:
    """What one pass did."""

    name: str
    seconds: float
    statistics: Mapping[str, int]


def run_passes(
    passes: Sequence[ModulePass],
    ctx: Context,
    module: ModuleOp,
    *,
    verify: bool = True,
    observer: Observer | None = None,
) -> tuple[PassRecord, ...]:
    """Run passes in order; verify, check the stage and call `observer` after each.

    Raises `PassFailed` naming the pass that failed or left invalid IR.
    """
    records: list[PassRecord] = []
    for pass_ in passes:
        start = time.perf_counter()
        try:
            statistics = run_pass(pass_, ctx, module)
        except EdgecError as error:
            error.add_note(f"in pass {pass_.name}")
            raise
        records.append(PassRecord(pass_.name, time.perf_counter() - start, statistics))
        if verify:
            check(pass_, module)
        if observer is not None:
            observer(pass_, module)
    return tuple(records)


def check(pass_: ModulePass, module: ModuleOp) -> None:
    """The module verifies and holds only dialects that may remain."""
    try:
        module.verify()
    except (VerifyException, DiagnosticException) as error:
        raise PassFailed(f"pass {pass_.name} left invalid IR: {error}") from error
    allowed = STAGES.get(pass_.name)
    if allowed is None:
        return
    found = {op.name for op in module.walk() if op.name.split(".")[0] not in allowed}
    if found:
        raise PassFailed(
            f"after pass {pass_.name} only {', '.join(sorted(allowed))} may remain, "
            f"found {', '.join(sorted(found))}"
        )
