"""What the tests of coupled pruning share: parts of networks, and what is left."""

from __future__ import annotations

import torch
from torch import nn

from edgec.compress.layers import layer_weights
from edgec.dialects import nn as nn_dialect
from edgec.importer import import_model
from edgec.passes.base import run_pass
from edgec.passes.canonicalize_nn import CanonicalizeNn
from edgec.passes.decompose_conv_transpose import DecomposeConvTranspose
from edgec.passes.fold_batch_norm import FoldBatchNorm
from edgec.passes.shrink_channels import ShrinkChannels
from tests.importing import run

BEFORE = (CanonicalizeNn(), FoldBatchNorm(), DecomposeConvTranspose(), CanonicalizeNn())


class Add(nn.Module):
    """The sum of what several branches make of one tensor."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each branch by itself, then the sum."""
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return total


class Concat(Add):
    """The same, one after the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each branch by itself, then all channels."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def conv(inputs: int, filters: int, window: int = 3, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the image."""
    return nn.Conv2d(inputs, filters, window, padding=window // 2, groups=groups)


def unit(inputs: int, filters: int, window: int = 3, groups: int = 1) -> nn.Module:
    """A convolution with batch norm and activation."""
    return nn.Sequential(
        conv(inputs, filters, window, groups), nn.BatchNorm2d(filters), nn.ReLU()
    )


def living_filters(model: nn.Module) -> list[int]:
    """Of each layer the number of filters with weights, sorted."""
    weights = [w.tensor.detach().flatten(1) for w in layer_weights(model).values()]
    return sorted(int(w.any(1).sum()) for w in weights)


def shrunk_filters(model: nn.Module, x: torch.Tensor) -> tuple[list[int], int]:
    """The number of filters of each layer after `shrink-channels`, and what it held.

    The interpreter's results are those of the model in torch.
    """
    imported = import_model(model.eval(), x)
    for one in BEFORE:
        run_pass(one, imported.ctx, imported.module)
    counts = run_pass(ShrinkChannels(), imported.ctx, imported.module)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(run(imported, (x,)), expected, rtol=1e-4, atol=1e-4)
    filters = [
        nn_dialect.shape_of(op.weight)[0]
        for op in imported.module.walk()
        if isinstance(op, nn_dialect.ConvOp | nn_dialect.LinearOp)
    ]
    return sorted(filters), counts["channels_held"]
