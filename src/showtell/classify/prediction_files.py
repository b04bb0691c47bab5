"""Predictions as tables: rows read back from a file, and drawn in a notebook."""

from __future__ import annotations

import html
import io
import math
import os
from array import array
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell.errors import DataError
from showtell.records.reading import loading
from showtell.tables import COLUMN_TYPES, FIXED_COLUMNS, STATUSES, open_table, table_format

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions

_BREAKS = "overflow-wrap: anywhere"  # a long path widens no phone


def read_predictions(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a table of predictions as the arguments of `Predictions`; see `Predictions.read`."""
    where = os.fspath(path)
    if not Path(path).is_file():
        raise DataError(f"There is no file {where!r} to read predictions from.")
    as_text = table_format(path) == "csv"
    with open_table(path, delimiter=",", blanks=False, keys="same") as table:
        header = table.header
        if not header and table.unit == "line" and not as_text:  # JSON Lines without a line
            header = FIXED_COLUMNS
        missing = [name for name in FIXED_COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"{where} has no column {', '.join(map(repr, missing))}; it has "
                f"{', '.join(map(repr, header))}. Predictions need {', '.join(FIXED_COLUMNS)}."
            )
        labels = tuple(name[2:] for name in header if name.startswith("p_"))
        extra = [n for n in header if n not in FIXED_COLUMNS and n[2:] not in labels]
        found = _Columns(labels, extra, as_text)
        for lines, columns in table.chunks():
            for line, cells in zip(lines, zip(*columns, strict=True), strict=True):
                with loading(f"{where} {table.unit} {line}"):
                    found.add(dict(zip(header, cells, strict=True)))
    return found.finish()


class _Columns:
    """Rows gathered into the columns of `Predictions`."""

    def __init__(self, labels: tuple[str, ...], extra: Sequence[str], as_text: bool) -> None:
        self.as_text = as_text
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
        self.images.append(str(row["image"] or ""))
        self.codes.append(code)
        self.confidence.append(confidence)
        self.status.append(STATUSES.index(status))
        for name, values in self.columns.items():
            values.append(_typed(name, row[name], self.as_text))

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


def _typed(name: str, value: Any, as_text: bool) -> Any:
    """Give a cell the type that its column has."""
    kind = COLUMN_TYPES.get(name, str)
    if value is None:
        return None
    if isinstance(value, list | dict):
        raise ValueError(f"column {name!r} holds a {type(value).__name__}, not one value")
    if kind is Decimal:
        return value.normalize() if isinstance(value, Decimal) else Decimal(str(value))
    if not as_text:
        return value
    return value.lower() == "true" if kind is bool else kind(value)


def html_table(predictions: Predictions, *, max_rows: int = 10) -> str:
    """Draw predictions as a small HTML table, with both ends of a long one; everything escaped.

    `max_rows`: above it only the first and last rows are shown.
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
