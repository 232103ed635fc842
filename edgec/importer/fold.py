"""Which fx nodes depend on weights alone, and what their values are.

Masks (`torch.nn.utils.prune`, parametrizations) export as ops on parameters; folded,
they become one weight with zeros in it. Values are computed when they are asked for.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import fx
from torch.fx.node import map_arg

GROWTH = 2
"""A folded tensor may have this many times the bytes of the weights it is made of, if
these were float32…"""

FLOAT_BYTES = 4

FREE_BYTES = 1 << 20
"""…plus this many, so that positions and small grids fold however they are made."""


class ConstantFolder:
    """Finds and evaluates the constant part of a graph."""

    def __init__(self, graph: fx.Graph, leaves: Mapping[fx.Node, torch.Tensor]) -> None:
        self._values: dict[fx.Node, Any] = dict(leaves)
        self._sources: dict[fx.Node, tuple[fx.Node, ...]] = {n: (n,) for n in leaves}
        self._leaves = frozenset(leaves)
        for node in graph.nodes:
            if node not in self._sources and self._is_foldable(node):
                sources = [s for n in node.all_input_nodes for s in self._sources[n]]
                self._sources[node] = tuple(dict.fromkeys(sources))

    def is_constant(self, node: fx.Node) -> bool:
        """Whether the value of `node` is known at import."""
        return node in self._sources

    def is_leaf(self, node: fx.Node) -> bool:
        """Whether `node` is a parameter, buffer or lifted constant itself."""
        return node in self._leaves

    def sources(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """The leaves that a constant node depends on."""
        return self._sources[node]

    def value(self, node: fx.Node) -> Any:
        """The value of a constant node: a tensor, or a tuple of them."""
        if node not in self._values:
            with torch.no_grad():
                args: Any = map_arg(node.args, self.value)
                kwargs: Any = map_arg(node.kwargs, self.value)
                assert callable(node.target)
                self._values[node] = node.target(*args, **kwargs)
        return self._values[node]

    def _is_foldable(self, node: fx.Node) -> bool:
        if node.op != "call_function":
            return False
        if any(n not in self._sources for n in node.all_input_nodes):
            return False
        return node.target is operator.getitem or (
            _is_pure(node.target) and self._is_small(node)
        )

    def _is_small(self, node: fx.Node) -> bool:
        leaves = {s for n in node.all_input_nodes for s in self._sources[n]}
        allowed = FREE_BYTES + GROWTH * sum(
            # int8 weights stand for float32 numbers, and are dequantized.
            self._values[leaf].numel() * max(self._values[leaf].itemsize, FLOAT_BYTES)
            for leaf in leaves
        )
        found: Any = node.meta.get("val")
        results = cast(
            "Sequence[Any]", found if isinstance(found, tuple | list) else (found,)
        )
        return all(
            isinstance(value, torch.Tensor) and _num_bytes(value) <= allowed
            for value in results
            if value is not None
        )


def _is_pure(target: Any) -> bool:
    """Whether a call of `target` gives the same tensors each time and does no more."""
    schema = getattr(target, "_schema", None)
    if schema is None or schema.is_mutable or not schema.returns:
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags


def _num_bytes(value: torch.Tensor) -> int:
    return value.numel() * value.element_size()
