"""Rows, numbers and pages on their way out."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell._extras import need
from showtell.cli.session import Session, is_terminal, printable
from showtell.errors import InputError
from showtell.tables import RowWriter

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions

__all__ = [
    "check_output",
    "check_page",
    "counted",
    "note_if_all_failed",
    "number",
    "print_csv",
    "print_json",
    "print_predictions",
    "print_table",
    "summary_of",
]

_SUFFIXES = (".csv", ".parquet", ".jsonl")
_NEEDED = {
    ".parquet": ("pyarrow", "parquet", "Writing Parquet"),
    ".yaml": ("yaml", "yaml", "Writing YAML"),
    ".yml": ("yaml", "yaml", "Writing YAML"),
}
"""Optional packages that write a file of this ending: module, extra, what needs it."""
_ROWS_FOR_A_PERSON = 200
_ROWS_OF_A_LONG_TABLE = 50
_FOR_PROGRAMS = ("input_tokens", "output_tokens", "from_cache", "seconds")
"""Columns that a person finds in the file; on a terminal they would fold all others."""


def check_output(path: Path | None, suffixes: Sequence[str] = _SUFFIXES) -> None:
    """Refuse a file that could not be written, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise InputError(
            f"Cannot tell the format of {str(path)!r}: the name must end in {', '.join(suffixes)}."
        )
    if path.suffix.lower() in _NEEDED:
        module, extra, what = _NEEDED[path.suffix.lower()]
        need(module, extra=extra, what=what)
    _make_room(path)


def check_page(path: Path | None) -> None:
    """Refuse a page that could not be written, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"A report is an HTML page: {str(path)!r} should end in .html.")
    _make_room(path)


def _make_room(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give the name of a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"{str(path)!r} would lie in a file, not in a folder. Give another name."
        ) from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{str(path)!r}: nothing may be written to its folder. Give another one.")


def counted(n: int, singular: str, plural: str = "") -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def number(value: Any, digits: int = 3) -> str:
    """Write a number for a person; nothing where it is unknown.

    Examples
    --------
    >>> number(0.91666), number(12), number(None)
    ('0.917', '12', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{digits}f}"
    if isinstance(value, Decimal):
        return f"{Decimal(f'{value:.3g}'):f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_number)
    sys.stdout.write(text + "\n")


def _as_number(value: object) -> float:
    """Write money as a number."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def print_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print CSV to stdout; None is an empty cell."""
    with RowWriter(sys.stdout, header, format="csv") as writer:
        for row in rows:
            writer.write(dict(zip(header, row, strict=True)))


def print_table(
    session: Session,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    right: Sequence[int] = (),
) -> None:
    """Print a table for a person; `right` lists the columns that are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = session.console(sys.stdout)
    if title:  # above the table, not in it: a narrow table would fold it
        console.print(Text(printable(title), style="italic"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for i, name in enumerate(header):
        table.add_column(
            Text(printable(name)), justify="right" if i in right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def print_predictions(session: Session, predictions: Predictions, *, proba: bool) -> None:
    """Print one row per image: a table on a terminal, CSV into a pipe."""
    header = predictions.header(proba=proba)
    if not is_terminal(sys.stdout):
        print_csv(header, ([row[name] for name in header] for row in predictions.rows(proba=proba)))
        return
    n = len(predictions)
    header = tuple(name for name in header if name not in _FOR_PROGRAMS)
    shown = n if n <= _ROWS_FOR_A_PERSON else _ROWS_OF_A_LONG_TABLE
    rows = []
    for _, row in zip(range(shown), predictions.rows(proba=proba), strict=False):
        rows.append([number(row[name], 2) for name in header])
    numbers = [
        i
        for i, name in enumerate(header)
        if name in ("confidence", "cost_usd") or name.startswith("p_")
    ]
    empty = set() if predictions.errors else {"error"}
    if not any(predictions.columns.get("reason", ())):
        empty.add("reason")
    keep = [i for i, name in enumerate(header) if name not in empty]
    print_table(
        session,
        [header[i] for i in keep],
        ([row[i] for i in keep] for row in rows),
        right=[keep.index(i) for i in numbers if i in keep],
    )
    if shown < n:
        session.note(f"{n - shown:,} further rows are not shown; -o out.csv writes all of them.")


def note_if_all_failed(session: Session, predictions: Predictions, name: str = "") -> None:
    """Say so where every image is an error: what went wrong is seldom the images then."""
    if len(predictions) and predictions.counts["error"] == len(predictions):
        first = next(iter(predictions.errors.values()))
        before = f"{name}: not" if name else "Not"
        session.note(f"{before} one image got an answer. The first reason: {first}")


def summary_of(predictions: Predictions, seconds: float) -> str:
    """Count the rows by status, and say how long it took."""
    n, counts = len(predictions), predictions.counts
    parts = [f"{counts['ok']:,} ok"]
    if counts["abstained"]:
        parts.append(f"{counts['abstained']:,} abstained")
    parts.append(counted(counts["error"], "error"))
    return f"{counted(n, 'image')}: {', '.join(parts)}; {seconds:.1f} s"
