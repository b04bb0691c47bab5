"""Refuse files that are too large for a repository: a hook of pre-commit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ALLOWED = ("src/showtell/encoders/mini/weights/",)
"""Where large files belong: the weights of the embedded encoder."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--max-mb", type=float, default=1.0)
    options = parser.parse_args()
    large = [
        (file, size)
        for file in options.files
        if not file.as_posix().startswith(ALLOWED)
        and file.is_file()
        and (size := file.stat().st_size / 1e6) > options.max_mb
    ]
    for file, size in large:
        print(f"{file} has {size:.1f} MB, more than {options.max_mb:g} MB.")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
