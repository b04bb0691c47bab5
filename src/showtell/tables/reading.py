"""Tables on their way in: CSV, TSV, JSON Lines, JSON and Parquet, as a stream of columns."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TextIO, TypeAlias

from showtell._extras import need
from showtell.errors import DataError, ShowtellError
from showtell.records.reading import parse_json

_CHUNK = 20_000
_COMMAS = (".csv", ".txt")
_TABS = (".tsv", ".tab")
_OBJECTS = (".jsonl", ".ndjson", ".json")

TABLE_SUFFIXES = frozenset({".csv", *_TABS, *_OBJECTS, ".parquet"})
"""Endings of files that are tables."""

Chunk: TypeAlias = tuple[Sequence[int], list[Sequence[Any]]]
"""Where each row stands (line, entry or row, from 1), and its cells, column by column."""


def clean_name(name: str) -> str:
    """Strip what does not count in a column name: blanks, a leading # and a byte order mark.

    Examples
    --------
    >>> clean_name("#image_name"), clean_name(" actual ")
    ('image_name', 'actual')
    """
    return name.strip().lstrip("\ufeff").lstrip("#").strip()


class Table(ABC):
    """A table that is open for reading; made by `open_table`, closed at the end of its ``with``.

    Attributes
    ----------
    where : str
        The file, as messages name it.
    header : tuple of str
        Column names as they are written. Empty for JSON without any object.
    unit : str
        What rows are counted in: ``"line"``, ``"entry"`` (of a JSON list) or ``"row"``.
    """

    unit: ClassVar[str] = "line"
    header: tuple[str, ...] = ()

    def __init__(self, path: Path, where: str, error: type[ShowtellError]) -> None:
        self.path, self.where, self.error = path, where, error
        self._file: Any = None
        try:
            with self._guarded():
                self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def chunks(self, places: Sequence[int] | None = None) -> Iterator[Chunk]:
        """Yield the rows in pieces that fit into memory; once, for the file is read as a stream.

        Parameters
        ----------
        places : sequence of int, optional
            Columns wanted, as positions in `header`; all by default.

        Yields
        ------
        where : sequence of int
        columns : list of sequence
            Cells of CSV are text; others have the types of their file. None: an empty cell.
        """
        wanted = range(len(self.header)) if places is None else places
        with self._guarded():
            yield from self._chunks(wanted)

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _chunks(self, places: Sequence[int]) -> Iterator[Chunk]: ...

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Say which file is damaged, and where."""
        try:
            yield
        except UnicodeDecodeError:
            raise self._not_utf8() from None
        except OSError as bad:
            reason = bad.strerror or bad
            raise self.error(f"Cannot read the table {self.where!r}: {reason}.") from None

    def _not_utf8(self) -> ShowtellError:
        """Find the line that is not UTF-8."""
        ask = "Save the table as UTF-8 (Excel: CSV UTF-8)."
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and line[:2] in {b"\xff\xfe", b"\xfe\xff"}:
                    return self.error(f"{self.where} is UTF-16, not UTF-8. {ask}")
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as bad:
                    byte = f"0x{line[bad.start]:02x}"
                    return self.error(
                        f"{self.where} line {number}: byte {byte} is not UTF-8. {ask}"
                    )
        return self.error(f"{self.where} is not UTF-8. {ask}")


