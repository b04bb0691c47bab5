"""Tables of images: which columns are what, and a data set out of them.

Whatever the format, each column used ends as its distinct values and one int32 code per row, so a
million rows over a few images need a few megabytes.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._extras import need
from showtell.datasets.dataset import Dataset
from showtell.datasets.files import canonical_split, natural_key, shown
from showtell.datasets.folders import code_of_labels
from showtell.datasets.label_set import LabelSet
from showtell.datasets.lazy import LazyRows
from showtell.errors import DataError
from showtell.media import Media, is_url
from showtell.tables import ParquetTable, Table, clean_name, open_table

_IMAGE_NAMES = """
    image image_name image_path image_file image_url image_uri img img_name img_path img_file
    path file file_name file_path filename filepath url uri photo picture src
"""
_LABEL_NAMES = """
    label labels label_name class class_name class_label category category_name target actual
    truth ground_truth gt true true_label y y_true expected
"""
_USUAL = {
    "image": frozenset(_IMAGE_NAMES.split()),
    "label": frozenset(_LABEL_NAMES.split()),
    "group": frozenset({"group", "group_id"}),
    "split": frozenset({"split", "subset", "partition"}),
    "id": frozenset({"id", "sample_id"}),
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns to use; None means: guess, if exactly one has a usual name."""

    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    id: str | None = None

    def given(self) -> dict[str, str]:
        """Return the columns that were named, by their role."""
        return {role: name for role in _USUAL if (name := getattr(self, role)) is not None}


