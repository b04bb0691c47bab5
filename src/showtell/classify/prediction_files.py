"""Predictions as files: CSV, JSON Lines and Parquet, written row by row and read back."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import secrets
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO, TypeAlias

import numpy as np

from showtell._extras import need
from showtell.errors import DataError, InputError

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions

__all__ = [
    "FIXED_COLUMNS",
    "STATUSES",
    "RowWriter",
    "Status",
    "TableFormat",
    "html_table",
    "read_columns",
    "table_format",
]

Status: TypeAlias = Literal["ok", "abstained", "error"]
STATUSES: tuple[Status, ...] = ("ok", "abstained", "error")
"""In the order of their codes in `Predictions.status_codes`."""

FIXED_COLUMNS: tuple[str, ...] = ("image", "label", "confidence", "status", "error")
"""The first columns of every table of predictions, in this order."""

TableFormat: TypeAlias = Literal["csv", "jsonl", "parquet"]
_SUFFIXES: dict[str, TableFormat] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_ROW_GROUP = 50_000  # rows held in memory while Parquet is written
_AS_THEY_ARE = {str, int, type(None), bool}  # types of cells that need no care
_BREAKS = "overflow-wrap: anywhere"  # a long path widens no phone
_SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r")
_COLUMN_TYPES: dict[str, type] = {
    "cost_usd": Decimal,
    "input_tokens": int,
    "output_tokens": int,
    "from_cache": bool,
    "seconds": float,
}
"""Method columns whose type is known, so that a CSV reads back as what was written."""


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
        self.n_rows = 0
        self._types = {**_COLUMN_TYPES, **(types or {})}
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
                self._write_csv(self.header)
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
        for name in self.header:
            if name == "confidence" or (name.startswith("p_") and name not in self._types):
                kind = pa.float32()
            elif name in FIXED_COLUMNS:
                kind = pa.string()
            else:
                kind = arrow.get(_plain_type(self._types.get(name, str)), pa.string())
            fields.append(pa.field(name, kind))
        self._pa, self._schema = pa, pa.schema(fields)
        self._is_text = [field.type == pa.string() for field in fields]
        self._columns: dict[str, list[Any]] = {name: [] for name in self.header}
        self._parquet = pq.ParquetWriter(self._stream, self._schema)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row; a column that `row` lacks is empty."""
        values = [row.get(name) for name in self.header]
        values = [
            v if type(v) in _AS_THEY_ARE or (v == v and type(v) is float) else _plain(v)
            for v in values
        ]
        if self.format == "csv":
            self._write_csv(
                [v if type(v) in self._csv_as_is else self._csv_cell(v) for v in values]
            )
        elif self.format == "jsonl":
            record = dict(zip(self.header, values, strict=True))
            self._stream.write(self._json.encode(record) + "\n")
        else:
            for name, is_text, value in zip(self.header, self._is_text, values, strict=True):
                as_text = is_text and value is not None and type(value) is not str
                self._columns[name].append(str(value) if as_text else value)
            if len(self._columns[self.header[0]]) >= _ROW_GROUP:
                self._flush_parquet()
        self.n_rows += 1

    def _csv_cell(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, list | tuple | dict):
            value = json.dumps(value, ensure_ascii=False, default=str)
        if self._escape and isinstance(value, str) and value.startswith(_SPREADSHEET_STARTS):
            return f"'{value}"
        return value

    def _flush_parquet(self) -> None:
        self._parquet.write_table(self._pa.table(self._columns, schema=self._schema))
        self._columns = {name: [] for name in self.header}

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
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def _to_json(value: Any) -> Any:
    """Express what JSON has no word for: decimals as numbers, everything else as text."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _plain_type(kind: type) -> type:
    """Python type that values of a numpy scalar type turn into."""
    if issubclass(kind, np.generic):
        return type(np.zeros((), dtype=kind).item())
    return kind


def read_columns(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a table of predictions as the arguments of `Predictions`; see `Predictions.read`."""
    where = os.fspath(path)
    if not Path(path).is_file():
        raise DataError(f"There is no file {where!r} to read predictions from.")
    reader = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}
    header, rows = reader[table_format(path)](Path(path))
    missing = [name for name in FIXED_COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, header))}. Predictions need {', '.join(FIXED_COLUMNS)}."
        )
    labels = tuple(name[2:] for name in header if name.startswith("p_"))
    extra = [n for n in header if n not in FIXED_COLUMNS and n[2:] not in labels]
    table = _Columns(labels, extra)
    for line, row in rows:
        try:
            table.add(row)
        except (ValueError, InvalidOperation) as error:
            raise DataError(f"{where} line {line}: {error}") from None
    return table.finish()


