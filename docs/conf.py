"""Sphinx builds the pages of this folder: `make docs`. Broken links and other warnings are errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "fastwsol"
copyright = "the founders of fastwsol"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "pictures", "examples"]
myst_heading_anchors = 3
nitpicky = False
suppress_warnings = ["myst.strikethrough"]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
html_theme = "furo"
html_title = "fastwsol"
html_static_path: list[str] = []
default_role = "code"  # as docstrings use single backticks
highlight_language = "text"
