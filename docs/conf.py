"""Settings of the documentation: Sphinx reads the Markdown in this folder and the docstrings."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

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
napoleon_use_ivar = True  # attributes that are also members would be described twice
napoleon_preprocess_types = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

default_role = "literal"  # `name` in docstrings
suppress_warnings = ["ref.python"]  # attributes of the same name in two classes

html_theme = "furo"
html_title = "showtell"
html_static_path = ["_static"]
html_css_files = ["formulas.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

GENERATED = Path(__file__).parent / "_generated"


def _put_in_tables(app: object, page: str, source: list[str]) -> None:
    """Show measured tables where a page asks for them: `mini-table` is `mini_table.md`."""

    def table(found: re.Match[str]) -> str:
        file = GENERATED / f"{found[1].replace('-', '_')}.md"
        return file.read_text("utf-8") if file.is_file() else found[0]

    source[0] = re.sub(r"<!-- ([a-z-]+) -->", table, source[0])


def _skip(
    app: object, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out what scikit-learn adds to every estimator for its metadata routing."""
    return (
        True if name in {"set_score_request", "set_fit_request", "get_metadata_routing"} else None
    )


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", _skip)
    app.connect("source-read", _put_in_tables)
