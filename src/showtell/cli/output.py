"""Rows, numbers and pages on their way out."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell._clean import json_text, without_secrets
from showtell._extras import need
from showtell.cli.session import Session, is_terminal, printable
from showtell.errors import InputError
from showtell.records.files import close_to_others

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions
    from showtell.mllm.estimate import Sums
    from showtell.runs import Meter, Taken

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
    text = json_text(value, shown=True, allow_nan=False, default=_as_number)
    sys.stdout.write(without_secrets(text) + "\n")


def _as_number(value: object) -> float:
    """Write money as a number."""
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def print_csv(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, escape_formulas: bool = False
) -> None:
    """Print CSV to stdout; None is an empty cell."""
    from showtell.tables import RowWriter  # help prints no tables

    with RowWriter(sys.stdout, header, format="csv", escape_formulas=escape_formulas) as writer:
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


def print_rows(
    session: Session,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    right: Sequence[int] = (),
) -> None:
    """Print rows: a table on a terminal, CSV into a pipe."""
    if is_terminal(sys.stdout):
        shown = ([_cell(value) for value in row] for row in rows)
        print_table(session, header, shown, title=title, right=right)
    else:
        print_csv(header, rows)


def _cell(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else number(value)


def print_predictions(
    session: Session, predictions: Predictions, *, proba: bool, escape_formulas: bool = False
) -> None:
    """Print one row per image: a table on a terminal, CSV into a pipe."""
    header = predictions.header(proba=proba)
    if not is_terminal(sys.stdout):
        rows_of = predictions.rows(proba=proba)
        print_csv(
            header,
            ([row[name] for name in header] for row in rows_of),
            escape_formulas=escape_formulas,
        )
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


def rows_as_json(predictions: Predictions, *, proba: bool) -> dict[str, Any]:
    """Give the rows of all images as one JSON value."""
    return {
        "n_images": len(predictions),
        "counts": predictions.counts,
        "labels": list(predictions.classes),
        "predictions": list(predictions.rows(proba=proba)),
    }


def summary_of(predictions: Predictions, seconds: float) -> str:
    """Count the rows by status, and say how long it took."""
    n, counts = len(predictions), predictions.counts
    parts = [f"{counts['ok']:,} ok"]
    if counts["abstained"]:
        parts.append(f"{counts['abstained']:,} abstained")
    parts.append(counted(counts["error"], "error"))
    return f"{counted(n, 'image')}: {', '.join(parts)}; {seconds:.1f} s"


def dollars(cost: Decimal | None) -> str:
    """Write money: cents where it is much, more digits where it is little.

    Examples
    --------
    >>> dollars(None), dollars(Decimal(0)), dollars(Decimal("0.000421")), dollars(Decimal("1234.5"))
    ('price unknown', '0 USD', '0.00042 USD', '1,234.50 USD')
    """
    if cost is None:
        return "price unknown"
    if cost == 0:
        return "0 USD"
    if cost >= 1:
        return f"{cost:,.2f} USD"
    return f"{Decimal(f'{cost:.2g}'):f} USD"


def kept_before(sums: Sums) -> str:
    """Say how many questions were answered before; nothing where none was."""
    return f", {sums.n_requests_kept:,} of them answered before" if sums.n_requests_kept else ""


def spent_so_far(meters: Sequence[Meter]) -> str:
    """Say in a word or two what was spent; nothing where nothing was asked yet."""
    if not any(meter.n_requests for meter in meters):
        return ""
    totals = [meter.total for meter in meters]
    return dollars(None if None in totals else sum((t for t in totals if t), Decimal(0)))


def what_it_took(took: Taken) -> str:
    """Say what a run spent, and what it had for nothing."""
    doubts = _in_doubt(took)
    if not took.n_requests:
        if took.n_again and took.n_again == took.n_rows:
            return f"0 USD: all {took.n_rows:,} answers were there already{doubts}"
        if not took.n_sent:
            return f"0 USD: nothing was asked{doubts}"
        return f"0 USD: no answer to {counted(took.n_sent, 'request')}{_unanswered(took)}{doubts}"
    parts = [
        f"{dollars(took.cost_usd)} for {counted(took.n_requests, 'request')}",
        f"{took.input_tokens:,} tokens in",
        f"{took.output_tokens:,} out",
    ]
    if took.n_again:
        parts.append(f"{took.n_again:,} of {took.n_rows:,} answers were there already")
    return ", ".join(parts) + _unanswered(took) + doubts


def _unanswered(took: Taken) -> str:
    """Say what became of requests without an answer, those in doubt excepted."""
    said = ""
    if took.n_unsent:
        said += f"; {counted(took.n_unsent, 'try', 'tries')} found no server, so nothing was sent"
    if took.n_turned_away:
        was = "was" if took.n_turned_away == 1 else "were"
        said += f"; {counted(took.n_turned_away, 'request')} {was} turned away, at no cost"
    if took.n_never:
        was = "was" if took.n_never == 1 else "were"
        said += f"; {counted(took.n_never, 'image')} {was} not asked about"
    return said


def _in_doubt(took: Taken) -> str:
    """Say what may be billed although no answer came of it."""
    if not took.n_in_doubt:
        return ""
    most = took.in_doubt_usd
    amount = "an unknown amount" if most is None else f"at most {dollars(most)}"
    return (
        f"; {counted(took.n_in_doubt, 'request')} of this run broke off, or had no answer when it "
        f"was killed, and may be billed on top: {amount}"
    )


def say_what_is_kept(session: Session, folder: Path) -> None:
    """Let the owner alone read the files of a run folder, and name them."""
    close_to_others(folder)
    session.summary(f"kept in {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")
