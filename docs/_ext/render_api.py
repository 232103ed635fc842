"""Markdown for the page of the public interface, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from inspect import Parameter, formatannotation
from typing import Any

from render import field_docs

_WIDTH = 88
_LONG = 60
"""Characters of a default that is not shown."""
_GIVEN = "- `draw`: given by hypothesis.\n"
"""Said of a parameter that is not the caller's."""
_PLAIN = "object", "Exception", "ValueError", "tuple"
"""Bases that say nothing about a class, or that its text names."""


def api_entry(path: str) -> str:
    """The entry of a function, a class or a table, `edgec.compress.prune`."""
    module, _, name = path.rpartition(".")
    thing = getattr(import_module(module), name)
    lines = [f"### `{path}`", ""]
    if inspect.isclass(thing):
        lines += _class(path, thing)
    elif inspect.isroutine(thing):
        lines += [*_code(path, thing), *docstring(thing)]
    else:  # a table: its keys are what one may write
        lines += ["One of " + ", ".join(f"`{key}`" for key in thing) + ".", ""]
    return "\n".join(lines)


def docstring(thing: object) -> list[str]:
    """The text of a docstring, its arguments as a list and its sessions as code."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"(?ms)^Args:\n(.*?)(?=^\S|\Z)", _arguments, text)
    text = text.replace(_GIVEN, "")
    text = re.sub(r"(?m)^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text)
    return [text, ""]


def _arguments(match: re.Match[str]) -> str:
    body = textwrap.dedent(match[1])
    items = re.sub(r"(?m)^(\w+):", r"- `\1`:", body).strip()
    return f"{items}\n\n"


def _class(path: str, owner: type[Any]) -> list[str]:
    is_error = issubclass(owner, Exception)  # which nobody but edgec makes
    lines = [] if is_error else _code(path, owner)
    bases = [base.__name__ for base in owner.__bases__ if base.__name__ not in _PLAIN]
    if bases:
        lines += ["A subclass of " + ", ".join(f"`{name}`" for name in bases) + ".", ""]
    lines += docstring(owner)
    docs = field_docs(owner)
    for name, annotation in inspect.get_annotations(owner).items():
        if not name.startswith("_"):
            meaning = f": {docs[name]}" if name in docs else ""
            lines.append(f"- `{name}: {_type(annotation)}`{meaning}")
    lines.append("")
    for name, member in _members(owner):
        lines += _member(name, member)
    return lines


def _members(owner: type[Any]) -> Iterator[tuple[str, Any]]:
    """Public methods and properties in their order; calling counts."""
    for name, member in vars(owner).items():
        is_public = not name.startswith("_") or name == "__call__"
        kinds = classmethod, staticmethod, property, cached_property
        if is_public and (inspect.isfunction(member) or isinstance(member, kinds)):
            yield name, member


def _member(name: str, member: object) -> list[str]:
    """One method or property, its text below it."""
    getter = getattr(member, "fget", None) or getattr(member, "func", None)
    if getter is not None:
        result = _type(inspect.signature(getter).return_annotation)
        head = [f"`{name}: {result}`", ""]
    else:
        function: Any = getattr(member, "__func__", member)
        kind = type(member)
        bound = kind is not staticmethod
        prefix = "classmethod " if kind is classmethod else ""
        head = _code(prefix + name, function, is_bound=bound)
    return [*head, *docstring(getter or member)]


def _code(
    name: str, function: Callable[..., Any], *, is_bound: bool = False
) -> list[str]:
    return ["```python", signature(name, function, is_bound=is_bound), "```", ""]


def signature(
    name: str, function: Callable[..., Any], *, is_bound: bool = False
) -> str:
    """How it is called: a line, or a line for each parameter."""
    found = inspect.signature(function)
    parameters = list(found.parameters.values())[int(is_bound) :]
    parts: list[str] = []
    for before, parameter in zip([None, *parameters], parameters, strict=False):
        starts = before is None or before.kind is not Parameter.KEYWORD_ONLY
        is_open = before is not None and before.kind is Parameter.VAR_POSITIONAL
        if parameter.kind is Parameter.KEYWORD_ONLY and starts and not is_open:
            parts.append("*")
        parts.append(_parameter(parameter))
    result = _type(found.return_annotation)
    end = f") -> {result}" if result not in ("", "None") else ")"
    line = f"{name}({', '.join(parts)}{end}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), end])


def _parameter(parameter: Parameter) -> str:
    stars = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}
    text = stars.get(parameter.kind, "") + parameter.name
    annotation = _type(parameter.annotation)
    if annotation:
        text += f": {annotation}"
    if parameter.default is not Parameter.empty:
        default = repr(parameter.default).replace("'", '"').replace("Posix", "")
        text += f" = {default}" if len(default) < _LONG else " = ..."
    return text


def _type(annotation: object) -> str:
    """An annotation as it is written; empty if there is none."""
    if annotation is Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else formatannotation(annotation)
    return re.sub(r"ForwardRef\('(.*?)'\)", r"\1", text)
