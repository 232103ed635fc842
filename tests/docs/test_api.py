"""The page of the public interface is complete, and says what the code says."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import edgec
from edgec import compress, errors, testing

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "docs" / "_ext"))

import render_api

DOCS = Path(__file__).parents[2] / "docs"
NAMES = re.findall(r"(?m)^```\{edgec-api\} (\S+)\n```$", (DOCS / "api.md").read_text())


class Sample:
    """Nothing to see.

    Args:
        first: one thing,
            on two lines.

    >>> 1 + 1
    2

    The end.
    """

    size: int | None = None
    """How
    large."""

    def __init__(self, first: str, *rest: int, key: Path = Path("x")) -> None:
        self._given = first, rest, key

    @property
    def half(self) -> float:
        """Of the size."""
        return 0.5

    @classmethod
    def make(cls, *, why: str) -> Sample:
        """Another."""
        return cls(why)

    def _hidden(self) -> None:
        """Nobody's affair."""


def test_every_public_name_has_an_entry() -> None:
    public = {
        *(f"edgec.{name}" for name in edgec.__all__ if name != "compress"),
        *(f"edgec.compress.{name}" for name in compress.__all__),
        *(f"edgec.testing.{name}" for name in testing.__all__),
        *(
            f"edgec.errors.{name}"
            for name, value in vars(errors).items()
            if inspect.isclass(value) and value is not errors.EdgecError
        ),
    }
    assert public <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_says_something(name: str) -> None:
    entry = render_api.api_entry(name)
    assert entry.startswith(f"### `{name}`\n")
    assert len(entry.splitlines()) > 2
    assert "ForwardRef" not in entry
    assert "Args:" not in entry
    for fence in re.findall(r"(?ms)^```python\n(.*?)^```\n\n(.*?)$", entry):
        assert fence[1], f"nothing is said of {fence[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_that_is_explained_exists(name: str) -> None:
    module, _, last = name.rpartition(".")
    thing = getattr(import_module(module), last)
    if not callable(thing) or thing.__module__ == errors.__name__:
        return
    entry = render_api.api_entry(name)
    explained = re.findall(r"(?m)^- `(\w+)`:", entry)
    assert set(explained) <= set(inspect.signature(thing).parameters)


def test_an_entry() -> None:
    entry = render_api.api_entry(f"{__name__}.Sample")
    assert entry.split("\n") == [
        f"### `{__name__}.Sample`",
        "",
        "```python",
        f'{__name__}.Sample(first: str, *rest: int, key: Path = Path("x"))',
        "```",
        "",
        "Nothing to see.",
        "",
        "- `first`: one thing,",
        "    on two lines.",
        "",
        "```pycon",
        ">>> 1 + 1",
        "2",
        "```",
        "",
        "The end.",
        "",
        "- `size: int | None`: How large.",
        "",
        "`half: float`",
        "",
        "Of the size.",
        "",
        "```python",
        "classmethod make(*, why: str) -> Sample",
        "```",
        "",
        "Another.",
        "",
    ]
