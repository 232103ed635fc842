"""The weights of a torch model that can be compressed, with types.

A layer is a convolution, a linear layer, or one matrix of a recurrent layer: an
`nn.LSTM` of two layers has four, each with its own row in a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from edgec.compress.geometry import Geometry

WeightedLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class LayerWeight:
    """One weight of a model."""

    name: str
    """The module's dotted path, of a recurrent layer that of the parameter."""
    path: str
    """The module's dotted path."""
    module: nn.Module
    attribute: str
    """The module's attribute that holds the weight."""
    geometry: Geometry

    @property
    def tensor(self) -> Tensor:
        """The weight; no parameter where it is computed by a parametrization."""
        return cast(Tensor, getattr(self.module, self.attribute))

    @property
    def parameter_name(self) -> str:
        """Its name in `named_parameters`."""
        return _join(self.path, self.attribute)


def layer_weights(model: nn.Module) -> dict[str, LayerWeight]:
    """Every weight to compress by its name, in the model's order."""
    return {w.name: w for path, m in _modules(model) for w in _weights(path, m)}


def _modules(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    # torch leaves the type of `named_modules` half open.
    return cast(Iterable[tuple[str, nn.Module]], model.named_modules())


def _weights(path: str, module: nn.Module) -> Iterator[LayerWeight]:
    """The weights of one module, without those of its children."""
    if isinstance(module, WeightedLayer):
        yield LayerWeight(path, path, module, "weight", _geometry(module))
    for attribute in _matrices(module):
        rows, columns = cast(Tensor, getattr(module, attribute)).shape
        geometry = Geometry("recurrent", rows, columns)
        yield LayerWeight(_join(path, attribute), path, module, attribute, geometry)


def _geometry(module: WeightedLayer) -> Geometry:
    filters, channels, *_ = module.weight.shape
    if isinstance(module, nn.Linear):
        return Geometry("linear", filters, channels)
    window = tuple(module.kernel_size)
    return Geometry("convolution", filters, channels, window, module.groups)


def _matrices(module: nn.Module) -> Iterator[str]:
    """Names of the weights of a recurrent module, whether or not they are computed."""
    if isinstance(module, nn.RNNCellBase):
        yield from ("weight_ih", "weight_hh")
    if isinstance(module, nn.RNNBase):
        kinds = ("ih", "hh", "hr") if module.proj_size else ("ih", "hh")
        for number in range(module.num_layers):
            for suffix in ("", "_reverse")[: 1 + module.bidirectional]:
                yield from (f"weight_{kind}_l{number}{suffix}" for kind in kinds)


def _join(path: str, attribute: str) -> str:
    return f"{path}.{attribute}" if path else attribute
