"""Compression schemes: projections, masks, one-shot pruning, quantization.

Knows nothing of compiling: what comes out is an ordinary torch model with zeros in the
right places, and the compiler finds the scheme from the zeros alone; or an exported
program whose weights are integers. Exports are loaded
on first use, so that importing this package does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgec.compress.channels import ChannelGroups
    from edgec.compress.machine import granules_for
    from edgec.compress.masks import MaskedGradients, apply_masks, masks_of
    from edgec.compress.pruning import prune
    from edgec.compress.quantization.quantizing import quantize
    from edgec.compress.quantization.report import QuantizedLayer, QuantizeReport
    from edgec.compress.report import LayerReport, PruneReport

__all__ = [
    "ChannelGroups",
    "LayerReport",
    "MaskedGradients",
    "PruneReport",
    "QuantizeReport",
    "QuantizedLayer",
    "apply_masks",
    "granules_for",
    "masks_of",
    "prune",
    "quantize",
]

_HOMES = {
    "ChannelGroups": "channels",
    "LayerReport": "report",
    "MaskedGradients": "masks",
    "PruneReport": "report",
    "QuantizeReport": "quantization.report",
    "QuantizedLayer": "quantization.report",
    "apply_masks": "masks",
    "granules_for": "machine",
    "masks_of": "masks",
    "prune": "pruning",
    "quantize": "quantization.quantizing",
}


def __getattr__(name: str) -> Any:  # Any: one function serves every export
    """Load an export from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The exports, loaded or not."""
    return sorted(__all__)
