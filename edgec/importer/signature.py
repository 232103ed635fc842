"""What the signature of an exported program says: weights, inputs, outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind

from edgec.convention import Constant
from edgec.importer.builder import ELEMENT_TYPES, dtype_advice
from edgec.importer.problems import Problem


@dataclass
class Signature:
    """The placeholders and outputs of a program, sorted by what they are."""

    leaves: dict[fx.Node, torch.Tensor] = field(
        default_factory=dict[fx.Node, torch.Tensor]
    )
    """Parameters, buffers and lifted constants."""

    names: dict[fx.Node, str] = field(default_factory=dict[fx.Node, str])
    """Fully qualified names of the leaves."""

    parameters: set[fx.Node] = field(default_factory=set[fx.Node])
    """The leaves that are parameters."""

    inputs: list[tuple[int, fx.Node]] = field(default_factory=list[tuple[int, fx.Node]])
    """Tensor inputs and their positions among the leaves of `(args, kwargs)`."""

    constant_inputs: dict[int, Constant] = field(default_factory=dict[int, Constant])
    """Inputs that are no tensors, by position."""

    outputs: list[fx.Node | Constant] = field(default_factory=list[fx.Node | Constant])
    """The leaves of the output."""

    problems: list[Problem] = field(default_factory=list[Problem])

    def main_name(self, leaves: Iterable[fx.Node]) -> str:
        """For what is made of several leaves, the name of the largest."""
        sizes = {leaf: self.leaves[leaf].numel() for leaf in leaves}
        # A mask is a buffer as large as its parameter.
        largest = max(sizes, key=lambda leaf: (leaf in self.parameters, sizes[leaf]))
        return _unparametrized(self.names[largest])


def read(program: ExportedProgram) -> Signature:
    """Sort placeholders and outputs; problems are collected, not raised."""
    signature = Signature()
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    position = 0
    for spec in program.graph_signature.input_specs:
        node = nodes.get(spec.arg.name)
        if spec.kind is InputKind.USER_INPUT:
            _read_input(signature, spec.arg, node, position)
            position += 1
        elif spec.target is not None and node is not None:
            _read_leaf(signature, program, spec.target, node)
            if spec.kind is InputKind.PARAMETER:
                signature.parameters.add(node)
    for node in program.graph.nodes:
        if node.op == "get_attr":
            value = _attribute(program.graph_module, str(node.target))
            if isinstance(value, torch.Tensor):
                signature.leaves[node] = value
                signature.names[node] = str(node.target)
    _read_outputs(signature, program)
    return signature


def _read_input(
    signature: Signature, arg: Any, node: fx.Node | None, position: int
) -> None:
    if isinstance(arg, ConstantArgument):
        signature.constant_inputs[position] = arg.value
        return
    value = None if node is None else node.meta.get("val")
    if node is None or not isinstance(value, torch.Tensor):
        signature.problems.append(
            Problem(
                f"input '{arg.name}'",
                f"it is a {type(arg).__name__}, not a tensor or a constant",
                "export the model with static shapes and without dynamic numbers",
            )
        )
        return
    signature.inputs.append((position, node))
    shape = tuple(value.shape)
    if is_dynamic(value):
        reason = f"its shape ({', '.join(map(str, shape))}) is dynamic"
        advice = "export it without dynamic_shapes, once per shape that is needed"
    elif 0 in shape:
        reason = f"it is empty, shape {shape}"
        advice = "every size, the batch too, must be at least 1"
    elif value.dtype not in ELEMENT_TYPES:
        reason = f"it has dtype {_name(value.dtype)}"
        advice = dtype_advice(value.dtype)
    else:
        return
    signature.problems.append(Problem(f"input '{arg.name}'", reason, advice))


def is_dynamic(value: object) -> bool:
    """Whether a size of a tensor, or a number, is a symbol."""
    sizes = value.shape if isinstance(value, torch.Tensor) else (value,)
    return any(isinstance(size, torch.SymInt) for size in sizes)


def _read_leaf(
    signature: Signature, program: ExportedProgram, target: str, node: fx.Node
) -> None:
    value = program.state_dict.get(target, program.constants.get(target))
    if not isinstance(value, torch.Tensor):
        reason, advice = f"it is a {type(value).__name__}", "keep it out of the model"
    elif value.device.type != "cpu":
        reason, advice = f"it is on device '{value.device}'", "call model.cpu() first"
    elif value.layout != torch.strided:
        reason, advice = f"its layout is {value.layout}", "call .to_dense() on it"
    else:
        signature.leaves[node] = value.detach()
        signature.names[node] = target
        return
    signature.problems.append(Problem(f"weight '{target}'", reason, advice))


_MUTATIONS = {
    OutputKind.BUFFER_MUTATION: "buffer",
    OutputKind.PARAMETER_MUTATION: "parameter",
    OutputKind.USER_INPUT_MUTATION: "input",
}


def _read_outputs(signature: Signature, program: ExportedProgram) -> None:
    results: Any = program.graph.output_node().args[0]
    specs = program.graph_signature.output_specs
    for spec, result in zip(specs, results, strict=True):
        if spec.kind is OutputKind.USER_OUTPUT:
            arg = spec.arg
            is_constant = isinstance(arg, ConstantArgument)
            signature.outputs.append(arg.value if is_constant else result)
            continue
        what = _MUTATIONS.get(spec.kind, "side effect")
        signature.problems.append(
            Problem(
                f"{what} '{spec.target}'",
                "the model changes it in place while it runs",
                "return the new value as an output and pass it in as an input; "
                "if it is a running statistic, call model.eval() before exporting",
            )
        )


def _attribute(module: torch.nn.Module, path: str) -> object:
    value: object = module
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _unparametrized(name: str) -> str:
    """`conv.weight` for `conv.weight_orig`, `conv.parametrizations.weight.original`."""
    head, found, tail = name.partition("parametrizations.")
    if found:
        return head + tail.partition(".")[0]
    return name.removesuffix("_orig")
