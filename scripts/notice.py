"""Write NOTICE from where third-party material is described; ``--check`` says if it is stale.

The photos come from the table of examples/PHOTOS.md, the weights of the embedded encoder from
scripts/build_mini/NOTICE-weights.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICE = ROOT / "NOTICE"
PHOTOS = ROOT / "examples" / "PHOTOS.md"
WEIGHTS = ROOT / "scripts" / "build_mini" / "NOTICE-weights.md"

HEAD = """showtell
Copyright 2026 The showtell developers

This product is licensed under the Apache License, Version 2.0 (see LICENSE).
It contains the third-party material listed below, each under its own licence.


Photographs in examples/photos
------------------------------

Made upright, scaled and stored without metadata; not changed otherwise. The texts of the
Creative Commons licences lie in examples/LICENSES. They are part of the repository and of no
package that is installed.
"""

WEIGHTS_HEAD = """
Weights and tables in src/showtell/encoders/mini/weights
-------------------------------------------------

The embedded encoder, built from the material below by scripts/build_mini.
"""


def notice() -> str:
    parts = [HEAD, *(photo(cells) for cells in table(PHOTOS.read_text("utf-8")))]
    if WEIGHTS.is_file():
        parts += [WEIGHTS_HEAD, plain(WEIGHTS.read_text("utf-8"))]
    return "\n".join(parts).rstrip() + "\n"


def table(text: str) -> list[dict[str, str]]:
    """Rows of the first Markdown table, by column name."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def photo(cells: dict[str, str]) -> str:
    """One photo: file, what it shows, author, licence, origin."""
    return (
        f"examples/{cells['photo']}: {cells['shows']}\n"
        f"  author: {cells['author']}; licence: {plain(cells['licence'])}\n"
        f"  from {cells['package']}; {plain(cells['source'])}\n"
    )


def plain(markdown: str) -> str:
    """Markdown as text: links spelled out, headings and emphasis taken off."""
    text = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"\1, \2", markdown)
    text = re.sub(r"<(https?://[^>]+)>", r"\1", text)
    text = re.sub(r"^#+ *", "", text, flags=re.M)
    return text.replace("**", "").replace("`", "").strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether NOTICE is stale")
    options = parser.parse_args()
    if options.check:
        if NOTICE.read_text("utf-8") != notice():
            print("NOTICE is stale. Write it again: make fix")
            return 1
        return 0
    NOTICE.write_text(notice(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