class _Columns:
    """Rows gathered into the columns of `Predictions`."""

    def __init__(self, labels: tuple[str, ...], extra: Sequence[str]) -> None:
        self.fixed = bool(labels)
        self.index = {label: i for i, label in enumerate(labels)}
        self.images: list[str] = []
        self.codes, self.status = array("i"), array("b")
        self.confidence, self.distinct = array("f"), array("q")
        self.errors: dict[int, str] = {}
        self.proba: dict[tuple[float, ...], int] = {}
        self.columns: dict[str, list[Any]] = {name: [] for name in extra}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take over one row; a ValueError says what is wrong with it."""
        status = row["status"]
        if status not in STATUSES:
            raise ValueError(f"status {status!r} is none of {', '.join(STATUSES)}.")
        label, confidence = row["label"], _number(row["confidence"])
        if status == "ok":
            if label in (None, ""):
                raise ValueError("status is 'ok', but there is no label.")
            if self.fixed and label not in self.index:
                raise ValueError(f"label {label!r} has no column 'p_{label}'.")
            code = self.index.setdefault(str(label), len(self.index))
        else:
            code, confidence = -1, math.nan
        if status == "error":
            self.errors[len(self.images)] = str(row["error"] or "unknown error")
        row_proba = tuple(_number(row[f"p_{c}"]) for c in self.index) if self.fixed else ()
        known = status != "error" and self.fixed
        if known and any(math.isnan(p) for p in row_proba):
            raise ValueError("a probability is missing.")
        if known and status == "abstained":
            confidence = max(row_proba)
            code = row_proba.index(confidence)
        self.distinct.append(self.proba.setdefault(row_proba, len(self.proba)) if known else -1)
        self.images.append(str(row["image"]))
        self.codes.append(code)
        self.confidence.append(confidence)
        self.status.append(STATUSES.index(status))
        for name, values in self.columns.items():
            values.append(row[name])

    def finish(self) -> dict[str, Any]:
        """Return the arguments of `Predictions`."""
        classes, codes = tuple(self.index), np.array(self.codes, np.int32)
        if not self.fixed:  # labels in order of appearance so far
            order = sorted(range(len(classes)), key=classes.__getitem__)
            rank = np.empty(len(classes) + 1, np.int32)
            rank[order] = np.arange(len(classes))
            rank[-1] = -1
            classes, codes = tuple(classes[i] for i in order), rank[codes]
        proba = np.array(list(self.proba), np.float32).reshape(len(self.proba), len(classes))
        return {
            "images": self.images,
            "classes": classes,
            "codes": codes,
            "confidence_all": np.array(self.confidence, np.float32),
            "status_codes": np.array(self.status, np.int8),
            "errors": self.errors,
            "distinct_proba": proba if self.fixed else None,
            "distinct": np.array(self.distinct, np.int64) if self.fixed else None,
            "columns": self.columns,
        }


def _number(value: Any) -> float:
    """Turn a cell into a float; NaN when empty."""
    return math.nan if value is None or value == "" else float(value)


_Rows: TypeAlias = Iterator[tuple[int, Mapping[str, Any]]]


def _csv_rows(path: Path) -> tuple[list[str], _Rows]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader(stream, strict=True), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table: {error}") from None

    def rows() -> _Rows:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            try:
                for row in reader:
                    if None in row or None in row.values():
                        raise DataError(
                            f"{path} line {reader.line_num}: needs {len(header)} cells."
                        )
                    parsed: dict[str, Any] = dict(row)
                    for name, value in row.items():
                        if name not in FIXED_COLUMNS:
                            parsed[name] = _parse(value, _COLUMN_TYPES.get(name, str))
                    yield reader.line_num, parsed
            except (csv.Error, UnicodeDecodeError) as error:
                raise DataError(f"{path} near line {reader.line_num}: {error}") from None

    return header, rows()


def _parse(text: str, kind: Callable[[str], Any]) -> Any:
    """Turn a CSV cell into the type its column has; None when empty."""
    if text == "":
        return None
    return text.lower() == "true" if kind is bool else kind(text)


def _jsonl_rows(path: Path) -> tuple[list[str], _Rows]:
    def rows() -> _Rows:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path} line {number}: not JSON ({error.msg}).") from None
                if not isinstance(row, dict):
                    raise DataError(f"{path} line {number}: needs one JSON object per line.")
                if header and list(row) != header:
                    raise DataError(
                        f"{path} line {number}: has columns {', '.join(row)}, but the first line "
                        f"has {', '.join(header)}."
                    )
                if row.get("cost_usd") is not None:
                    row["cost_usd"] = Decimal(str(row["cost_usd"]))
                yield number, row

    header: list[str] = []
    first = next(rows(), None)
    if first is None:  # no rows: no header either
        return list(FIXED_COLUMNS), iter(())
    header = list(first[1])
    return header, rows()


def _parquet_rows(path: Path) -> tuple[list[str], _Rows]:
    pq = need("pyarrow.parquet", extra="parquet", what="Reading Parquet")
    pa = need("pyarrow", extra="parquet", what="Reading Parquet")
    try:
        header = list(pq.read_schema(path).names)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from None

    def rows() -> _Rows:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROW_GROUP):
                for row in batch.to_pylist():
                    number += 1
                    if isinstance(row.get("cost_usd"), Decimal):
                        row["cost_usd"] = row["cost_usd"].normalize()
                    yield number, row

    return header, rows()


def html_table(predictions: Predictions, *, max_rows: int = 10) -> str:
    """Draw predictions as a small HTML table, with both ends of a long one; everything escaped.

    Parameters
    ----------
    predictions : Predictions
    max_rows : int, default=10
        Above it only the first and last rows are shown.
    """
    n = len(predictions)
    head = range(n) if n <= max_rows else range(max_rows - max_rows // 2)
    tail = range(0) if n <= max_rows else range(n - max_rows // 2, n)
    names = [*FIXED_COLUMNS, *predictions.columns]
    out = io.StringIO()
    out.write(
        f'<div style="overflow-x: auto"><p style="{_BREAKS}">{html.escape(repr(predictions))}</p>'
        "<table><thead><tr><th></th>"
    )
    out.writelines(f"<th>{html.escape(name)}</th>" for name in names)
    out.write("</tr></thead><tbody>")
    labels, confidence, status = predictions.label, predictions.confidence, predictions.status
    for part in (head, tail):
        if part is tail and len(tail):
            out.write(
                f'<tr><td colspan="{len(names) + 1}">… {n - max_rows:,} more rows …</td></tr>'
            )
        for i in part:
            cells = [
                predictions.images[i],
                str(labels[i]),
                "" if np.isnan(confidence[i]) else f"{confidence[i]:.3f}",
                str(status[i]),
                predictions.errors.get(i, ""),
                *("" if v[i] is None else str(v[i]) for v in predictions.columns.values()),
            ]
            out.write(f"<tr><th>{i}</th>")
            for name, cell in zip(names, cells, strict=True):
                style = f' style="{_BREAKS}; min-width: 9em"' if name == "image" else ""
                out.write(f"<td{style}>{html.escape(cell)}</td>")
            out.write("</tr>")
    out.write("</tbody></table></div>")
    return out.getvalue()
