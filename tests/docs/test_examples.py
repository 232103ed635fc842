"""Every example in the documentation is run.

The blocks of one page run in order, in one empty folder: `python` blocks in one
namespace, `mlir` blocks are parsed and verified, `console` lines that start `edgec` or
`edgec-opt` are executed and their output is compared. Commands with `make` must exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from xdsl.parser import Parser

from edgec.tools.opt import EdgecOpt

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(python|mlir|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))


def pages_with_examples() -> list[Path]:
    return [page for page in PAGES if BLOCK.search(page.read_text())]


def check_mlir(text: str) -> None:
    ctx = EdgecOpt([]).ctx
    Parser(ctx, text).parse_module().verify()


def check_console(text: str) -> None:
    for step in re.split(r"(?m)^\$ ", text)[1:]:
        line, _, expected = step.replace("\\\n", " ").partition("\n")
        command = shlex.split(line)
        program = Path(sys.executable).parent / command[0]
        assert command[0] in {"edgec", "edgec-opt"}, f"cannot check: {line}"
        result = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert expected.strip() in result.stdout, result.stdout


@pytest.mark.parametrize(
    "page", pages_with_examples(), ids=lambda page: str(page.relative_to(ROOT))
)
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "example"}
    for kind, text in BLOCK.findall(page.read_text()):
        match kind:
            case "python":
                exec(compile(text, str(page), "exec"), namespace)
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
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
