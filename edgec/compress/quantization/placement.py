"""Which values are quantized, and which of them share a range.

Quantized are the inputs of layers, the operands of residual additions, and what stands
around poolings and concatenations between layers, so that a backend can keep the whole
network in integers. A value that ends in an activation is quantized behind it, since
nothing asks for it before. Operations that only move or choose elements, or interpolate
them, get the same range on both sides, so that they can work on codes.

A layer whose result is only added to a residual is one unit with the addition, as in
torch's quantizer for x86: only the other operand has codes, and the sum is formed in
float before it is rounded.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx

from edgec.compress.quantization.network import Network

aten = torch.ops.aten

MOVES = frozenset[Any](
    {
        aten.cat.default,
        aten.clone.default,
        aten.contiguous.default,
        aten.expand.default,
        aten.flatten.using_ints,
        aten.max_pool1d.default,
        aten.max_pool2d.default,
        aten.max_pool3d.default,
        aten.permute.default,
        aten.pixel_shuffle.default,
        aten.reshape.default,
        aten.select.int,
        aten.slice.Tensor,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.transpose.int,
        aten.unsqueeze.default,
        aten.upsample_nearest2d.default,
        aten.upsample_nearest2d.vec,
        aten.view.default,
    }
)
"""Every element of the result is an element of an operand."""

BETWEEN = frozenset[Any](
    {
        aten.upsample_bilinear2d.default,
        aten.upsample_bilinear2d.vec,
        aten.upsample_linear1d.default,
        aten.upsample_linear1d.vec,
    }
)
"""Every element of the result lies between elements of an operand."""

SPLITS = frozenset[Any](
    {
        aten.chunk.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unbind.int,
    }
)
"""Their results are taken out one by one, and each of them only moves elements."""

POOLINGS = frozenset[Any](
    {
        aten.adaptive_avg_pool1d.default,
        aten.adaptive_avg_pool2d.default,
        aten.adaptive_avg_pool3d.default,
        aten.avg_pool1d.default,
        aten.avg_pool2d.default,
        aten.avg_pool3d.default,
        aten.mean.dim,
    }
)
"""Means: quantized on both sides, with ranges of their own."""

ACTIVATIONS = frozenset[Any](
    {
        aten.clamp.default,
        aten.clamp_min.default,
        aten.elu.default,
        aten.gelu.default,
        aten.hardsigmoid.default,
        aten.hardswish.default,
        aten.hardtanh.default,
        aten.leaky_relu.default,
        aten.relu.default,
        aten.relu6.default,
        aten.sigmoid.default,
        aten.silu.default,
        aten.tanh.default,
    }
)
"""What belongs to the layer before it."""


@dataclass
class Placement:
    """The values to quantize."""

    nodes: set[fx.Node] = field(default_factory=set[fx.Node])
    _shared: dict[fx.Node, fx.Node] = field(default_factory=dict[fx.Node, fx.Node])

    def representative(self, node: fx.Node) -> fx.Node:
        """One node for all those that share a range."""
        while node in self._shared:
            node = self._shared[node]
        return node

    def share(self, one: fx.Node, other: fx.Node) -> None:
        """Let two nodes have one range."""
        one, other = self.representative(one), self.representative(other)
        if one is not other:
            self._shared[other] = one


def place(
    network: Network, layers: set[fx.Node], *, fuse_sums: bool = True
) -> Placement:
    """Where quantized values stand around the chosen layers.

    Without `fuse_sums` both operands of every residual addition are quantized.
    """
    placement = Placement()
    pending = _wanted(network, layers, fuse_sums=fuse_sums)
    while pending:
        node = pending.pop()
        if node in placement.nodes or not network.is_float(node):
            continue
        placement.nodes.add(node)
        sources = _sources(network, node)
        if node.target in MOVES | BETWEEN or _is_part(node):
            for source in sources:
                placement.share(node, source)
            pending += sources
        if node.target in POOLINGS:
            pending += sources
    return placement


def _wanted(
    network: Network, layers: set[fx.Node], *, fuse_sums: bool
) -> list[fx.Node]:
    """The values that layers, residual additions and poolings ask for."""
    near = _near_layers(network, layers)
    wanted: list[fx.Node] = []
    for node in network.graph.nodes:
        if node in layers:
            wanted.append(network.layers[node].source)
        elif _is_residual(network, node) and node in near:
            fused = _added_to(node, layers) if fuse_sums else None
            wanted += [n for n in node.all_input_nodes if n is not fused]
        elif node.target in POOLINGS and node in near:
            wanted.append(cast(fx.Node, node.args[0]))
            # The result of the network stays as it is.
            wanted += [node] if any(u.op != "output" for u in node.users) else []
    return wanted


def _added_to(node: fx.Node, layers: set[fx.Node]) -> fx.Node | None:
    """The operand of an addition that is one unit with it, if there is one.

    It is made by a layer for this addition alone, small steps between. Of two such the
    one that runs last: the other is known by then.
    """
    first, last = sorted(cast("tuple[fx.Node, fx.Node]", node.args[:2]))
    for operand in (last, first):
        step = operand
        while step.target in ACTIVATIONS and len(step.users) == 1:
            step = cast(fx.Node, step.args[0])
        if step in layers and len(step.users) == 1 and first is not last:
            return operand
    return None


def _is_part(node: fx.Node) -> bool:
    """Whether it is one result of a split."""
    if node.target is not operator.getitem:
        return False
    return cast(fx.Node, node.args[0]).target in SPLITS


def _sources(network: Network, node: fx.Node) -> list[fx.Node]:
    """The values whose elements it has, through a split."""
    found = cast(fx.Node, node.args[0]) if _is_part(node) else node
    return [n for n in found.all_input_nodes if network.is_float(n)]


def _near_layers(network: Network, layers: set[fx.Node]) -> set[fx.Node]:
    """What is made from the results of layers, with nothing but small steps between."""
    near: set[fx.Node] = set()
    for node in network.graph.nodes:
        steps = (
            node.target in MOVES | BETWEEN
            or node.target in POOLINGS
            or node.target in ACTIVATIONS
            or _is_part(node)
            or _is_residual(network, node)
        )
        sources = _sources(network, node)
        if node in layers or (steps and any(n in near for n in sources)):
            near.add(node)
    return near


def _is_residual(network: Network, node: fx.Node) -> bool:
    """Whether it adds two computed tensors of one shape."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return False
    if not all(network.is_float(operand) for operand in node.args):
        return False
    values = [cast(fx.Node, operand).meta["val"] for operand in node.args]
    return cast(Tensor, values[0]).shape == cast(Tensor, values[1]).shape
