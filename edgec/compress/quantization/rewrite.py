"""The quantized program: codes and pairs put into the graph, exported again."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from edgec.compress.quantization.batches import Arguments
from edgec.compress.quantization.calibration import Result
from edgec.compress.quantization.formats import QuantizedWeight
from edgec.compress.quantization.network import Layer, Network
from edgec.compress.quantization.observers import HIGHEST, Range
from edgec.compress.quantization.recurrent import PARAMETERS, RecurrentWeight


def write_program(
    network: Network,
    ranges: Mapping[fx.Node, Range],
    results: Mapping[fx.Node, Result],
    recurrent: Mapping[RecurrentWeight, QuantizedWeight],
    example: Arguments,
) -> ExportedProgram:
    """The network with quantized weights and values; owns its tensors.

    The network stays as it is.
    """
    # Registers the quantized_decomposed ops.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    module, copies = _copied(network.module)
    writer = _Writer(module, copies)
    for node, result in results.items():
        writer.write_layer(network.layers[node], result)
    for place, weight in recurrent.items():
        writer.write_recurrent(place, weight)
    for node in network.graph.nodes:
        if node in ranges:
            writer.write_pair(copies[node], ranges[node])
    module.graph.eliminate_dead_code()
    _own_tensors(module)
    module.recompile()
    args, kwargs = example
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.export.export(module, args, kwargs, strict=False)


def _copied(
    module: fx.GraphModule,
) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
    """A copy with the same tensors, and its node for each node."""
    tensors = [*module.parameters(), *module.buffers()]
    # torch 2.13 compares specs of trees in a way that it advises against.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        again: fx.GraphModule = copy.deepcopy(module, {id(t): t for t in tensors})
    return again, dict(zip(module.graph.nodes, again.graph.nodes, strict=True))


class _Writer:
    def __init__(
        self, module: fx.GraphModule, copies: Mapping[fx.Node, fx.Node]
    ) -> None:
        """For a copy of a network, whose nodes are `copies` of its nodes."""
        self._module = module
        self._copies = copies
        self._graph = module.graph
        self._first = next(iter(module.graph.nodes))

    def write_pair(self, node: fx.Node, found: Range) -> None:
        """Quantize and dequantize a value for all its users but the caller."""
        ops = torch.ops.quantized_decomposed
        numbers = (found.scale, found.zero_point, 0, HIGHEST, torch.uint8)
        with self._graph.inserting_after(node):
            codes = self._graph.call_function(
                ops.quantize_per_tensor.default, (node, *numbers)
            )
        with self._graph.inserting_after(codes):
            value = self._graph.call_function(
                ops.dequantize_per_tensor.default, (codes, *numbers)
            )
        node.replace_all_uses_with(
            value, delete_user_cb=lambda user: user is not codes and user.op != "output"
        )

    def write_layer(self, layer: Layer, result: Result) -> None:
        """Put the weight and the bias of a layer in."""
        node = self._copies[layer.node]
        if result.weight is None:
            weight = self._constant(layer.name, "weight_values", layer.weight)
        else:
            weight = self._dequantized(layer.name, node, result.weight)
        bias = None
        if result.bias is not None:
            bias = self._constant(layer.name, "bias_values", result.bias)
        node.args = (node.args[0], weight, bias, *node.args[3:])

    def write_recurrent(self, place: RecurrentWeight, weight: QuantizedWeight) -> None:
        """Put a matrix of a recurrent module in."""
        call = self._copies[place.call]
        argument = PARAMETERS[call.target]
        parameters = list(cast("Sequence[fx.Node]", call.args[argument]))
        parameters[place.place] = self._dequantized(place.module, call, weight)
        call.update_arg(argument, parameters)

    def _dequantized(
        self, path: str, call: fx.Node, weight: QuantizedWeight
    ) -> fx.Node:
        """A call that gives the weight, float32."""
        ops = torch.ops.quantized_decomposed
        scales = weight.rows.scales
        is_grouped = scales.shape[1] > 1
        scales = scales if is_grouped else scales[:, 0]
        zeros = torch.zeros(scales.shape, dtype=torch.int32)
        operands = (
            self._constant(path, "weight_codes", weight.codes),
            self._constant(path, "weight_scales", scales),
            self._constant(path, "weight_zero_points", zeros),
        )
        ends = (-weight.top, weight.top, torch.int8)
        target: Any = ops.dequantize_per_channel.default
        arguments: tuple[Any, ...] = (*operands, 0, *ends)
        if is_grouped:
            target = ops.dequantize_per_channel_group.default
            size = weight.codes.shape[1] // scales.shape[1]
            arguments = (*operands, *ends, size, torch.float32)
        with self._graph.inserting_before(call):
            return self._graph.call_function(target, arguments)

    def _constant(self, path: str, name: str, tensor: Tensor) -> fx.Node:
        """A buffer of the layer's module, under a free name."""
        path = path.partition("@")[0]
        try:
            owner = self._module.get_submodule(path)
        except AttributeError:  # a module without parameters of its own
            owner, path = self._module, ""
        free, number = name, 0
        while hasattr(owner, free):
            number += 1
            free = f"{name}_{number}"
        owner.register_buffer(free, tensor.detach().contiguous())
        with self._graph.inserting_before(self._first):
            return self._graph.get_attr(f"{path}.{free}" if path else free)


def _own_tensors(module: fx.GraphModule) -> None:
    """Drop what is not used, and copy what the original model has too."""
    used = {str(n.target) for n in module.graph.nodes if n.op == "get_attr"}
    for path, child in list(cast("Any", module.named_modules())):
        prefix = f"{path}." if path else ""
        for table in (child._parameters, child._buffers):
            for name in list(table):
                if prefix + name not in used:
                    del table[name]
                elif table is child._parameters:
                    tensor = table[name].detach().clone()
                    table[name] = nn.Parameter(tensor, requires_grad=False)
                else:
                    table[name] = table[name].detach().clone()
