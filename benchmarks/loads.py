"""What reordering and sharing save: loads for each multiply-add, counted, not timed.

Each scheme on two layers, compiled as it comes (no `reorder`, no `share_loads`) and
with all passes. A multiply-add counts if its weight is not zero and its position is not
in a gap: loads for the others are loads too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from benchmarks.counting import Counts, count_products
from edgec.compress import prune
from edgec.dialects import sq
from edgec.driver import host_features
from edgec.importer import import_model
from edgec.options import Options
from edgec.pipeline import kernel_passes, run_passes, tensor_passes
from edgec.target import Target

PLAIN = Options(sparsity="always", reorder=False, share_loads=False)
"""Sparse kernels without what is measured; also where dense is faster."""
FULL = Options(sparsity="always")


@dataclass(frozen=True)
class Layer:
    """A convolution and the size of its planes."""

    name: str
    channels: int
    filters: int
    window: int
    size: int


@dataclass(frozen=True)
class Pruning:
    """How its weight is pruned."""

    name: str
    scheme: str
    """For `prune`."""
    density: float | None
    is_permuted: bool = False
    """Whether its filters stand in a random order afterwards."""


LAYERS = (
    Layer("conv 256, 56x56", 256, 256, 3, 56),
    Layer("1x1 256 to 1024, 14x14", 256, 1024, 1, 14),
)
PRUNINGS = (
    Pruning("patterns", "pattern", 4 / 9),
    Pruning("patterns and connectivity, 1/8", "pattern", 1 / 8),
    Pruning("block-punched by 8, 1/4", "block-punched:8", 1 / 4),
    Pruning("block-punched by 4, 1/4", "block-punched:4", 1 / 4),
    Pruning("block-punched by 8, permuted, 1/4", "block-punched:8", 1 / 4, True),
    Pruning("2:4", "2:4", None),
    Pruning("1:4", "1:4", None),
    Pruning("unstructured, 1/10", "unstructured", 1 / 10),
)


@dataclass(frozen=True)
class Compiled:
    """One way to compile a layer."""

    kernel: str
    """Its family."""
    loads: float
    """Loads for each multiply-add that counts."""
    vectors: float
    """Those of them that load a vector of inputs or of partial sums."""
    products: float
    """Multiply-adds for each that counts."""


@dataclass(frozen=True)
class Row:
    """A scheme on a layer."""

    layer: str
    pruning: str
    before: Compiled
    after: Compiled

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def count_all(target: str, say: Callable[[str], None]) -> Iterator[Row]:
    """A row for each scheme on each layer that it is for."""
    machine = Target.parse(target, host_features)
    for layer in LAYERS:
        for pruning in PRUNINGS:
            if pruning.scheme == "pattern" and layer.window == 1:
                continue
            say(f"{layer.name}: {pruning.name}")
            yield count(layer, pruning, machine)


def count(layer: Layer, pruning: Pruning, target: Target) -> Row:
    """Prune a layer with random weights, compile it twice, and count."""
    conv = pruned(layer, pruning)
    x = torch.zeros(1, layer.channels, layer.size, layer.size)
    kept = int(torch.count_nonzero(conv.weight))
    useful = kept * layer.size**2 / target.lanes

    def compiled(options: Options) -> Compiled:
        family, counts = count_model(conv, x, target, options)
        return Compiled(
            family,
            counts.loads / useful,
            counts.vectors / useful,
            counts.products / useful,
        )

    return Row(layer.name, pruning.name, compiled(PLAIN), compiled(FULL))


def pruned(layer: Layer, pruning: Pruning) -> nn.Conv2d:
    """The layer; the same weights each time."""
    torch.manual_seed(0)
    pad = layer.window // 2
    conv = nn.Conv2d(layer.channels, layer.filters, layer.window, padding=pad)
    conv.eval().requires_grad_(requires_grad=False)
    prune(conv, pruning.scheme, pruning.density, skip_first=False)
    if pruning.is_permuted:
        conv.weight.copy_(conv.weight[torch.randperm(layer.filters)])
    return conv


def count_model(
    model: nn.Module, x: torch.Tensor, target: Target, options: Options
) -> tuple[str, Counts]:
    """The kernel family of the only convolution of a model, and its counts."""
    imported = import_model(model, x)
    families: list[str] = []

    def look(pass_: ModulePass, module: ModuleOp) -> None:
        if pass_.name == "choose-kernel":
            convs = [op for op in module.walk() if isinstance(op, sq.ConvOp)]
            families.extend(op.kernel.family.data for op in convs if op.kernel)

    passes = (*tensor_passes(options, target), *kernel_passes(options, target))
    run_passes(passes, imported.ctx, imported.module, observer=look)
    (family,) = families
    return family, count_products(imported.module, imported.ctx.weights)
