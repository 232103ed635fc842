"""Sphinx extension: fills in what the docstrings of passes, dialects and functions say.

A page writes

    ```{edgec-pass} filter-kernel-reorder
    ```

(or `edgec-dialect`, or `edgec-api` with a function or class), and Markdown made by
`render` and `render_api` takes the place of the two lines before the page is parsed. So
its headings are headings of the page.
"""

from __future__ import annotations

import re

import render
import render_api
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_BLOCK = re.compile(r"(?m)^```\{edgec-(pass|dialect|api)\} ([\w.-]+)\n```$")
_PAGES = {
    "pass": render.pass_page,
    "dialect": render.dialect_page,
    "api": render_api.api_entry,
}


def _expand(match: re.Match[str]) -> str:
    return _PAGES[match[1]](match[2])


def _fill_in(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = _BLOCK.sub(_expand, source[0])


def _all_pages(_app: Sphinx, env: BuildEnvironment, *_changed: set[str]) -> list[str]:
    """Python files are not tracked as sources, so read all pages each time."""
    return sorted(env.found_docs)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the reading of the pages."""
    app.connect("source-read", _fill_in)
    app.connect("env-get-outdated", _all_pages)
    return {"parallel_read_safe": True}
