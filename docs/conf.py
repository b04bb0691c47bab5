"""Settings of the documentation: Sphinx reads the Markdown in this folder and the docstrings."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from showtell import __version__

project = "showtell"
author = "The showtell developers"
copyright = "2026, the showtell developers. Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "mathml",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_generated/*"]
myst_enable_extensions = ["dollarmath", "deflist", "fieldlist"]
myst_heading_anchors = 3

napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "showtell"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
