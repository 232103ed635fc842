"""Random modules as they are before a pass in the middle of the pipeline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgec.passes import get_pass
from edgec.passes.base import run_pass
from edgec.passes.choose_kernel import ChooseKernel
from edgec.passes.sparse_linear import SparseLinear
from edgec.testing import Case

Bools = npt.NDArray[np.bool_]

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
    *("pool", "concat", "transpose", "linear"),
)
"""Steps of random graphs that are mostly convolutions."""


def prune(case: Case, seed: int) -> None:
    """Leave some weights dense, give the others patterns, blocks, or no structure."""
    rng = np.random.default_rng(seed)
    for name, weight in list(case.ctx.weights.items()):
        if weight.ndim not in (2, 4, 5) or rng.random() < 0.25:
            continue
        has_window = weight.ndim == 4 and int(np.prod(weight.shape[2:])) > 1
        if has_window and rng.random() < 0.5:
            keep = _patterns(weight.shape, rng)
        else:
            keep = _blocks(weight.shape, int(rng.choice([1, 2, 4, 8])), rng)
        pruned = np.where(keep, weight, np.float32(0))
        case.ctx.weights.discard(name)
        case.ctx.weights.add(name, pruned)


def _patterns(shape: tuple[int, ...], rng: np.random.Generator) -> Bools:
    """Two patterns, and half of the kernels empty."""
    positions = int(np.prod(shape[2:]))
    masks = np.zeros((2, positions), np.bool_)
    masks[0, : positions // 2] = masks[1, -(positions // 2) :] = True
    kinds = rng.integers(0, 2, shape[:2])
    keep = masks[kinds] & (rng.random((*shape[:2], 1)) < 0.5)
    return keep.reshape(shape)


def _blocks(shape: tuple[int, ...], block: int, rng: np.random.Generator) -> Bools:
    """Blocks of filters that keep a third of their columns, sometimes permuted."""
    blocks = -(-shape[0] // block)
    keep = np.repeat(rng.random((blocks, *shape[1:])) < 0.3, block, axis=0)
    keep = keep[: shape[0]]
    return rng.permutation(keep) if rng.random() < 0.3 else keep


def run_before_choice(case: Case) -> None:
    """Run everything before `choose-kernel` on the case's own module."""
    for name in BEFORE_CHOICE:
        run_pass(get_pass(name)(), case.ctx, case.module)
    case.module.verify()


def run_choice(case: Case) -> None:
    """The same and `choose-kernel`; sparse where it can be, as small layers are not.

    Then `sparse-linear`, which `layout-tuning` needs.
    """
    run_before_choice(case)
    run_pass(ChooseKernel(force="sparse"), case.ctx, case.module)
    run_pass(SparseLinear(), case.ctx, case.module)
    case.module.verify()
