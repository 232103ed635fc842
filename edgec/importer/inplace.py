"""In-place ATen calls that can be read as if they were not in place.

`torch.export` keeps `relu_` and `add_`. Functionalizing the whole graph costs more than
the export itself, so the plain case is read directly: the base is a fresh result, and
nothing before the call looks at its memory through a view.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from edgec.importer.aten import TABLE, functional_name


def bases(
    graph: fx.Graph, is_constant: Callable[[fx.Node], bool]
) -> dict[fx.Node, fx.Node] | None:
    """For each in-place call the node whose value it replaces; None if one is unsafe.

    After the call, the base and everything that was returned for it have the call's
    result as their value.
    """
    found: dict[fx.Node, fx.Node] = {}
    viewed: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        name = str(node.target)
        if is_in_place(node):
            target = node.args[0]
            assert isinstance(target, fx.Node)
            base = found.get(target, target)
            if base in viewed or is_constant(base) or not _is_fresh(base):
                return None
            if base.meta["val"].shape != node.meta["val"].shape:
                return None
            found[node] = base
        elif name not in TABLE or not TABLE[name].fresh:
            viewed.update(n for n in node.all_input_nodes)
            viewed.update(found[n] for n in node.all_input_nodes if n in found)
    return found


def is_in_place(node: fx.Node) -> bool:
    """Whether the call writes to its first operand and has a rule without that."""
    name = str(node.target)
    return functional_name(name) != name and functional_name(name) in TABLE


def _is_fresh(node: fx.Node) -> bool:
    rule = TABLE.get(str(node.target)) if node.op == "call_function" else None
    return rule is not None and rule.fresh
