"""Tables on their way out: CSV, JSON Lines and Parquet, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO, TypeAlias

from showtell._clean import cleaned, escaped_json, json_text, without_secrets
from showtell._extras import need
from showtell.errors import InputError
from showtell.records.files import whole_file

TableFormat: TypeAlias = Literal["csv", "jsonl", "parquet"]
_SUFFIXES: dict[str, TableFormat] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_ROW_GROUP = 50_000  # rows held in memory while Parquet is written
_AS_THEY_ARE = {int, type(None), bool}  # types of cells that need no care
_SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r")


def table_format(path: str | os.PathLike[str]) -> TableFormat:
    """Tell the format of a table by the suffix of its name.

    Raises
    ------
    InputError
        If the suffix is not .csv, .jsonl or .parquet.

    Examples
    --------
    >>> table_format("out/Answers.CSV")
    'csv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"Cannot tell the format of {os.fspath(path)!r}: the name must end in .csv, .jsonl or "
            ".parquet."
        )
    return _SUFFIXES[suffix]


class RowWriter:
    r"""Write rows to a table as they come; the file appears whole or not at all.

    A context manager; memory stays constant. Rows go to a temporary file in the same folder, which
    takes the place of `target` at the end; after an exception it is removed and `target` stays.

    Parameters
    ----------
    target : str, path or text stream
        A path whose suffix is the format, or an open text stream with `format`.
    header : sequence of str
        Column names in order.
    format : {"csv", "jsonl", "parquet"}, optional
        Needed for a stream, which can only be CSV or JSON Lines.
    types : mapping of str to type, optional
        Python type of columns beyond the fixed ones (Parquet needs to know before the first row).
        Unnamed ones are text, ``p_<label>`` are float32, ``cost_usd`` is a decimal.
    escape_formulas : bool, default=False
        CSV: put a ``'`` before text that a spreadsheet would run as a formula.

    Examples
    --------
    >>> import sys
    >>> with RowWriter(sys.stdout, ["image", "label"], format="csv") as writer:
    ...     writer.write({"image": "a, b.jpg", "label": "cat"})
    image,label
    "a, b.jpg",cat
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | TextIO,
        header: Sequence[str],
        *,
        format: TableFormat | None = None,  # noqa: A002 (the field's word for it)
        types: Mapping[str, type] | None = None,
        escape_formulas: bool = False,
    ) -> None:
        self.header = tuple(header)
        self._shown_header = tuple(map(cleaned, self.header))
        self.n_rows = 0
        self._types = {**COLUMN_TYPES, **(types or {})}
        self._escape = escape_formulas
        self._csv_as_is = {type(None), int, float} | (set() if escape_formulas else {str})
        self._json = json.JSONEncoder(ensure_ascii=False, default=_to_json)
        self._path: Path | None = None
        self._temporary: Path | None = None
        self._stream: Any = None
        if isinstance(target, str | os.PathLike):
            self.format = format or table_format(target)
            self._path = Path(os.path.realpath(target))
        elif format in ("csv", "jsonl"):
            self.format = format
            self._stream = target
        else:
            raise InputError(f"A stream takes format 'csv' or 'jsonl', got {format!r}.")

    def __enter__(self) -> Self:
        try:
            if self._path is not None:
                self._open(self._path)
            if self.format == "csv":
                self._csv = csv.writer(self._stream, lineterminator="\n")
                self._csv_quoted = csv.writer(
                    self._stream, lineterminator="\n", quoting=csv.QUOTE_ALL
                )
                self._write_csv(self._shown_header)
            elif self.format == "parquet":
                self._open_parquet()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _write_csv(self, cells: Sequence[Any]) -> None:
        """Write a line; Python's writer would leave a lone carriage return unquoted."""
        for cell in cells:
            if type(cell) is str and "\r" in cell:
                self._csv_quoted.writerow(cells)
                return
        self._csv.writerow(cells)

    def _open(self, path: Path) -> None:
        """Open a temporary file beside `path`, or a device such as /dev/stdout itself."""
        if not path.parent.is_dir():
            raise InputError(
                f"There is no folder {str(path.parent)!r} to write {path.name!r} into."
            )
        if path.is_dir():
            raise InputError(f"{str(path)!r} is a folder; give the name of a file.")
        place = path
        if path.is_file() or not path.exists():
            place = self._temporary = path.with_name(f".showtell-{secrets.token_hex(6)}.tmp")
        if self.format == "parquet":
            self._stream = place.open("wb")
        else:
            self._stream = place.open("w", encoding="utf-8", newline="")

    def _open_parquet(self) -> None:
        pa = need("pyarrow", extra="parquet", what="Writing Parquet")
        pq = need("pyarrow.parquet", extra="parquet", what="Writing Parquet")
        arrow = {
            bool: pa.bool_(),
            int: pa.int64(),
            float: pa.float64(),
            Decimal: pa.decimal128(38, 18),
        }
        fields = []
        for name, shown in zip(self.header, self._shown_header, strict=True):
            if name == "confidence" or (name.startswith("p_") and name not in self._types):
                kind = pa.float32()
            elif name in FIXED_COLUMNS:
                kind = pa.string()
            else:
                kind = arrow.get(_plain_type(self._types.get(name, str)), pa.string())
            fields.append(pa.field(shown, kind))
        self._pa, self._schema = pa, pa.schema(fields)
        self._is_text = [field.type == pa.string() for field in fields]
        self._columns: dict[str, list[Any]] = {name: [] for name in self._shown_header}
        self._parquet = pq.ParquetWriter(self._stream, self._schema)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row; a column that `row` lacks is empty."""
        values = [row.get(name) for name in self.header]
        values = [
            cleaned(v) if type(v) is str
            else v if type(v) in _AS_THEY_ARE or (v == v and type(v) is float)
            else _plain(v)
            for v in values
        ]  # fmt: skip
        if self.format == "csv":
            self._write_csv(
                [v if type(v) in self._csv_as_is else self._csv_cell(v) for v in values]
            )
        elif self.format == "jsonl":
            record = dict(zip(self._shown_header, values, strict=True))
            self._stream.write(escaped_json(self._json.encode(record)) + "\n")
        else:
            for name, is_text, value in zip(self._shown_header, self._is_text, values, strict=True):
                as_text = is_text and value is not None and type(value) is not str
                self._columns[name].append(cleaned(str(value)) if as_text else value)
            if len(self._columns[self._shown_header[0]]) >= _ROW_GROUP:
                self._flush_parquet()
        self.n_rows += 1

    def _csv_cell(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, list | tuple | dict):
            value = without_secrets(json_text(value, default=str))
        if self._escape and isinstance(value, str) and value.startswith(_SPREADSHEET_STARTS):
            return f"'{value}"
        return value

    def _flush_parquet(self) -> None:
        self._parquet.write_table(self._pa.table(self._columns, schema=self._schema))
        self._columns = {name: [] for name in self._shown_header}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.format == "parquet" and hasattr(self, "_parquet"):
                if kind is None:
                    self._flush_parquet()
                self._parquet.close()
            if self._path is not None and self._stream is not None:
                if not self._stream.closed:
                    self._stream.flush()
                    if self._temporary is not None and kind is None:
                        os.fsync(self._stream.fileno())
                    self._stream.close()
                if self._temporary is not None and kind is None:
                    self._temporary.replace(self._path)
        finally:
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Numpy scalars as Python values; NaN as None."""
    if hasattr(value, "dtype"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _to_json(value: Any) -> Any:
    """Express what JSON has no word for: decimals as numbers, everything else as text."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _plain_type(kind: type) -> type:
    """Python type that values of a numpy scalar type turn into."""
    return type(kind().item()) if hasattr(kind, "dtype") else kind


def write_columns(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Write a table of a run folder: text, numbers and truth values keep their types in Parquet.

    Parameters
    ----------
    path : path
        Ends in ``.csv`` or ``.parquet``; appears whole or not at all.
    columns : mapping of str to sequence
        All of one length. Other values than text, numbers and truth values become text.
    """
    target = Path(path)
    columns = {
        cleaned(name): [cleaned(v) if isinstance(v, str) else v for v in values]
        for name, values in columns.items()
    }
    with whole_file(target) as part:
        if table_format(target) == "parquet":
            pyarrow = need("pyarrow", extra="parquet", what="Writing Parquet")
            parquet = need("pyarrow.parquet", extra="parquet", what="Writing Parquet")
            arrays = {name: pyarrow.array(_for_arrow(values)) for name, values in columns.items()}
            parquet.write_table(pyarrow.table(arrays), part)
        else:
            with part.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))  # None is an empty cell


