"""Problems met during import, and the one message that lists them all."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgec.errors import ImportFailed

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)')
_TORCH = os.path.dirname(torch.__file__) + os.sep


class Unsupported(Exception):
    """Raised by a rule: what is not supported, and what the user can do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a model from being imported."""

    what: str
    """The overload, weight or input; problems with equal `what` are told together."""

    reason: str
    advice: str
    place: str = ""
    """Module path, shapes and source line, for an op."""


def fail(problems: Sequence[Problem]) -> ImportFailed:
    """The error that lists all problems, equal ones under one heading."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        key = (problem.what, problem.reason, problem.advice)
        groups.setdefault(key, []).append(problem.place)
    noun = "problem" if len(problems) == 1 else "problems"
    lines = [f"the model cannot be imported: {len(problems)} {noun}"]
    for (what, reason, advice), places in groups.items():
        lines.append(f"  {what}: {reason}")
        lines += [f"    at {place}" for place in places if place]
        lines.append(f"    -> {advice}")
    return ImportFailed("\n".join(lines))


def place_of(node: fx.Node) -> str:
    """`layer1.0.conv1 (1x3x8x8 float32, …), model.py:12: y = f(x)`."""
    inputs = ", ".join(describe(arg.meta.get("val")) for arg in node.all_input_nodes)
    path = module_path(node) or "the model itself"
    file, line, text = source_of(node)
    source = f", {file}:{line}: {text}" if file else ""
    return f"{path} on ({inputs}){source}"


def describe(value: Any) -> str:
    """`1x3x8x8 float32` for a tensor, the type's name for anything else."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    shape = "x".join(map(str, value.shape)) or "scalar"
    return f"{shape} {str(value.dtype).removeprefix('torch.')}"


def module_path(node: fx.Node) -> str:
    """Path of the innermost module that made `node`; empty for the model itself."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path: str = list(stack.values())[-1][0]
    # Second and later calls of one module carry a suffix "@1", "@2", …
    return path.partition("@")[0]


def source_of(node: fx.Node) -> tuple[str, str, str]:
    """File, line and text of the innermost frame outside of torch; else empty."""
    trace = node.meta.get("stack_trace")
    if not trace:
        return "", "", ""
    frames = _FRAME.findall(trace)
    own = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    return (own or frames or [("", "", "")])[-1]
