"""All columns of a table as text, for scoring answers."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from showtell._extras import need
from showtell.errors import DataError, MediaNotFoundError
from showtell.media import media_name

__all__ = ["clean_name", "read_columns"]

_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")


def clean_name(name: str) -> str:
    """Strip what does not count in a column name: blanks and a leading ``#``.

    Examples
    --------
    >>> clean_name("#image_name"), clean_name(" actual ")
    ('image_name', 'actual')
    """
    return name.strip().lstrip("\ufeff").lstrip("#").strip()


def read_columns(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Read CSV, TSV, JSON, JSON Lines or Parquet; empty cells are None.

    Parameters
    ----------
    path : path

    Returns
    -------
    columns : dict of str to list
        By name as written; see `clean_name`.

    Raises
    ------
    DataError
        If the file is no such table or its rows differ in length.
    MediaNotFoundError
        If there is no such file.
    """
    where = media_name(path)
    file = Path(path)
    if not file.is_file():
        raise MediaNotFoundError(where, "no such file")
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(
            f"Cannot tell the format of {where!r}: the name must end in {', '.join(_SUFFIXES)}."
        )
    try:
        if suffix == ".parquet":
            return _parquet(file, where)
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _json(text, where, lines=suffix != ".json")
    return _csv(text, where, "\t" if suffix in (".tsv", ".tab") else None)


def _csv(text: str, where: str, delimiter: str | None) -> dict[str, list[Any]]:
    """Read a table with a header; the delimiter is what the header has most of."""
    first = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t|", key="".join(first.split('"')[::2]).count)
    reader = csv.reader(
        text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"{where} line {reader.line_num}: {len(row)} values, but the header has "
                    f"{len(rows[0])} columns ({', '.join(map(clean_name, rows[0]))}). Put quotes "
                    "around answers that hold the separator."
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{where} line {reader.line_num}: {error}.") from None
    if not rows:
        raise DataError(f"{where} is empty. The first line must name the columns.")
    return _by_column(rows[0], rows[1:], where)


def _by_column(
    header: Sequence[str], rows: Sequence[Sequence[str]], where: str
) -> dict[str, list[Any]]:
    """Turn rows into columns."""
    if len(set(map(clean_name, header))) != len(header):
        raise DataError(f"{where} has two columns of one name: {', '.join(header)}.")
    return {name: [row[i] or None for row in rows] for i, name in enumerate(header)}


def _json(text: str, where: str, *, lines: bool) -> dict[str, list[Any]]:
    """Read objects, one per line or in a list; a key that is missing is an empty cell."""
    try:
        parts: Iterable[Any] = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if lines
            else json.loads(text)
        )
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON: {error}.") from None
    objects = list(parts) if isinstance(parts, list) else []
    if not objects or not all(isinstance(one, Mapping) for one in objects):
        raise DataError(
            f"{where} must hold objects such as "
            '{"actual": "cat", "predicted": "It is a cat."}, one per answer.'
        )
    names = dict.fromkeys(str(name) for one in objects for name in one)
    return {name: [one.get(name) for one in objects] for name in names}


def _parquet(file: Path, where: str) -> dict[str, list[Any]]:
    """Read a Parquet file."""
    parquet = need("pyarrow.parquet", extra="parquet", what="Reading Parquet")
    arrow = need("pyarrow", extra="parquet", what="Reading Parquet")
    try:
        columns: dict[str, list[Any]] = parquet.read_table(file).to_pydict()
    except (OSError, arrow.ArrowException) as error:
        message = str(error).partition("\n")[0]
        raise DataError(f"Cannot read {where!r} as Parquet: {message}.") from None
    return columns
