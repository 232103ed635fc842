"""Weights of recurrent layers as codes with a scale per row.

They are rounded to the nearest code, without calibration: the state, the input and all
sums stay float32 (weight-only), and a kernel reads the codes. Biases stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from edgec.compress.quantization.formats import (
    QuantizedWeight,
    WeightFormat,
    choose_rows,
)
from edgec.compress.quantization.network import Network
from edgec.errors import InvalidInput
from edgec.importer.problems import module_path

aten = torch.ops.aten

PARAMETERS: dict[Any, int] = {
    aten.gru.input: 2,
    aten.lstm.input: 2,
    aten.rnn_tanh.input: 2,
    aten.rnn_relu.input: 2,
}
"""Calls of recurrent modules, and which argument is the list of their parameters."""


@dataclass(frozen=True, eq=False)
class RecurrentWeight:
    """A matrix of a recurrent module."""

    name: str
    """Dotted path of the parameter."""
    module: str
    """Of its module."""
    call: fx.Node
    place: int
    """In the list of parameters."""
    weight: Tensor

    @property
    def node(self) -> fx.Node:
        """What gives the matrix to the call."""
        return self.parameters[self.place]

    @property
    def parameters(self) -> list[fx.Node]:
        """All parameters of the call."""
        return list(
            cast("Sequence[fx.Node]", self.call.args[PARAMETERS[self.call.target]])
        )


def recurrent_weights(network: Network) -> list[RecurrentWeight]:
    """All matrices of recurrent modules that are known, in the order of the calls."""
    found: list[RecurrentWeight] = []
    for call in network.graph.nodes:
        if call.target not in PARAMETERS:
            continue
        module = module_path(call) or call.name
        for place, node in enumerate(call.args[PARAMETERS[call.target]]):
            if not network.constants.is_constant(node):
                continue
            tensor = cast(Tensor, network.constants.value(node))
            if tensor.dim() != 2:
                continue
            name = f"{module}.{str(node.target).rpartition('.')[2]}"
            found.append(RecurrentWeight(name, module, call, place, tensor))
    return found


def round_weight(weight: RecurrentWeight, chosen: WeightFormat) -> QuantizedWeight:
    """Its codes; a format with groups or of mixed bits has one scale per row.

    Raises `InvalidInput` for a weight that is not finite float32.
    """
    matrix = weight.weight
    if matrix.dtype != torch.float32 or not bool(torch.isfinite(matrix).all()):
        raise InvalidInput(
            f"the weight '{weight.name}' must be finite float32, "
            f"got {matrix.dtype} or infinities or NaNs"
        )
    rows = choose_rows(matrix, chosen.grid)
    return QuantizedWeight(rows.round(matrix), rows, chosen.grid.top)
