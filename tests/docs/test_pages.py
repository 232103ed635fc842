"""Lists in the documentation that could go out of date are those of the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from edgec.dialects import nn, sq
from edgec.kernels.conv.lower import SETTINGS
from edgec.kernels.linear import lower_codes as codes
from edgec.options import Options
from edgec.pipeline import kernel_passes, tensor_passes
from edgec.target import Target

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def test_the_layers_are_those_of_the_contract() -> None:
    page = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \|", page)
    shown = [re.findall(r"\w+", row) for row in rows]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["id"] == "layers")
    assert shown == [layer.split(" | ") for layer in layers]


def test_the_order_of_the_passes() -> None:
    page = (DOCS / "passes" / "index.md").read_text()
    match = re.search(r"(?ms)^```text\n(.*?)^```$", page)
    assert match is not None
    shown = re.findall(r"[a-z]+(?:-[a-z]+)+|fuse", match[1])
    options, target = Options(precision="auto"), Target.parse("x86-64-v3")
    passes = (*tensor_passes(options, target), *kernel_passes(options, target))
    assert shown == [each.name for each in passes]


def test_every_option_is_in_the_table() -> None:
    page = (DOCS / "usage.md").read_text()
    section = page.partition("## Options\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(.*?)` \|", section)
    defaults = {name: repr(value) for name, value in vars(Options()).items()}
    assert {name: text.replace('"', "'") for name, text in rows} == defaults


def test_every_kernel_and_schedule_is_explained() -> None:
    page = (DOCS / "usage.md").read_text()
    section = page.partition("## What was made of it\n")[2].partition("\n## ")[0]
    tables = {
        table.partition(" |")[0]: set(re.findall(r"`([\w.]+)`", first))
        for table in re.findall(r"(?ms)^\| (.*?)^$", section)
        for first in ["".join(re.findall(r"(?m)^\| (`.*?`) \|", table))]
    }
    recurrent = {kind.value for kind in nn.RecurrentKind}
    assert tables["kernel"] == {*SETTINGS, sq.LinearOp.name, codes.FAMILY, *recurrent}
    settings = set[str]().union(*SETTINGS.values())
    assert tables["in a schedule"] == settings | codes.SETTINGS
    assert {"dense", "pattern", "unstructured"} <= tables["scheme"]


def test_every_word_of_the_glossary_is_used() -> None:
    table = (DOCS / "glossary.md").read_text()
    terms = re.findall(r"(?m)^\| ([^|]+) \|", table)[1:]
    sources = [
        path
        for folder in ("edgec", "dialects", "passes", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md"} and path.name != "glossary.md"
    ]
    text = "\n".join(path.read_text() for path in sources).lower()
    # A term may stand at the end of a line in docstrings.
    text = re.sub(r"\s+", " ", text)
    assert [term for term in terms if term.lower() not in text] == []
    assert terms == sorted(terms, key=str.lower)
