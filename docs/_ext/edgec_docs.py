"""Sphinx directives `edgec-pass` and `edgec-dialect`."""

from __future__ import annotations

from typing import ClassVar

import render
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective


class PassDirective(SphinxDirective):
    """All that the docstrings of one pass say."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Render the pass named by the argument."""
        text = render.pass_page(self.arguments[0])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class DialectDirective(SphinxDirective):
    """All that the docstrings of one dialect say."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Render the dialect named by the argument."""
        text = render.dialect_page(self.arguments[0])
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _all_pages(_app: Sphinx, env: BuildEnvironment, *_changed: set[str]) -> list[str]:
    return sorted(env.found_docs)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("edgec-pass", PassDirective)
    app.add_directive("edgec-dialect", DialectDirective)
    # Sources in Python are not tracked as dependencies, so read all pages each time.
    app.connect("env-get-outdated", _all_pages)
    return {"parallel_read_safe": True}
