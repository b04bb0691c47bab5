"""Write docs/_generated/methods_table.md from the table of methods; ``--check`` compares."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from showtell.classify.table import Method, by_kind
from showtell.cli.flags import flag_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "_generated" / "methods_table.md"

HEAD = """<!-- Written by scripts/methods_table.py from showtell/classify/table.py; do not edit. -->

| method | decides by | what it does | examples | options |
|---|---|---|---|---|
"""

EXAMPLES = {"always": "learns from them", "never": "none", "to calibrate": "to calibrate"}


def page() -> str:
    """Write the table as Markdown."""
    rows = [line(row) for rows in by_kind().values() for row in rows]
    return HEAD + "\n".join(rows) + "\n"


def line(row: Method) -> str:
    """Write a method as a row."""
    options = " ".join(f"`{flag_of(name)}`" for name in row.takes)
    cells = (f"`{row.name}`", row.kind, row.summary, EXAMPLES[row.learns], options)
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is stale")
    options = parser.parse_args()
    text = page()
    if options.check:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            print("docs/_generated/methods_table.md is stale. Write it again: make fix")
            return 1
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
