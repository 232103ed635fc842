"""Markdown for the pages of passes and dialects, from their docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from importlib import import_module

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, Dialect, Operation
from xdsl.irdl import IRDLOperation
from xdsl.parser import Parser
from xdsl.passes import ModulePass, get_pass_option_infos
from xdsl.utils.str_enum import StrEnum

from edgec.context import EdgecContext
from edgec.passes import get_pass
from edgec.passes.base import ReportingPass, examples_of
from edgec.tools.opt import EdgecOpt
from edgec.universe import DIALECTS

SEGMENT_SIZES = {"operandSegmentSizes", "resultSegmentSizes"}  # bookkeeping of xDSL
QUOTE = "'"  # around the text of an annotation that is not evaluated
HEADINGS = ("What", "Why", "How", "Invariants", "Source")


def sections_of(doc: str) -> dict[str, str]:
    """The parts of a module docstring after `What:`, `Why:` and so on."""
    parts = re.split(rf"(?m)^({'|'.join(HEADINGS)}):", doc)
    bodies = (part.strip() for part in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


def field_docs(owner: type) -> dict[str, str]:
    """The docstrings that stand under the fields of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name))
                | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
            case _:
                pass
    return docs


def pass_page(name: str) -> str:
    """The page of one pass, below its title."""
    pass_class = get_pass(name)
    module = import_module(pass_class.__module__)
    parts = sections_of(inspect.getdoc(module) or "")
    lines: list[str] = [parts.pop("What", ""), ""]
    for heading, text in parts.items():
        lines += [f"## {heading}", "", text, ""]
    for example in examples_of(pass_class):
        lines += ["## Before", "", "```text", example.before, "```", ""]
        lines += ["## After", "", "```text", example.after, "```", ""]
    lines += _options(pass_class)
    lines += _statistics(pass_class)
    return "\n".join(lines)


def _options(pass_class: type[ModulePass]) -> list[str]:
    infos = get_pass_option_infos(pass_class)
    if not infos:
        return ["## Options", "", "None.", ""]
    docs = field_docs(pass_class)
    defaults = {field.name: field.default for field in dataclasses.fields(pass_class)}
    rows = [
        f"| `{info.name.replace('_', '-')}` "
        f"| `{_cell(info.expected_type.strip(QUOTE))}` "
        f"| `{defaults[info.name]}` "
        f"| {_cell(docs.get(info.name, ''))} |"
        for info in infos
    ]
    head = ["| option | type | default | meaning |", "|---|---|---|---|"]
    return ["## Options", "", *head, *rows, ""]


def _statistics(pass_class: type[ModulePass]) -> list[str]:
    """What the pass reports on its own example."""
    assert issubclass(pass_class, ReportingPass)
    ctx, module = parse(examples_of(pass_class)[0].before)
    for name in pass_class.example_after:
        get_pass(name)().apply(ctx, module)
    counts = pass_class().run(ctx, module)
    rows = [f"| `{name}` | {count} |" for name, count in counts.items()]
    head = ["| statistic | in the example |", "|---|---|"]
    return ["## Statistics", "", *head, *rows, ""]


def parse(text: str) -> tuple[EdgecContext, ModuleOp]:
    """Parse MLIR as `edgec-opt` does."""
    ctx = EdgecOpt([]).ctx
    assert isinstance(ctx, EdgecContext)
    return ctx, Parser(ctx, text).parse_module()


def dialect_page(name: str) -> str:
    """The page of one dialect, below its title."""
    module_name, _, attribute = DIALECTS[name].partition(":")
    module = import_module(module_name)
    dialect = getattr(module, attribute)
    assert isinstance(dialect, Dialect)
    lines = [inspect.getdoc(module) or "", "", "## Operations", ""]
    for op in dialect.operations:
        lines += _operation(op)
    lines += ["## Types and attributes", ""]
    for attr in dialect.attributes:
        lines += _attribute(attr)
    return "\n".join(lines)


def _operation(op: type[Operation]) -> list[str]:
    lines = [f"### `{op.name}`", "", inspect.getdoc(op) or "", ""]
    if issubclass(op, IRDLOperation):
        definition = op.get_irdl_definition()
        fields = {
            "operands": [name for name, _ in definition.operands],
            "properties": sorted(set(definition.properties) - SEGMENT_SIZES),
            "results": [name for name, _ in definition.results],
        }
        for kind, names in fields.items():
            if names:
                listed = ", ".join(f"`{name}`" for name in names)
                lines += [f"- {kind}: {listed}"]
        lines += [""]
    return lines


def _attribute(attr: type[Attribute]) -> list[str]:
    lines = [f"### `{attr.name}`", ""]
    if attr.__doc__:
        lines += [inspect.getdoc(attr) or "", ""]
    if issubclass(attr, EnumAttribute):
        kinds: type[StrEnum] = attr.enum_type
        lines += ["One of " + ", ".join(f"`{kind.value}`" for kind in kinds) + ".", ""]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