@dataclass(frozen=True, kw_only=True)
class _Coded:
    """A column: its distinct values, and which of them stands in each row (-1: none)."""

    values: Sequence[Any]
    codes: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The columns used, by their role, and the line on which each row starts."""

    columns: dict[str, _Coded]
    lines: NDArray[np.int32]
    line_word: str = "line"
    images: Sequence[Media] | None = None
    """Pictures that the table holds itself, instead of paths."""
    class_names: tuple[str, ...] = ()
    """What the numbers of the label column mean, where the table says so."""


def load_table(
    path: str,
    columns: Columns | None = None,
    label_set: LabelSet | None = None,
    *,
    with_labels: bool = True,
) -> Dataset:
    """Load a table with a column of images.

    Paths are relative to the folder of the table; URLs and absolute paths stay as they are.

    `path`: ``.csv``, ``.tsv``, ``.tab``, ``.jsonl``, ``.ndjson``, ``.json`` (a list of objects) or
    ``.parquet``. The delimiter of a ``.csv`` is the one of comma, semicolon, tab and ``|`` that its
    header has most of. Blanks and a leading ``#`` around names in the header do not count.
    `columns`: what to use; other columns are guessed where exactly one has a usual name.
    `label_set`: the allowed labels. By default the values of the label column, in natural order.
    `with_labels`: whether to look for labels at all. Returns `data`: one sample per row. A row
    without a label has code -1; one without an image has the path ``""``, which becomes an error
    row. Raises DataError if the table cannot be read, a column is not clear, or a label is not in
    `label_set`; MissingExtraError if Parquet support is not installed.
    """
    columns = columns or Columns()
    where = shown(path)
    with open_table(path, where=where) as table:
        found = _collect(table, columns, with_labels)
    return _dataset(found, path, where, label_set, columns)


# -- columns -------------------------------------------------------------------------------------


def guess_column(role: str, header: Sequence[str]) -> list[str]:
    """Return the columns whose names are usual for `role`.

    Examples
    --------
    >>> guess_column("label", ["image_name", "actual", "predicted"])
    ['actual']
    """
    usual = _USUAL[role]
    return [name for name in header if "_".join(name.casefold().split()).replace("-", "_") in usual]


def _choose(
    header: Sequence[str], columns: Columns, where: str, with_labels: bool
) -> dict[str, int]:
    """Return role -> position of its column.

    Raises DataError if a named column is missing, or the image or label column is not clear.
    """
    listed = ", ".join(map(repr, header)) or "none"
    chosen: dict[str, int] = {}
    given = columns.given()
    for role, name in given.items():
        wanted = clean_name(name)
        found = [i for i, column in enumerate(header) if column == wanted]
        found = found or [
            i for i, column in enumerate(header) if column.casefold() == wanted.casefold()
        ]
        if len(found) != 1:
            many = f"{len(found)} columns are" if found else "No column is"
            raise DataError(
                f"{where}: {many} called {name!r}. The columns are {listed}. "
                f"Give one of them with `{role}_column=`, or {_option(role)} on the command line."
            )
        chosen[role] = found[0]
    for role in _USUAL:
        if role in chosen or (role == "label" and not with_labels):
            continue
        found = [i for i in range(len(header)) if guess_column(role, header[i : i + 1])]
        found = [i for i in found if i not in chosen.values()]
        if len(found) == 1:
            chosen[role] = found[0]
        elif role == "image" or (found and role == "label"):
            if found:
                which = f"Several columns ({', '.join(repr(header[i]) for i in found)}) may hold"
            else:
                which = "No column has a name that is known for"
            raise DataError(
                f"{where}: {which} the {role}s. The columns are {listed}. "
                f"Say which with `{role}_column=`, or {_option(role)} on the command line"
                + (
                    "; if the first line is no header, add one."
                    if role == "image" and not found
                    else "."
                )
            )
    return chosen


def _option(role: str) -> str:
    return f"--{role}-column"


class _Codes(dict[Any, int]):
    """Numbers values in order of appearance."""

    def __missing__(self, key: Any) -> int:
        code = self[key] = len(self)
        return code


class _Collector:
    """Collects rows, chunk by chunk, into coded columns."""

    def __init__(self, roles: Sequence[str]) -> None:
        self.seen = {role: _Codes() for role in roles}
        self.codes = {role: array("i") for role in roles}
        self.lines = array("i")

    def extend(self, role: str, values: Sequence[Any]) -> None:
        """Add the values of one column."""
        self.codes[role].extend(map(self.seen[role].__getitem__, values))

    def table(self, **more: Any) -> _Table:
        """Return what was collected."""
        return _Table(
            columns={
                role: _Coded(values=list(seen), codes=np.array(self.codes[role], np.int32))
                for role, seen in self.seen.items()
            },
            lines=np.array(self.lines, np.int32),
            **more,
        )


# -- reading -------------------------------------------------------------------------------------


def _collect(table: Table, columns: Columns, with_labels: bool) -> _Table:
    """Read the chosen columns, chunk by chunk."""
    header = [clean_name(name) for name in table.header]
    chunks = table.chunks
    if not header and next(chunks([]), None) is None:
        raise DataError(f"{table.where} holds no objects. Write one per image.")
    places = _choose(header, columns, table.where, with_labels)
    more: dict[str, Any] = {"line_word": table.unit}
    if isinstance(table, ParquetTable):
        more["class_names"] = _class_names(table.schema, places.get("label"))
        if _holds_pictures(table.schema.field(places["image"]).type):
            more["images"] = _pictures(table, places.pop("image"))
        for role, place in places.items():
            kind = table.schema.field(place).type
            if table.is_nested(kind):
                raise DataError(
                    f"{table.where}: column {header[place]!r} holds {kind}, which cannot be a "
                    f"{role}."
                )
    collector = _Collector(list(places))
    for lines, cells in chunks(list(places.values())):
        collector.lines.extend(lines)
        for (role, place), column in zip(places.items(), cells, strict=True):
            try:
                collector.extend(role, list(map(_text, column)))
            except TypeError:
                line, value = next(
                    (n, v) for n, v in zip(lines, column, strict=True) if isinstance(v, list | dict)
                )
                raise DataError(
                    f"{table.where} {table.unit} {line}: {table.header[place]!r} must be a text or "
                    f"a number, got {value!r:.60}."
                ) from None
    return collector.table(**more)


def _text(value: Any) -> str | None:
    """Return the text of a cell; None for an empty one.

    Raises TypeError if it is a list or an object.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        raise TypeError
    return json.dumps(value) if isinstance(value, int | float) else str(value)


def _pictures(table: ParquetTable, place: int) -> LazyRows[Media]:
    """Leave the pictures of a Parquet file where they are, until one is asked for."""
    starts = np.array([0, *table.group_ends])
    read = _ParquetPictures(os.fspath(table.path), table.header[place], starts)
    return LazyRows[Media](read, np.arange(starts[-1]))


def _holds_pictures(kind: Any) -> bool:
    """Say whether a column holds files: binary, or a struct of bytes and path."""
    from pyarrow import types

    if types.is_struct(kind):
        return "bytes" in [kind.field(i).name for i in range(kind.num_fields)]
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _class_names(schema: Any, place: int | None) -> tuple[str, ...]:
    """Return what the numbers of a label column mean, where the Hugging Face metadata say so."""
    if place is None:
        return ()
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][schema.names[place]]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return (
        tuple(names) if isinstance(names, list) and all(isinstance(n, str) for n in names) else ()
    )


