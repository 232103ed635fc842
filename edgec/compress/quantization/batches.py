"""Calibration batches: what a user gives, checked, and runs of a graph on them.

A graph runs on all batches node by node: each value is known for all batches before the
next is computed, so that observers see all of it, and what is decided for a layer is in
force for those behind it. Memory holds what is still needed, for all batches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx
from torch.fx.node import map_arg

from edgec.compress.quantization.network import Network
from edgec.errors import InvalidInput

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a call."""


def read_batches(batches: object) -> list[Arguments]:
    """The calibration batches as arguments; all of one structure, shape and type."""
    found = batches
    if isinstance(batches, Tensor | np.ndarray | Mapping) or not isinstance(
        batches, Iterable
    ):
        raise InvalidInput(
            "calibration_batches must be an iterable of batches, each a tensor, a "
            f"tuple or a mapping as for the model; got {type(found).__name__}"
        )
    calls = [_arguments(batch) for batch in cast(Iterable[object], batches)]
    if not calls:
        raise InvalidInput("calibration_batches must hold at least one batch, got none")
    for number, call in enumerate(calls):
        _check(number, call, calls[0])
    return calls


def _arguments(batch: object) -> Arguments:
    batch = pytree.tree_map_only(np.ndarray, torch.as_tensor, batch)
    if isinstance(batch, Mapping):
        return (), dict(cast("Mapping[str, Any]", batch))
    if isinstance(batch, tuple | list):
        return tuple(cast("Sequence[Any]", batch)), {}
    return (batch,), {}


def _check(number: int, call: Arguments, first: Arguments) -> None:
    """One batch: as the first, of tensors that are finite."""
    leaves, structure = pytree.tree_flatten_with_path(call)
    wanted, of_first = pytree.tree_flatten(first)
    if structure != of_first:
        raise InvalidInput(
            f"calibration batch {number} must have the structure of the first, "
            f"{_show(first)}; got {_show(call)}"
        )
    for (path, leaf), like in zip(leaves, wanted, strict=True):
        what = f"calibration batch {number}, input {pytree.keystr(path[1:])}"
        if not isinstance(leaf, Tensor):
            if isinstance(like, Tensor) or leaf != like:
                raise InvalidInput(f"{what}, must be {like!r} as in batch 0")
            continue
        if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
            raise InvalidInput(
                f"{what}, must be {like.dtype} of shape {tuple(like.shape)} as in "
                f"batch 0; got {leaf.dtype} of shape {tuple(leaf.shape)}"
            )
        if leaf.is_floating_point() and not torch.isfinite(leaf).all():
            bad = int((~torch.isfinite(leaf)).sum())
            raise InvalidInput(f"{what}, must be finite, got {bad} infinities or NaNs")


def _show(call: Arguments) -> str:
    """`(tensor, tensor)`, or a mapping."""
    named = pytree.tree_map_only(Tensor, lambda _: "tensor", call)
    return str(named[1] or named[0]).replace("'tensor'", "tensor")


class Run:
    """The values of a network on all batches, computed node by node."""

    def __init__(
        self,
        network: Network,
        batches: Sequence[Arguments],
        replaced: Mapping[fx.Node, Tensor] | None = None,
    ) -> None:
        """Of the network with other tensors for some of its constants."""
        self._network = network
        self._replaced = dict(replaced or {})
        self._count = len(batches)
        self._inputs = self._placeholders(batches)
        self._values: dict[fx.Node, list[Any]] = {}
        self._last: dict[fx.Node, fx.Node] = {
            source: node
            for node in network.graph.nodes
            for source in node.all_input_nodes
        }

    def nodes(self) -> Iterator[fx.Node]:
        """Every node that depends on the inputs; forgets what is not needed."""
        yield from self._each(list(self._network.graph.nodes))

    def outputs(self) -> list[list[Any]]:
        """What the network gives, once all nodes have values: for each batch a list.

        Constants of Python that it gives are left out.
        """
        last = next(n for n in self._network.graph.nodes if n.op == "output")
        leaves = pytree.tree_leaves(last.args[0])
        nodes = [leaf for leaf in leaves if isinstance(leaf, fx.Node)]
        return [
            [self._value(node, number) for node in nodes]
            for number in range(self._count)
        ]

    def outputs_with(self, node: fx.Node, values: list[Any]) -> list[list[Any]]:
        """What it would give if a node had these values, and those before it theirs.

        The nodes before it are not computed again: this can be asked while the run is
        there. The run stays as it is.
        """
        rest = copy.copy(self)
        rest._values = {**self._values, node: values}
        nodes = list(self._network.graph.nodes)
        for each in rest._each(nodes[nodes.index(node) + 1 :]):
            rest.keep(each, rest.compute(each))
        return rest.outputs()

    def _each(self, nodes: Sequence[fx.Node]) -> Iterator[fx.Node]:
        for node in nodes:
            if node.op == "output" or self._network.constants.is_constant(node):
                continue
            if node.op in ("placeholder", "call_function"):
                yield node
            for source in {*node.all_input_nodes, node}:
                if self._last.get(source, node) is node:
                    self._values.pop(source, None)

    def compute_with(
        self, node: fx.Node, replaced: Mapping[fx.Node, Tensor]
    ) -> list[Any]:
        """The value of a call with other tensors for some of its constants."""
        other = copy.copy(self)
        other._replaced = {**self._replaced, **replaced}
        return other.compute(node)

    def compute(self, node: fx.Node) -> list[Any]:
        """The value of a node in every batch, from those of the nodes before it."""
        if node.op == "placeholder":
            return self._inputs[node]
        if node in self._network.layers:
            layer = self._network.layers[node]
            # Its weights are no longer those of the graph if a norm was folded.
            return [
                layer(x, layer.weight, layer.bias) for x in self._values[layer.source]
            ]
        return [self._call(node, number) for number in range(self._count)]

    def keep(self, node: fx.Node, values: list[Any]) -> None:
        """What the nodes behind see as the value of a node."""
        self._values[node] = values

    def values(self, node: fx.Node) -> list[Any]:
        """What was kept."""
        return self._values[node]

    def _call(self, node: fx.Node, number: int) -> Any:
        target: Any = node.target
        args: Any = map_arg(node.args, lambda n: self._value(n, number))
        kwargs: Any = map_arg(node.kwargs, lambda n: self._value(n, number))
        return target(*args, **kwargs)

    def _value(self, node: fx.Node, number: int) -> Any:
        if node in self._replaced:
            return self._replaced[node]
        if self._network.constants.is_constant(node):
            return self._network.constants.value(node)
        return self._values[node][number]

    def _placeholders(self, batches: Sequence[Arguments]) -> dict[fx.Node, list[Any]]:
        nodes = [n for n in self._network.graph.nodes if n.op == "placeholder"]
        leaves = [pytree.tree_leaves(batch) for batch in batches]
        if len(leaves[0]) != len(nodes):
            raise InvalidInput(
                f"a calibration batch must have {len(nodes)} tensors as the model's "
                f"inputs, got {len(leaves[0])}"
            )
        for node, leaf in zip(nodes, leaves[0], strict=True):
            value = node.meta.get("val")
            if isinstance(value, Tensor) and (
                not isinstance(leaf, Tensor) or leaf.shape != value.shape
            ):
                found = tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf)
                raise InvalidInput(
                    f"input '{node.name}' of the program has shape "
                    f"{tuple(value.shape)}; calibration batches have {found}"
                )
        return {node: [row[i] for row in leaves] for i, node in enumerate(nodes)}
