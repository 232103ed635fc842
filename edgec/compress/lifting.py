"""The layers of an exported program as modules again, so that it can be pruned.

An exported program calls functions: `conv2d(x, weight, bias, …)`. Here each call of a
convolution or a linear layer that takes all parameters of one module, by their usual
names, becomes a module at that path, which owns the same parameters.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from edgec.compress.layers import WeightedLayer

aten = torch.ops.aten

CONVOLUTIONS: dict[Any, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    aten.conv1d.default: nn.Conv1d,
    aten.conv1d.padding: nn.Conv1d,
    aten.conv2d.default: nn.Conv2d,
    aten.conv2d.padding: nn.Conv2d,
    aten.conv3d.default: nn.Conv3d,
    aten.conv3d.padding: nn.Conv3d,
}
"""The calls that are convolutions."""


def lift_layers(program: ExportedProgram) -> fx.GraphModule:
    """A module that computes what the program does, with modules for its layers.

    Its parameters are those of the program: pruning one prunes the other.
    """
    module = program.module(check_guards=False)
    lifted: dict[str, WeightedLayer] = {}
    for node in list(module.graph.nodes):
        path = _owner(node)
        layer = None if path is None else _layer(module, node, path)
        if path is None or layer is None:
            continue
        # A module that is called twice has one place, unless the calls differ.
        if repr(lifted.setdefault(path, layer)) != repr(layer):
            continue
        with module.graph.inserting_before(node):
            called = module.graph.call_module(path, (node.args[0],))
        called.meta = dict(node.meta)
        node.replace_all_uses_with(called)
        module.graph.erase_node(node)
    for path, layer in lifted.items():
        module.set_submodule(path, layer)
    module.graph.eliminate_dead_code()
    _sort_parameters(module.graph)
    # A plain module: that of a program refuses `eval()`.
    return fx.GraphModule(module, module.graph).eval()


def _sort_parameters(graph: fx.Graph) -> None:
    """Put what reads a parameter before its first use.

    A graph module lists its submodules in the order of its graph. That of a program
    begins with all parameters, so that a layer that calls itself `0` would come after
    block `4`, whose batch norms are read there, and not count as the first.
    """
    for node in graph.find_nodes(op="get_attr"):
        min(node.users).prepend(node)


def _owner(node: fx.Node) -> str | None:
    """The path of the module whose `weight` and `bias` a layer takes."""
    if node.target not in CONVOLUTIONS and node.target is not aten.linear.default:
        return None
    _, weight, bias, *_ = (*node.args, None)
    path, _, name = _parameter(weight).rpartition(".")
    if name != "weight" or not path or node.kwargs:
        return None
    return path if bias is None or _parameter(bias) == f"{path}.bias" else None


def _parameter(argument: object) -> str:
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return ""
    return str(cast(object, argument.target))


def _layer(module: fx.GraphModule, node: fx.Node, path: str) -> WeightedLayer | None:
    """The module that a call is, with the parameters of the one at `path`."""
    owner = module.get_submodule(path)
    if list(owner.children()) or list(owner.buffers()):
        return None
    weight, bias = owner.get_parameter("weight"), getattr(owner, "bias", None)
    if {name for name, _ in owner.named_parameters()} - {"weight", "bias"}:
        return None
    is_biased = len(node.args) > 2 and node.args[2] is not None
    if is_biased != (bias is not None):
        return None  # it adds its bias elsewhere, or not at all
    with torch.device("meta"):
        layer = _empty(node, weight, is_biased=is_biased)
    layer.weight = weight
    if bias is not None:
        layer.bias = owner.get_parameter("bias")
    return layer.eval()


def _empty(node: fx.Node, weight: nn.Parameter, *, is_biased: bool) -> WeightedLayer:
    rows, columns, *window = weight.shape
    if node.target is aten.linear.default:
        return nn.Linear(columns, rows, bias=is_biased)
    defaults: tuple[Any, ...] = ([1], [0], [1], 1)
    given = cast("tuple[Any, ...]", node.args[3:])
    stride, padding, dilation, groups = (*given, *defaults[len(given) :])
    make: Any = CONVOLUTIONS[node.target]  # its arguments are tuples of one length
    return make(
        columns * groups,
        rows,
        tuple(window),
        stride=_sizes(stride, len(window)),
        padding=padding if isinstance(padding, str) else _sizes(padding, len(window)),
        dilation=_sizes(dilation, len(window)),
        groups=groups,
        bias=is_biased,
    )


def _sizes(sizes: Any, count: int) -> tuple[int, ...]:
    """One size for each dimension of a window."""
    each = [sizes] if isinstance(sizes, int) else list(sizes)
    return tuple(each * count if len(each) == 1 else each)
