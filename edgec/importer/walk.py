"""The walk over an exported graph: one rule per fx node, every problem collected."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.utils._pytree as pytree
from torch import fx
from torch import nn as torch_nn
from torch.export import ExportedProgram
from torch.fx.node import map_arg
from xdsl.dialects import func
from xdsl.dialects.builtin import Builtin, ModuleOp, TensorType, f32
from xdsl.ir import Block, Region, SSAValue

from edgec.context import EdgecContext
from edgec.convention import Convention, InputSpec, OutputSpec, structure_of
from edgec.dialects import nn, sq
from edgec.dialects.shapes import ShapeError
from edgec.importer import export, inplace, signature
from edgec.importer.aten import IGNORED, TABLE, Rule, functional_name
from edgec.importer.aten_quantized import STORED
from edgec.importer.builder import ELEMENT_TYPES, Builder, dtype_advice
from edgec.importer.checks import (
    UnsupportedDtype,
    check_operand,
    check_results,
    check_value,
    no_rule,
)
from edgec.importer.fold import ConstantFolder
from edgec.importer.model import ImportedModel
from edgec.importer.problems import (
    Problem,
    Unsupported,
    fail,
    module_path,
    place_of,
    source_of,
)

Model = torch_nn.Module | ExportedProgram | str | Path


def import_model(
    model: Model,
    example_inputs: Any = None,
    *,
    ctx: EdgecContext | None = None,
) -> ImportedModel:
    """Read a torch model into one `func.func @main` of `nn` ops.

    `model` is an `nn.Module` (also a `GraphModule`), an `ExportedProgram` or the path
    of a `.pt2` file. `example_inputs` is a tensor, a sequence of positional arguments
    or a mapping of keyword arguments; it is needed for modules and fixes their
    shapes, and is not looked at for exported programs. A module in training mode is
    imported as in eval mode and left as it was.

    Weights go to `ctx.weights` (a new context by default) and share torch's memory:
    a later change of a parameter in place is seen there.

    Raises `ImportFailed` with all problems at once.
    """
    program = export.exported(model, example_inputs)
    walk = _Walk(program)
    if not walk.is_ready():
        walk = _Walk(export.decomposed(program, TABLE))
    ctx = EdgecContext() if ctx is None else ctx
    for dialect in (Builtin, func.Func, nn.NN, sq.SQ):
        if ctx.get_optional_dialect(dialect.name) is None:
            ctx.load_dialect(dialect)
    return walk.run(ctx)


class _Walk:
    """One program on its way to `nn`."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.graph = program.graph
        self.signature = signature.read(program)
        self.problems = self.signature.problems
        self.folder = ConstantFolder(self.graph, self.signature.leaves)
        self.bases = inplace.bases(self.graph, self.folder.is_constant)
        self.env: dict[fx.Node, Any] = {}
        self.block = Block()
        self.builder = Builder(self.block)
        self.bad_dtypes: set[torch.dtype] = set()
        self.stored: dict[fx.Node, SSAValue | None] = {}

    def is_ready(self) -> bool:
        """Whether every call has a rule as it stands."""
        return self.bases is not None and all(
            self.folder.is_constant(node)
            or node.target is operator.getitem
            or str(node.target) in IGNORED
            or functional_name(str(node.target)) in TABLE
            for node in self.graph.nodes
            if node.op == "call_function"
        )

    def run(self, ctx: EdgecContext) -> ImportedModel:
        """Walk, and hand over what came out; raises `ImportFailed`."""
        self.builder.weights = ctx.weights
        input_specs = self._open()
        for node in self.graph.nodes:
            if node.op == "call_function" and not self.folder.is_constant(node):
                self._visit(node)
        results, output_specs = self._close()
        self.builder.erase_dead()
        self.problems += self.builder.store_constants(ctx.weights)
        if self.problems:
            raise fail(self.problems)
        inputs = [argument.type for argument in self.block.args]
        type_ = (inputs, [value.type for value in results])
        main = func.FuncOp("main", type_, Region(self.block))
        in_spec, out_spec = (
            self.program.call_spec.in_spec,
            self.program.call_spec.out_spec,
        )
        assert in_spec is not None
        assert out_spec is not None
        return ImportedModel(
            ModuleOp([main]),
            ctx,
            Convention(
                structure_of(in_spec),
                structure_of(out_spec),
                tuple(input_specs),
                tuple(output_specs),
                dict(self.signature.constant_inputs),
            ),
        )

    def _open(self) -> list[InputSpec]:
        """Block arguments for the tensor inputs."""
        specs: list[InputSpec] = []
        for position, node in self.signature.inputs:
            value = node.meta["val"]
            if value.dtype not in ELEMENT_TYPES:
                self.bad_dtypes.add(value.dtype)
            if signature.is_dynamic(value):
                # Nothing after this can be checked without shapes.
                raise fail(self.problems)
            element = ELEMENT_TYPES.get(value.dtype, f32)
            argument = self.block.insert_arg(
                TensorType(element, value.shape), len(self.block.args)
            )
            argument.name_hint = node.name
            self.env[node] = argument
            dtype = np.dtype(np.int64 if value.dtype == torch.int64 else np.float32)
            specs.append(InputSpec(node.name, tuple(value.shape), dtype, position))
        return specs

    def _visit(self, node: fx.Node) -> None:
        """Make the ops of one call, or note why that is not possible."""
        name = str(node.target)
        is_dead = not node.users and self._base(node) is node
        if name in IGNORED or is_dead:
            return
        self._require_shapes(node, name)
        try:
            if node.target is operator.getitem:
                value = self._item(node)
            else:
                value = self._build(node, name)
        except UnsupportedDtype as error:
            # One bad input or weight would repeat itself in every op after it.
            if error.dtype not in self.bad_dtypes:
                self._note(node, name, error.reason, error.advice)
            value = self._stand_in(node)
        except Unsupported as error:
            self._note(node, name, error.reason, error.advice)
            value = self._stand_in(node)
        except ShapeError as error:
            self._note(node, name, str(error), "give it operands that fit")
            value = self._stand_in(node)
        self.env[self._base(node)] = value

    def _require_shapes(self, node: fx.Node, name: str) -> None:
        """Nothing after a shape that depends on data can be checked."""
        if any(map(signature.is_dynamic, pytree.tree_leaves(node.meta.get("val")))):
            self._note(
                node,
                name,
                "the shape of its result depends on data",
                "make its shape fixed, or run this part outside of the model",
            )
            raise fail(self.problems)

    def _build(self, node: fx.Node, name: str) -> Any:
        rule = TABLE.get(functional_name(name))
        if rule is None:
            raise no_rule(name)
        if inplace.is_in_place(node) and node not in (self.bases or {}):
            raise Unsupported(
                "it changes memory that something else may look at",
                "use the op that makes a new tensor",
            )
        self._label(node)

        errors: list[Unsupported] = []

        def operand(arg: fx.Node) -> Any:
            try:
                return self._operand(arg, rule)
            except Unsupported as error:
                errors.append(error)
                return self._stand_in(arg)

        args: Any = map_arg(node.args, operand)
        kwargs: Any = map_arg(node.kwargs, operand)
        if errors:
            raise errors[0]
        check_results(node, rule)
        value = rule.build(self.builder, *args, **kwargs)
        if isinstance(value, SSAValue):
            check_value(self.builder, name, cast("SSAValue", value))
            if SSAValue.is_valid_name(node.name) and value.name_hint is None:
                value.name_hint = node.name
        return cast("Any", value)

    def _label(self, node: fx.Node) -> None:
        builder = self.builder
        builder.path = module_path(node)
        file, line, _ = source_of(node)
        builder.source = f"{Path(file).name}:{line}" if file else ""
        value = node.meta.get("val")
        if isinstance(value, tuple | list) and value:
            value = cast("Sequence[Any]", value)[0]
        if isinstance(value, torch.Tensor):
            builder.shape, builder.dtype = tuple(value.shape), value.dtype

    def _operand(self, node: fx.Node, rule: Rule) -> Any:
        node = self._base(node)
        if node in self.env:
            check_operand(node, rule)
            return self.env[node]
        if not self.folder.is_constant(node):
            raise Unsupported(
                f"operand '{node.name}' is no tensor", "remove it from the model"
            )
        if rule.weighted and self._is_stored(node):
            weight = self._stored(node)
            if weight is not None:
                return weight
        tensor: torch.Tensor = self.folder.value(node)
        if rule.quantized:
            return tensor
        if rule.converts and self.builder.dtype == torch.float32:
            tensor = tensor.to(torch.float32)
        if tensor.dtype not in ELEMENT_TYPES:
            self._note_leaf(node, tensor)
            return self._stand_in(node)
        return self.builder.constant(tensor, self._hint(node))

    @staticmethod
    def _is_stored(node: fx.Node) -> bool:
        """Whether a constant is what integers stand for."""
        return node.op == "call_function" and str(node.target) in STORED

    def _stored(self, node: fx.Node) -> SSAValue | None:
        """A weight that stays in integers; None if these are none that `sq` knows."""
        if node not in self.stored:
            args: Any = map_arg(node.args, self.folder.value)
            kwargs: Any = map_arg(node.kwargs, self.folder.value)
            codes = node.args[0]
            assert isinstance(codes, fx.Node)
            builder, value = self.builder, None
            builder.stored = self._hint(codes)
            try:
                rule = TABLE[str(node.target)]
                value = cast(SSAValue, rule.build(builder, *args, **kwargs))
                builder.know(value, lambda: self.folder.value(node))
            except Unsupported:
                pass  # the float32 numbers are as good
            builder.stored = None
            self.stored[node] = value
        return self.stored[node]

    def _item(self, node: fx.Node) -> Any:
        source, index = node.args
        assert isinstance(source, fx.Node)
        assert isinstance(index, int)
        value = self.env[self._base(source)][index]
        if value is None:
            raise Unsupported(
                f"result {index} of {source.target} is not available",
                "use only the first result of it",
            )
        return value

    def _close(self) -> tuple[list[SSAValue], list[OutputSpec]]:
        """The return op, and what each leaf of the output is."""
        results: list[SSAValue] = []
        specs: list[OutputSpec] = []
        for number, output in enumerate(self.signature.outputs):
            if not isinstance(output, fx.Node):
                specs.append(OutputSpec(f"output{number}", None, output))
                continue
            specs.append(OutputSpec(output.name, len(results)))
            results.append(self._result(output))
        self.block.add_op(func.ReturnOp(*results))
        return results, specs

    def _result(self, node: fx.Node) -> SSAValue:
        try:
            return self._operand(node, TABLE["aten.clone.default"])
        except UnsupportedDtype as error:
            if error.dtype not in self.bad_dtypes:
                self._note(node, f"output '{node.name}'", error.reason, error.advice)
        except Unsupported as error:
            self._note(node, f"output '{node.name}'", error.reason, error.advice)
        return self._stand_in(node)

    def _base(self, node: fx.Node) -> fx.Node:
        return (self.bases or {}).get(node, node)

    def _hint(self, node: fx.Node) -> str:
        """The weight's own name; for a folded one that of the largest leaf in it."""
        names = self.signature.names
        if node in names:
            return names[node]
        leaves = self.folder.sources(node)
        return self.signature.main_name(leaves) if leaves else node.name

    def _note(self, node: fx.Node, name: str, reason: str, advice: str) -> None:
        self.problems.append(Problem(name, reason, advice, place_of(node)))

    def _note_leaf(self, node: fx.Node, tensor: torch.Tensor) -> None:
        self.bad_dtypes.add(tensor.dtype)
        name = str(tensor.dtype).removeprefix("torch.")
        problem = Problem(
            "weight", f"dtype {name}", dtype_advice(tensor.dtype), self._hint(node)
        )
        if problem not in self.problems:
            self.problems.append(problem)

    def _stand_in(self, node: fx.Node) -> Any:
        """A value of the right shape, so that the walk can find the next problem."""
        value = node.meta.get("val")
        if isinstance(value, tuple | list):
            return tuple(map(self._stand_in_for, cast("Sequence[Any]", value)))
        return self._stand_in_for(value)

    def _stand_in_for(self, value: object) -> SSAValue | None:
        if not isinstance(value, torch.Tensor):
            return None
        type_ = TensorType(ELEMENT_TYPES.get(value.dtype, f32), value.shape)
        op = nn.ConstantOp("stand-in", type_)
        self.block.add_op(op)
        return op.result