def write_rows(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, Any]],
    header: Sequence[str] | None = None,
) -> None:
    """Write rows that are in memory, in the format that the name ends in.

    Parameters
    ----------
    path : path
        Ends in ``.csv``, ``.jsonl`` or ``.parquet``; appears whole or not at all.
    rows : sequence of mapping
        All with the same keys.
    header : sequence of str, optional
        The keys; needed only where there may be no rows.
    """
    names = tuple(rows[0] if header is None else header)
    if table_format(path) == "parquet":
        write_columns(path, {name: [row[name] for row in rows] for name in names})
        return
    with RowWriter(path, names) as writer:
        for row in rows:
            writer.write(row)


def _for_arrow(values: Sequence[Any]) -> list[Any]:
    """Give Arrow one type per column: numbers and text as they are, the rest as text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} or kinds <= {bool} or kinds <= {str}:
        return list(values)
    return [None if v is None else str(v) for v in values]


Status: TypeAlias = Literal["ok", "abstained", "error"]
STATUSES: tuple[Status, ...] = ("ok", "abstained", "error")
"""In the order of their codes in `Predictions.status_codes`."""

FIXED_COLUMNS: tuple[str, ...] = ("image", "label", "confidence", "status", "error")
"""The first columns of every table of predictions, in this order."""

COLUMN_TYPES: Mapping[str, type] = {
    "cost_usd": Decimal,
    "input_tokens": int,
    "output_tokens": int,
    "from_cache": bool,
    "seconds": float,
}
"""Method columns whose type is known, so that a CSV reads back as what was written."""
