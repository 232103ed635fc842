"""The passes on tensors one after the other: on random graphs and on a network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from xdsl.dialects.builtin import ModuleOp

from benchmarks.models import MODELS
from edgec.context import EdgecContext
from edgec.dialects import nn
from edgec.importer import import_model
from edgec.interpreter import interpret
from edgec.interpreter.arrays import AnyArray
from edgec.passes.base import ReportingPass
from edgec.passes.canonicalize_nn import CanonicalizeNn
from edgec.passes.decompose_conv_transpose import DecomposeConvTranspose
from edgec.passes.encode_sparsity import EncodeSparsity
from edgec.passes.filter_kernel_reorder import FilterKernelReorder
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.fuse import Fuse
from edgec.passes.shrink_channels import ShrinkChannels
from edgec.testing import Case, assert_results_close, nn_modules

PASSES: tuple[ReportingPass, ...] = (
    CanonicalizeNn(),
    FoldBatchNorm(),
    DecomposeConvTranspose(),
    CanonicalizeNn(),
    ShrinkChannels(),
    EncodeSparsity(),
    FilterKernelReorder(),
    Fuse(),
)
LOWERED = (nn.BatchNormOp, nn.ConvTransposeOp, nn.ConvOp, nn.LinearOp, nn.UnaryOp)


def check(
    module: ModuleOp, ctx: EdgecContext, inputs: Sequence[AnyArray], rtol: float
) -> None:
    """Run all passes in place; the numbers stay and the ops that must go are gone."""
    before = interpret(module, inputs, ctx)
    for one in PASSES:
        one.run(ctx, module)
        module.verify()
    assert not [op.name for op in module.walk() if isinstance(op, LOWERED)]
    assert_results_close(interpret(module, inputs, ctx), before, rtol=rtol)


@given(nn_modules(max_steps=8, spatial_ranks=(1, 2, 3)))
def test_random_graphs(case: Case) -> None:
    check(*case, rtol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "unet"])
def test_networks(name: str) -> None:
    example = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    model = import_model(MODELS[name].build(), (example,))
    check(model.module, model.ctx, [example.numpy()], rtol=1e-5)