class _ParquetPictures:
    """Reads pictures out of a Parquet file, one row group at a time."""

    def __init__(self, path: str, column: str, starts: NDArray[Any]) -> None:
        self.path, self.column, self.starts = path, column, starts
        self._last: tuple[int, list[Any]] = (-1, [])  # one value, so that threads see a whole pair

    def __call__(self, row: int) -> Media:
        """Return the file of one row: its bytes, or its path where only that is stored."""
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        last, values = self._last
        if last != group:
            values = self._read(group)
        value = values[row - int(self.starts[group])]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        return b"" if value is None else value

    def _read(self, group: int) -> list[Any]:
        parquet = need("pyarrow.parquet", extra="parquet", what="Reading Parquet")
        with parquet.ParquetFile(self.path) as file:
            values: list[Any] = (
                file.read_row_group(group, columns=[self.column]).column(0).to_pylist()
            )
        self._last = (group, values)
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": (-1, [])}


# -- from columns to a data set ------------------------------------------------------------------


def _dataset(
    table: _Table, path: str, where: str, label_set: LabelSet | None, columns: Columns
) -> Dataset:
    notes: list[str] = []
    images = table.images
    if images is None:
        images = _resolve(table, path, notes)
    codes, labels = _labels(table, where, label_set)
    if codes is not None and labels and (n := int((codes < 0).sum())):
        notes.append(f"{n} of {len(codes)} rows have no label.")
    texts = {
        role: _texts(table.columns[role])
        for role in ("group", "split", "id")
        if role in table.columns
    }
    splits = texts.get("split")
    if splits is not None:
        usual = {value: canonical_split(value) or value for value in set(splits)}
        splits = [usual[value] for value in splits]
    ids = texts.get("id")
    if ids is not None and (twice := _first_repeat(table.columns["id"])) is not None:
        line = table.lines[twice]
        message = f"{table.line_word} {line}: id {ids[twice]!r} stands in an earlier row, too"
        if columns.id is not None:
            raise DataError(f"{where} {message}. Ids must differ from each other.")
        notes.append(f"The column of ids is not used: {message}.")
        ids = None
    return Dataset(
        images=images,
        codes=codes,
        labels=labels,
        groups=texts.get("group"),
        ids=ids,
        splits=splits,
        name=os.path.splitext(os.path.basename(path))[0],
        source=where,
        notes=tuple(notes),
    )


def _texts(column: _Coded) -> list[str]:
    """Return the stripped text of each row; rows share equal texts."""
    values = [(value or "").strip() for value in column.values]
    return [values[code] for code in column.codes.tolist()]


def _first_repeat(column: _Coded) -> int | None:
    """Return the first row whose value stands in an earlier one."""
    stripped = _Codes()
    codes = np.array([stripped[(value or "").strip()] for value in column.values], np.int32)
    rows = codes[column.codes]
    first = np.unique(rows, return_index=True)[1]
    repeats = np.setdiff1d(np.arange(len(rows)), first)
    return int(repeats[0]) if len(repeats) else None


def _resolve(table: _Table, path: str, notes: list[str]) -> list[Media]:
    """Return a path or URL per row."""
    column = table.columns["image"]
    folder = os.path.dirname(path)
    values: list[Media] = []
    empty = []
    for code, value in enumerate(column.values):
        name = (value or "").strip()
        if not name:
            empty.append(code)
        elif not is_url(name):
            name = os.path.join(folder, name)
        values.append(name)
    rows = np.flatnonzero(np.isin(column.codes, empty))
    if len(rows):
        lines = ", ".join(str(line) for line in table.lines[rows[:5]])
        notes.append(
            f"{len(rows)} rows name no image: {table.line_word} {lines}"
            + (", ..." if len(rows) > 5 else ".")
        )
    return [values[code] for code in column.codes.tolist()]


def _labels(
    table: _Table, where: str, label_set: LabelSet | None
) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    """Return codes and labels, or None where there is no column of labels."""
    column = table.columns.get("label")
    if column is None:
        return None, () if label_set is None else label_set.labels
    words = [" ".join((value or "").split()) for value in column.values]
    order = sorted({word for word in words if word}, key=natural_key)
    if table.class_names:
        names = table.class_names
        words = [names[int(w)] if w.isdecimal() and int(w) < len(names) else "" for w in words]
        order = list(dict.fromkeys(names))
    labels, known = code_of_labels(order, label_set)
    codes = np.array([known[word] if word else -1 for word in words] or [-1], np.int32)
    bad = [i for i, word in enumerate(words) if word and known[word] < 0]
    if bad and label_set is not None:
        rows = np.flatnonzero(np.isin(column.codes, bad))
        lines = table.lines[rows]
        more = ", ".join(map(str, lines[1:6])) + (", ..." if len(lines) > 6 else ".")
        raise DataError(
            f"{where} {table.line_word} {lines[0]}: label {words[column.codes[rows[0]]]!r} is not "
            f"in the label set ({', '.join(label_set.labels)})."
            + (f" {len(lines) - 1} more such {table.line_word}s: {more}" if len(lines) > 1 else "")
        )
    return codes[column.codes], labels
