"""The layers of a torch model that hold a weight to compress, with types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

WeightedLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def weighted_layers(model: nn.Module) -> dict[str, WeightedLayer]:
    """Every convolution and linear layer by its dotted path, in the model's order."""
    # torch leaves the type of `named_modules` half open.
    modules = cast(Iterable[tuple[str, nn.Module]], model.named_modules())
    return {name: m for name, m in modules if isinstance(m, WeightedLayer)}