class _CsvTable(Table):
    """Lines of cells between delimiters, under a header."""

    _file: TextIO | None

    def __init__(self, *args: Any, delimiter: str | None, blanks: bool) -> None:
        self._delimiter, self._blanks = delimiter, blanks
        super().__init__(*args)

    def _open(self) -> None:
        self._file = self.path.open(encoding="utf-8-sig", newline="")
        if self._delimiter is None:
            self._delimiter = _delimiter(self._file.readline())
            self._file.seek(0)
        self._reader = csv.reader(
            self._file, delimiter=self._delimiter, skipinitialspace=self._blanks, strict=True
        )
        first = next(self._rows(), None)
        if first is None:
            raise self.error(
                f"{self.where} is empty, so it has no column. The first line must name them."
            )
        self.header = tuple(first[1])

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank, and the line on which it starts."""
        while True:
            line = self._reader.line_num + 1
            try:
                row = next(self._reader, None)
            except csv.Error as bad:
                hint = " A quote may be opened but not closed." if "end of data" in str(bad) else ""
                place = self._reader.line_num
                raise self.error(f"{self.where} line {place}: {bad}.{hint}") from None
            if row is None:
                return
            if self.header and row and len(row) != len(self.header):
                raise self._uneven(line, row)
            if row:
                yield line, row

    def _chunks(self, places: Sequence[int]) -> Iterator[Chunk]:
        rows = self._rows()
        while chunk := list(itertools.islice(rows, _CHUNK)):
            lines, cells = zip(*chunk, strict=True)
            yield lines, [[row[place] or None for row in cells] for place in places]

    def _uneven(self, line: int, row: Sequence[str]) -> ShowtellError:
        last = self._reader.line_num
        lines = str(line) if last == line else f"{line} to {last}"
        names = ", ".join(map(clean_name, self.header[:8]))
        values = ", ".join(f"{value:.40}" for value in row[:8])
        return self.error(
            f"{self.where} line {lines}: {len(row)} values, but the header has "
            f"{len(self.header)} columns ({names}). The values are: {values}. Put quotes around "
            "values that hold the separator."
        )


def _delimiter(header: str) -> str:
    """Return the delimiter that the header has most of, outside of quotes."""
    outside = "".join(header.split('"')[::2])
    return max(",;\t|", key=outside.count)


class _JsonTable(Table):
    """Objects: one per line, or in one list; a key that is missing is an empty cell."""

    _file: TextIO | None

    def __init__(self, *args: Any, example: str, keys: str) -> None:
        self._example, self._keys = example, keys
        super().__init__(*args)

    def _open(self) -> None:
        self._file = self.path.open(encoding="utf-8-sig")
        objects = self._objects()
        if self._keys == "every":
            rows = list(objects)
            self.header = tuple(dict.fromkeys(key for _, one in rows for key in one))
            objects = iter(rows)
        else:
            first = list(itertools.islice(objects, 1))
            self.header = tuple(first[0][1]) if first else ()
            objects = itertools.chain(first, objects)
        self._all = objects

    def _values(self) -> Iterator[tuple[int, Any]]:
        assert self._file is not None
        for number, line in enumerate(self._file, 1):
            if line.strip():
                yield (
                    number,
                    parse_json(line, f"{self.where} line {number}", error=self.error, halves=True),
                )

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, value in self._values():
            place = f"{self.where} {self.unit} {number}"
            if not isinstance(value, dict):
                raise self.error(
                    f"{place}: expected an object such as {self._example}, got {value!r:.60}."
                )
            if self._keys == "same" and self.header and tuple(value) != self.header:
                raise self.error(
                    f"{place}: has columns {', '.join(value)}, but the first {self.unit} has "
                    f"{', '.join(self.header)}."
                )
            yield number, value

    def _chunks(self, places: Sequence[int]) -> Iterator[Chunk]:
        keys = [self.header[place] for place in places]
        while chunk := list(itertools.islice(self._all, _CHUNK)):
            numbers, objects = zip(*chunk, strict=True)
            yield numbers, [[one.get(key) for one in objects] for key in keys]


class _JsonListTable(_JsonTable):
    unit = "entry"

    def _values(self) -> Iterator[tuple[int, Any]]:
        assert self._file is not None
        value = parse_json(self._file.read(), self.where, error=self.error, halves=True)
        if not isinstance(value, list):
            boxes = isinstance(value, dict) and {"images", "annotations"} <= set(value)
            hint = " It looks like COCO boxes: give the file as the boxes." if boxes else ""
            raise self.error(
                f"{self.where} must hold a list of objects such as {self._example}.{hint}"
            )
        yield from enumerate(value, 1)


class ParquetTable(Table):
    """A Parquet file.

    Attributes
    ----------
    schema : pyarrow.Schema
    group_ends : list of int
        Rows up to the end of each row group.
    """

    unit = "row"

    def _open(self) -> None:
        self._arrow = need("pyarrow", extra="parquet", what="Reading Parquet")
        parquet = need("pyarrow.parquet", extra="parquet", what="Reading Parquet")
        self._file = parquet.ParquetFile(self.path)
        self.schema = self._file.schema_arrow
        self.header = tuple(self.schema.names)
        about = self._file.metadata
        sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
        self.group_ends = list(itertools.accumulate(sizes))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        arrow = need("pyarrow", extra="parquet", what="Reading Parquet")
        try:
            yield
        except (arrow.ArrowException, UnicodeDecodeError, OSError) as bad:
            reason = str(bad).partition("\n")[0]
            raise self.error(
                f"Cannot read the table {self.where!r} as Parquet: {reason}."
            ) from None

    def _chunks(self, places: Sequence[int]) -> Iterator[Chunk]:
        names = [self.header[place] for place in places]
        start = 1
        for batch in self._file.iter_batches(batch_size=_CHUNK, columns=names):
            numbers = range(start, start + batch.num_rows)
            start = numbers.stop
            yield numbers, [self._cells(batch.column(name)) for name in names]

    def is_nested(self, kind: Any) -> bool:
        """Say whether cells of an Arrow type are lists, objects or files."""
        types = self._arrow.types
        return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))

    def _cells(self, column: Any) -> list[Any]:
        """Return the cells; text that repeats is made once."""
        types = self._arrow.types
        if types.is_string(column.type) or types.is_large_string(column.type):
            column = column.dictionary_encode()
        if not types.is_dictionary(column.type):
            return list(column.to_pylist())
        words = [*column.dictionary.to_pylist(), None]  # the last is for nulls
        codes = column.indices.fill_null(len(words) - 1)
        return [words[code] for code in codes.to_pylist()]


def open_table(
    path: str | os.PathLike[str],
    *,
    where: str | None = None,
    delimiter: str | None = None,
    blanks: bool = True,
    keys: str = "first",
    example: str = '{"image": "a.jpg", "label": "cat"}',
    error: type[ShowtellError] = DataError,
) -> Table:
    r"""Open a table by the ending of its name.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv``, ``.tab``, ``.txt``, ``.jsonl``, ``.ndjson``, ``.json`` (a list of
        objects) or ``.parquet``.
    where : str, optional
        How messages name the file; as `path` by default.
    delimiter : str, optional
        Of a ``.csv`` or ``.txt``; by default the one of comma, semicolon, tab and ``|`` that the
        header has most of. A ``.tsv`` has tabs.
    blanks : bool, default=True
        Whether blanks after the delimiter of a CSV are passed over.
    keys : {"first", "same", "every"}, default="first"
        Columns of JSON: the keys of the first object; these, and no object may have others; or
        those of every object, for which all are read at once.
    example : str
        An object as it is expected, for messages about JSON.
    error : type, default=DataError
        What is raised.

    Returns
    -------
    table : Table
        Use it in a ``with`` statement.

    Raises
    ------
    DataError
        Or `error`: if the ending is another, or the file is not what its ending says.
    MissingExtraError
        If Parquet support is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "t.csv")
    ...     _ = path.write_text("image;label\na.jpg;cat\n")
    ...     with open_table(path) as table:
    ...         print(table.header, list(table.chunks()))
    ('image', 'label') [((2,), [['a.jpg'], ['cat']])]
    """
    file = Path(path)
    where = os.fsdecode(path) if where is None else where
    suffix = file.suffix.lower()
    if suffix in _COMMAS or suffix in _TABS:
        delimiter = "\t" if suffix in _TABS else delimiter
        return _CsvTable(file, where, error, delimiter=delimiter, blanks=blanks)
    if suffix in _OBJECTS:
        kind = _JsonListTable if suffix == ".json" else _JsonTable
        return kind(file, where, error, example=example, keys=keys)
    if suffix == ".parquet":
        return ParquetTable(file, where, error)
    allowed = ", ".join((*_COMMAS, *_TABS, *_OBJECTS, ".parquet"))
    raise error(f"Cannot tell the format of {where!r}: the name must end in {allowed}.")


def read_columns(path: str | os.PathLike[str], **options: Any) -> dict[str, list[Any]]:
    """Read a whole table; empty cells are None.

    Parameters
    ----------
    path : path
    **options
        Of `open_table`; every key of a JSON table is a column unless `keys` says otherwise.

    Returns
    -------
    columns : dict of str to list
        By name as written; see `clean_name`.

    Raises
    ------
    DataError
        As `open_table`, and if two columns have one name.
    """
    with open_table(path, **{"keys": "every", **options}) as table:
        if len(set(map(clean_name, table.header))) != len(table.header):
            raise table.error(
                f"{table.where} has two columns of one name: {', '.join(table.header)}."
            )
        found: dict[str, list[Any]] = {name: [] for name in table.header}
        for _, cells in table.chunks():
            for name, values in zip(found, cells, strict=True):
                found[name] += values
    return found
