"""Sphinx configuration."""

import sys
from pathlib import Path

import edgec

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "edgec"
author = "The edgec developers"
copyright = "the edgec developers"
version = release = edgec.__version__

extensions = ["myst_parser", "edgec_docs"]
exclude_patterns = ["_build", "_generated", "changes"]
html_theme = "furo"
html_title = f"edgec {release}"
nitpicky = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The IR blocks are MLIR; Pygments has no lexer for it.
highlight_language = "text"
