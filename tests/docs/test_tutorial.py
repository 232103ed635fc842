"""The programs in docs/tutorial.md are what the compiler makes today.

The page's first example makes the model; it is compiled for x86-64-v3 whatever machine
runs the test. Each golden file is one block of the page.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.passes import ModulePass

from edgec.codegen.emit import emit_module
from edgec.codegen.jit import emit_assembly
from edgec.dialects import sq
from edgec.importer import import_model
from edgec.options import Options
from edgec.pipeline import kernel_passes, run_passes, tensor_passes
from edgec.target import Target
from edgec.tools.opt import EdgecOpt

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
GOLDEN = ROOT / "tests" / "golden" / "tutorial"
TARGET = Target.parse("x86-64-v3")
WIDTH = 84
INCLUDE = re.compile(r"(?m)^```\{include\} \.\./tests/golden/tutorial/([\w-]+)\.md$")


class Step(NamedTuple):
    """The program after one pass."""

    module: str
    statistics: Mapping[str, int]
    arrays: Mapping[str, list[Any]]
    """Those of the encoded weight."""


class Compilation(NamedTuple):
    """Every step of one model on its way."""

    steps: Mapping[str, Step]
    llvm: str
    assembly: str


def page_namespace() -> dict[str, Any]:
    """What the page's first example defines."""
    match = re.search(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text())
    assert match is not None
    namespace: dict[str, Any] = {}
    exec(compile(match[1], str(PAGE), "exec"), namespace)
    return namespace


@cache
def compilation() -> Compilation:
    names = page_namespace()
    imported = import_model(names["model"], names["example"])
    ctx, module = imported.ctx, imported.module
    options = Options(sparsity="always")
    texts: dict[str, tuple[str, dict[str, list[Any]]]] = {}

    def watch(pass_: ModulePass, module: ModuleOp) -> None:
        arrays: dict[str, list[Any]] = {}
        for op in module.walk():
            if isinstance(op, sq.WeightOp):
                for key, name in op.resource_names().items():
                    arrays[key] = ctx.weights[name].tolist()
        texts[pass_.name] = (str(module), arrays)

    imported_text = str(module)
    passes = (*tensor_passes(options, TARGET), *kernel_passes(options, TARGET))
    records = run_passes(passes, ctx, module, observer=watch)
    steps = {"imported": Step(imported_text, {}, {})}
    for record in records:
        steps[record.name] = Step(
            texts[record.name][0], record.statistics, texts[record.name][1]
        )
    llvm = emit_module(module, TARGET).text
    return Compilation(steps, llvm, emit_assembly(llvm, TARGET))


# Text


def readable(module: str) -> str:
    """Without what changes with torch's version, in lines that fit the page."""
    source = r'nn\.source = "[^"]*"'
    text = re.sub(f"{source}, |(, )?{source}", "", module).replace(" {}", "")
    return "\n".join(map(wrapped, text.splitlines()))


def wrapped(line: str) -> str:
    """The line in several; MLIR may break at any space that is not in a string."""
    indent = line[: len(line) - len(line.lstrip())]
    together = r'"[^"]*"|\[[\d, ]*\]|array<[^>]*>| = '
    glued = re.sub(together, lambda m: m[0].replace(" ", "\0"), line)
    parts = textwrap.wrap(
        glued,
        WIDTH,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts).replace("\0", " ")


def function(module: str, name: str) -> str:
    """One function of a module."""
    lines = module.splitlines()
    start = next(i for i, s in enumerate(lines) if f"func.func @{name}(" in s)
    return textwrap.dedent("\n".join(lines[start : end_of(lines, start) + 1]))


def product_loop(module: str) -> str:
    """The innermost loop around the first multiply-add."""
    lines = module.splitlines()
    product = next(i for i, line in enumerate(lines) if "lane.dot" in line)
    start = max(i for i in range(product) if "scf.for" in lines[i])
    return textwrap.dedent("\n".join(lines[start : end_of(lines, start) + 1]))


def end_of(lines: list[str], start: int) -> int:
    """The line that closes what line `start` opens."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    close = " " * indent + "}"
    return next(i for i in range(start + 1, len(lines)) if lines[i] == close)


def basic_block(text: str, label: str, marker: str) -> str:
    """The basic block with the first `marker`, its label included."""
    lines = text.splitlines()
    here = next(i for i, line in enumerate(lines) if marker in line)
    is_label = [re.match(label, line) is not None for line in lines]
    start = max(i for i in range(here) if is_label[i])
    after = (i for i in range(here, len(lines)) if is_label[i])
    return "\n".join(lines[start : next(after)]).expandtabs(8)


def counts(step: Step) -> str:
    found = ", ".join(f"{key} = {n}" for key, n in step.statistics.items() if n)
    return f"It reports: {found}.\n\n"


def fenced(text: str) -> str:
    return f"```text\n{text}\n```\n"


# The blocks of the page


def blocks() -> Iterator[tuple[str, str]]:
    """Name and content of every golden file."""
    tuned = compilation()
    yield "imported", fenced(readable(tuned.steps["imported"].module))
    for name in ("fold-batch-norm", "encode-sparsity", "fuse", "layout-tuning"):
        step = tuned.steps[name]
        yield name, counts(step) + fenced(readable(step.module))
    for name in ("encode-sparsity", "filter-kernel-reorder"):
        step = tuned.steps[name]
        keys = [key for key in step.arrays if key != "weight"]
        table = "\n".join(f"{key:8} {step.arrays[key]}" for key in sorted(keys))
        is_first = name == "encode-sparsity"  # whose counts stand above its program
        yield f"{name}-arrays", ("" if is_first else counts(step)) + fenced(table)
    step = tuned.steps["choose-kernel"]
    conv = next(line for line in step.module.splitlines() if "sq.conv " in line)
    yield "choose-kernel", counts(step) + fenced(readable(conv.strip()))
    step = tuned.steps["convert-to-lane"]
    yield (
        "convert-to-lane-main",
        counts(step) + fenced(readable(function(step.module, "main"))),
    )
    yield "convert-to-lane-loop", fenced(readable(product_loop(step.module)))
    step = tuned.steps["load-redundancy-elimination"]
    yield (
        "load-redundancy-elimination",
        counts(step) + fenced(readable(product_loop(step.module))),
    )
    step = tuned.steps["plan-memory"]
    buffers = [line.strip() for line in step.module.splitlines() if ".buffer" in line]
    yield "plan-memory", counts(step) + fenced("\n".join(buffers))
    yield "llvm", fenced(basic_block(tuned.llvm, r"\w+:", "@llvm.fma"))
    yield "assembly", fenced(basic_block(tuned.assembly, r"\.L\w+:", "vfmadd"))


def test_the_programs_are_up_to_date(golden: Callable[[str, str], None]) -> None:
    for name, content in blocks():
        golden(f"tutorial/{name}.md", content)


def test_the_page_shows_every_program() -> None:
    shown = INCLUDE.findall(PAGE.read_text())
    assert sorted(shown) == sorted({name for name, _ in blocks()})
    assert {path.stem for path in GOLDEN.iterdir()} == set(shown)


@pytest.mark.parametrize("name", ["imported", "fuse", "layout-tuning"])
def test_wrapped_programs_are_still_programs(name: str) -> None:
    text = readable(compilation().steps[name].module)
    assert max(map(len, text.splitlines())) <= 2 * WIDTH
    Parser(EdgecOpt([]).ctx, text).parse_module().verify()
