"""The rules of the code base that a program can check.

One pass = one file = one name = one class = one FileCheck test = one page. The examples
in the docstrings of the passes are run. Heavy packages are imported late.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from edgec.context import EdgecContext
from edgec.passes import NAMES, PASSES, get_pass
from edgec.passes.base import Example, ReportingPass, examples_of
from edgec.tools.opt import EdgecOpt

ROOT = Path(__file__).parent.parent
HEADINGS = ("What", "Why", "How", "Invariants", "Source")
NOT_A_PASS = {"__init__", "base", "constants"}
MAX_LINES = 450


def pass_files() -> set[str]:
    files = (ROOT / "passes").glob("*.py")
    return {path.stem for path in files if "(ReportingPass):" in path.read_text()}


def sources() -> list[Path]:
    folders = ("edgec", "dialects", "passes", "benchmarks", "examples", "tests")
    return sorted(path for name in folders for path in (ROOT / name).rglob("*.py"))


# One name


def test_the_table_is_complete_and_sorted() -> None:
    assert {name.replace("-", "_") for name in PASSES} == pass_files()
    assert list(NAMES) == sorted(set(NAMES))


@pytest.mark.parametrize("name", PASSES)
def test_one_name_in_five_places(name: str) -> None:
    stem = name.replace("-", "_")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    assert PASSES[name] == f"edgec.passes.{stem}:{class_name}"
    pass_class = get_pass(name)
    assert pass_class.name == name
    assert issubclass(pass_class, ReportingPass)
    test = ROOT / "tests" / "filecheck" / "passes" / f"{stem}.mlir"
    assert f"-p {name}" in test.read_text().replace("'", "").replace('"', "")
    page = ROOT / "docs" / "passes" / f"{stem}.md"
    assert f"```{{edgec-pass}} {name}\n" in page.read_text()


@pytest.mark.parametrize("folder", ["docs/passes", "tests/filecheck/passes"])
def test_nothing_is_left_of_a_removed_pass(folder: str) -> None:
    files = (ROOT / folder).glob("*.m*")
    stems = {path.stem.removesuffix("_invalid") for path in files}
    assert stems - pass_files() - {"index"} == set()


@pytest.mark.parametrize("name", PASSES)
def test_the_class_is_exported(name: str) -> None:
    import edgec.passes

    class_name = PASSES[name].partition(":")[2]
    assert getattr(edgec.passes, class_name) is get_pass(name)


# Docstrings


@pytest.mark.parametrize("name", PASSES)
def test_the_file_answers_five_questions(name: str) -> None:
    module = import_module(PASSES[name].partition(":")[0])
    found = re.findall(r"(?m)^([A-Z]\w+):", module.__doc__ or "")
    assert [word for word in found if word in HEADINGS] == list(HEADINGS)


def parse(text: str) -> tuple[EdgecContext, ModuleOp]:
    ctx = EdgecOpt([]).ctx
    assert isinstance(ctx, EdgecContext)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return ctx, module


@pytest.mark.parametrize("name", PASSES)
def test_the_examples_are_true(name: str) -> None:
    pass_class = get_pass(name)
    assert issubclass(pass_class, ReportingPass)
    examples = examples_of(pass_class)
    assert examples
    for example in examples:
        check_example(pass_class, example)


def check_example(pass_class: type[ReportingPass], example: Example) -> None:
    ctx, module = parse(example.before)
    _, expected = parse(example.after)
    for name in pass_class.example_after:
        get_pass(name)().apply(ctx, module)
    statistics = pass_class().run(ctx, module)
    module.verify()
    assert module.is_structurally_equivalent(expected), str(module)
    assert any(statistics.values()), "the example shows the pass doing something"
    again = module.clone()
    second = pass_class().run(ctx, again)
    assert set(second) == set(statistics)
    if pass_class.idempotent:
        assert again.is_structurally_equivalent(module)


# Size and layers


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def loaded_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_edgec_is_light() -> None:
    assert not loaded_after("import edgec") & {"torch", "xdsl", "llvmlite", "numpy"}


def test_edgec_opt_starts_light() -> None:
    heavy = {"torch", "llvmlite", "safetensors"}
    show_help = (
        "from edgec.tools import opt\nwith suppress(SystemExit): opt.main(['-h'])"
    )
    assert not loaded_after(f"from contextlib import suppress\n{show_help}") & heavy


def test_the_layers_hold() -> None:
    code = "from importlinter.cli import lint_imports as f; exit(f(no_cache=True))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
