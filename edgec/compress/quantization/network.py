"""The float model as a functional graph with its layers, batch norms folded.

Batch norms go into the convolution or linear layer before them, so that weights are
quantized as they will run.
"""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from edgec.errors import InvalidInput
from edgec.importer.export import exported
from edgec.importer.fold import ConstantFolder
from edgec.importer.problems import module_path

aten = torch.ops.aten

DIMENSIONS: dict[Any, int] = {
    aten.linear.default: 0,
    aten.conv1d.default: 1,
    aten.conv1d.padding: 1,
    aten.conv2d.default: 2,
    aten.conv2d.padding: 2,
    aten.conv3d.default: 3,
    aten.conv3d.padding: 3,
}
"""The calls that are layers, with the dimensions of their window."""

IDENTITIES = frozenset({aten.clone.default, aten.alias.default, aten.detach.default})
"""What a dropout becomes, among others."""

BATCH_NORMS: dict[Any, tuple[int, int]] = {
    aten.batch_norm.default: (3, 7),
    aten._native_batch_norm_legit_no_training.default: (3, 6),
}
"""Position of the mean, which the variance follows, and of epsilon, as arguments."""


@dataclass(eq=False)
class Layer:
    """One convolution or linear layer of the graph."""

    name: str
    """Dotted path of its module."""
    node: fx.Node
    weight: Tensor
    """Float32, with what was folded into it."""
    bias: Tensor | None

    @property
    def source(self) -> fx.Node:
        """Where its input comes from."""
        return cast(fx.Node, self.node.args[0])

    @property
    def dimensions(self) -> int:
        """Of the window; 0 for a linear layer."""
        return DIMENSIONS[self.node.target]

    @property
    def groups(self) -> int:
        """Of the channels."""
        arguments = self.node.args
        return cast(int, arguments[6]) if len(arguments) > 6 else 1

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run it with another weight and bias."""
        target: Any = self.node.target
        return target(x, weight, bias, *self.node.args[3:])

    def channel_dimension(self, output: Tensor) -> int:
        """The dimension of an output that its rows make."""
        return output.dim() - 1 - self.dimensions


@dataclass
class Network:
    """The float model, ready to be quantized."""

    module: fx.GraphModule
    layers: dict[fx.Node, Layer]
    """In the order in which they run."""
    constants: ConstantFolder

    @property
    def graph(self) -> fx.Graph:
        """The graph of the module."""
        return self.module.graph

    def is_float(self, node: object) -> bool:
        """Whether it is a float32 tensor that depends on the inputs."""
        if not isinstance(node, fx.Node) or self.constants.is_constant(node):
            return False
        value = node.meta.get("val")
        return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def read_network(model: object, args: tuple[Any, ...], kwargs: Any) -> Network:
    """Export a model and fold its batch norms; its own weights stay as they are."""
    # Calibration compares batches with what an exported program takes.
    is_exported = isinstance(model, ExportedProgram)
    program = exported(model, None if is_exported else kwargs or args)
    check_is_float(program.graph, "quantize")
    # torch 2.13 calls its own deprecated functions here.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        # Without a table: in-place calls become functional, nothing is taken apart.
        functional = program.run_decompositions({})  # pyright: ignore[reportUnknownMemberType]  # torch leaves the table's type open
        module = functional.module(check_guards=False)
    _drop_identities(module.graph)
    leaves = {
        node: _attribute(module, str(node.target))
        for node in module.graph.nodes
        if node.op == "get_attr"
    }
    constants = ConstantFolder(module.graph, leaves)
    layers: dict[fx.Node, Layer] = {}
    for node in module.graph.nodes:
        layer = _layer(node, constants)
        if layer is not None:
            layers[node] = layer
    network = Network(module, layers, constants)
    for layer in list(layers.values()):
        _fold_batch_norm(network, layer)
    _number_calls(network)
    return network


def check_is_float(graph: fx.Graph, action: str) -> None:
    """Raise `InvalidInput`, which says to do the action before, if it is quantized."""
    for node in graph.nodes:
        if str(node.target).startswith("quantized_decomposed."):
            raise InvalidInput(
                f"the model is quantized already ({node.target} in its graph): "
                f"{action} the float32 model it was made from"
            )


def _drop_identities(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target not in IDENTITIES or not isinstance(node.args[0], fx.Node):
            continue
        # A copy may be there for its strides; what a caller gets stays a copy.
        values = [n.meta.get("val") for n in (node, node.args[0])]
        dense = all(isinstance(v, Tensor) and v.is_contiguous() for v in values)
        if dense and all(user.op != "output" for user in node.users):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _attribute(module: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    return cast(Tensor, getattr(module.get_submodule(owner), name)).detach()


def _layer(node: fx.Node, constants: ConstantFolder) -> Layer | None:
    """The layer that a call is, if its parameters are known and its input is not."""
    if node.target not in DIMENSIONS or constants.is_constant(node):
        return None
    arguments = [*node.args, None, None][1:3]
    known = [a for a in arguments if isinstance(a, fx.Node)]
    if node.kwargs or not all(constants.is_constant(a) for a in known):
        return None
    if not isinstance(node.args[0], fx.Node) or not isinstance(arguments[0], fx.Node):
        return None
    name = module_path(node) or node.name
    weight, bias = (
        None if a is None else cast(Tensor, constants.value(cast(fx.Node, a)))
        for a in arguments
    )
    assert weight is not None
    _check_weight(name, weight)
    return Layer(name, node, weight.clone(), None if bias is None else bias.clone())


def _check_weight(name: str, weight: Tensor) -> None:
    if weight.dtype != torch.float32:
        raise InvalidInput(
            f"the weight of '{name}' must be float32, got {weight.dtype}"
        )
    bad = int((~torch.isfinite(weight)).sum())
    if bad:
        raise InvalidInput(
            f"the weight of '{name}' must be finite, got {bad} infinities or NaNs"
        )


def _fold_batch_norm(network: Network, layer: Layer) -> None:
    """Fold a batch norm that is the only user of a layer, if its numbers are known."""
    users = list(layer.node.users)
    if len(users) != 1 or users[0].target not in BATCH_NORMS:
        return
    norm = users[0]
    place, epsilon = BATCH_NORMS[norm.target]
    found: list[Any] = [*norm.args[1:3], *norm.args[place : place + 2]]
    is_training = norm.target is aten.batch_norm.default and norm.args[5]
    known = all(a is None or network.constants.is_constant(a) for a in found)
    if is_training or not known or not _is_over_rows(layer, norm):
        return
    scale, shift, mean, variance = (
        None if a is None else cast(Tensor, network.constants.value(a)).double()
        for a in found
    )
    assert mean is not None
    assert variance is not None
    factor = (variance + cast(float, norm.args[epsilon])).rsqrt()
    factor = factor if scale is None else factor * scale
    bias = 0.0 if layer.bias is None else layer.bias.double()
    bias = (bias - mean) * factor + (0.0 if shift is None else shift)
    rows = factor.reshape(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = (layer.weight.double() * rows).float()
    layer.bias = bias.float()
    _check_weight(layer.name, layer.weight)
    for user in list(norm.users) if norm.target is not aten.batch_norm.default else []:
        if user.target is operator.getitem and user.args[1] == 0:
            user.replace_all_uses_with(layer.node)
            network.graph.erase_node(user)
    if norm.target is aten.batch_norm.default:
        norm.replace_all_uses_with(layer.node)
    if not norm.users:
        network.graph.erase_node(norm)


def _is_over_rows(layer: Layer, norm: fx.Node) -> bool:
    """Whether the channels of the norm, dimension 1, are the rows of the layer."""
    value = layer.node.meta["val"]
    return norm.args[0] is layer.node and layer.channel_dimension(value) == 1


def _number_calls(network: Network) -> None:
    """Give the second and later calls of one module names of their own."""
    seen: dict[str, int] = {}
    for layer in network.layers.values():
        count = seen.get(layer.name, 0)
        seen[layer.name] = count + 1
        if count:
            layer.name = f"{layer.name}@{count}"
