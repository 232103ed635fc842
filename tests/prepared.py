"""Random modules as they are before a pass in the middle of the pipeline."""

from __future__ import annotations

import numpy as np

from edgec.passes import get_pass
from edgec.passes.base import run_pass
from edgec.passes.choose_kernel import ChooseKernel
from edgec.testing import Case

BEFORE_CHOICE = (
    "canonicalize-nn",
    "fold-batch-norm",
    "canonicalize-nn",
    "encode-sparsity",
    "filter-kernel-reorder",
    "fuse",
)
"""What runs before `choose-kernel`."""

STEPS = (
    *("conv", "block", "batch_norm", "activation", "residual", "affine"),
    *("pool", "concat"),
)
"""Steps of random graphs that are mostly convolutions."""


def prune(case: Case, seed: int) -> None:
    """Give most weights of windows two patterns and empty kernels."""
    rng = np.random.default_rng(seed)
    for name, weight in list(case.ctx.weights.items()):
        positions = int(np.prod(weight.shape[2:]))
        if weight.ndim != 4 or positions < 2 or rng.random() < 0.25:
            continue
        masks = np.zeros((2, positions), np.bool_)
        masks[0, : positions // 2] = masks[1, -(positions // 2) :] = True
        kinds = rng.integers(0, 2, weight.shape[:2])
        keep = masks[kinds] & (rng.random((*weight.shape[:2], 1)) < 0.5)
        pruned = np.where(keep.reshape(weight.shape), weight, np.float32(0))
        case.ctx.weights.discard(name)
        case.ctx.weights.add(name, pruned)


def run_before_choice(case: Case) -> None:
    """Run everything before `choose-kernel` on the case's own module."""
    for name in BEFORE_CHOICE:
        run_pass(get_pass(name)(), case.ctx, case.module)
    case.module.verify()


def run_choice(case: Case) -> None:
    """The same and `choose-kernel`; sparse where it can be, as small layers are not."""
    run_before_choice(case)
    run_pass(ChooseKernel(force="sparse"), case.ctx, case.module)
    case.module.verify()
