"""Pages made from docstrings."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp

from edgec.passes.base import ReportingPass
from edgec.universe import DIALECTS, get_dialect_factories

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "docs" / "_ext"))

import render


def test_sections() -> None:
    doc = "What: does it.\n\nWhy: is it.\nHow is no heading.\n\nHow: one\ntwo"
    assert render.sections_of(doc) == {
        "What": "does it.",
        "Why": "is it.\nHow is no heading.",
        "How": "one\ntwo",
    }


@dataclass(frozen=True)
class SplitGroups(ReportingPass):
    """Nothing to see.

    **Before**

    ```mlir
    func.func private @main()
    ```

    **After**

    ```mlir
    func.func private @main()
    ```
    """

    name = "split-groups"

    max_groups: int | None = None
    """How many,
    at most."""

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        return {"groups_split": 3}


def test_pass_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "get_pass", lambda _: SplitGroups)
    page = render.pass_page("split-groups")
    assert "| `max-groups` | `int \\| None` | `None` | How many, at most. |" in page
    assert "| `groups_split` | 3 |" in page
    assert page.count("func.func private @main()") == 2


@pytest.mark.parametrize("name", DIALECTS)
def test_dialect_page(name: str) -> None:
    dialect = get_dialect_factories()[name]()
    page = render.dialect_page(name)
    for thing in [*dialect.operations, *dialect.attributes]:
        head, _, below = page.partition(f"### `{thing.name}`\n\n")
        assert head != page
        assert re.match(r"\S", below), f"{thing.name} has no docstring"


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_a_page(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "dialects" / f"{name}.md"
    assert f"```{{edgec-dialect}} {name}\n" in page.read_text()
