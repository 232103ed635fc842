"""Every example in the documentation is run.

The blocks of one page run in order, in one empty folder, with a cache of their own:
`python` and `pycon` blocks in one namespace, `mlir` blocks are parsed and verified,
`console` lines that start `edgec` or `edgec-opt` are executed. Where output is shown it
must come; `...` stands for anything and the width of spaces does not count. A command
followed by a line `(exit code 1)` must fail so. Commands with `make` must exist, and so
must the options of `python -m` commands.
"""

from __future__ import annotations

import doctest
import io
import logging
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from xdsl.parser import Parser

from edgec.tools import cli, opt
from edgec.tools.opt import EdgecOpt

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"(?ms)^```(python|pycon|mlir|console)\n(.*?)^```$")
EXIT = re.compile(r"(?m)^\(exit code (\d+)\)$")
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TOOLS = {"edgec": cli.main, "edgec-opt": opt.main}
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))


def pages_with_examples() -> list[Path]:
    return [page for page in PAGES if BLOCK.search(page.read_text())]


def check_mlir(text: str) -> None:
    ctx = EdgecOpt([]).ctx
    Parser(ctx, text).parse_module().verify()


def check_console(text: str) -> None:
    for step in re.split(r"(?m)^\$ ", text)[1:]:
        line, _, expected = step.replace("\\\n", " ").partition("\n")
        name, *args = shlex.split(line)
        assert name in TOOLS, f"cannot check: {line}"
        code, output = run_tool(TOOLS[name], args)
        expected_code = EXIT.search(expected)
        assert code == (int(expected_code[1]) if expected_code else 0), output
        shown = EXIT.sub("", expected).strip()
        checker = doctest.OutputChecker()
        assert not shown or checker.check_output(shown, output, LENIENT), output


def run_tool(tool: Callable[[list[str]], int], args: list[str]) -> tuple[int, str]:
    """Exit code and output of a tool, run here: importing torch takes seconds."""
    output = io.StringIO()
    torch_log = logging.getLogger("torch")
    level = torch_log.level  # which the tools change
    with redirect_stdout(output), redirect_stderr(output):
        try:
            code = tool(args)
        finally:
            torch_log.setLevel(level)
    return code, output.getvalue().strip()


def check_pycon(text: str, namespace: dict[str, Any], page: Path) -> None:
    test = doctest.DocTestParser().get_doctest(
        text, namespace, page.name, str(page), None
    )
    runner = doctest.DocTestRunner(optionflags=LENIENT)
    report: list[str] = []
    runner.run(test, out=report.append, clear_globs=False)
    namespace.update(test.globs)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize(
    "page", pages_with_examples(), ids=lambda page: str(page.relative_to(ROOT))
)
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    namespace: dict[str, Any] = {"__name__": "example"}
    for kind, text in BLOCK.findall(page.read_text()):
        match kind:
            case "python":
                # Not the page's path: who looks for source would read the page.
                name = f"<{page.name}>"
                exec(compile(text, name, "exec", dont_inherit=True), namespace)
            case "pycon":
                check_pycon(text, namespace, page)
            case "mlir":
                check_mlir(text)
            case _:
                check_console(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    # Commands stand in code spans and in indented blocks.
    named = re.findall(r"(?m)(?:`|^ {4})make ([a-z]+)", page.read_text())
    assert set(named) <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_of_modules_exist(page: Path) -> None:
    commands = re.findall(
        r"python -m (benchmarks|examples)\b([^`\n]*)", page.read_text()
    )
    for package, rest in commands:
        source = "".join(path.read_text() for path in (ROOT / package).rglob("*.py"))
        options = set(re.findall(r"--[\w-]+", rest)) - {"--help"}  # which click has
        assert {o for o in options if f'"{o}"' not in source} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
