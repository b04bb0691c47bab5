"""Predictions: one row per input, in input order, kept as columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from showtell._clean import cleaned
from showtell._extras import need
from showtell.classify.prediction_files import html_table, read_predictions
from showtell.errors import InputError
from showtell.tables import FIXED_COLUMNS, STATUSES, RowWriter, Status

_CHUNK = 8192


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Predictions:
    """What a classifier said about each input: one row per input, in input order.

    Kept as columns, and probabilities once per distinct image, so a million rows stay small.

    Parameters
    ----------
    images : sequence of str, length n_samples
        Name of each input as rows show it (`showtell.media.media_name`).
    classes : tuple of str, length n_classes
        The label set, in column order of `proba`.
    codes : ndarray of shape (n_samples,), int32
        Best label as index into `classes`; -1 where there is none (error rows). Abstained rows
        keep their best guess here; `label` hides it.
    confidence_all : ndarray of shape (n_samples,), float32
        Probability of the best label; NaN for error rows.
    status_codes : ndarray of shape (n_samples,), int8
        Index into `STATUSES`.
    errors : mapping of int to str
        Row number to one line that says why; exactly the rows of status "error".
    distinct_proba : ndarray of shape (n_distinct, n_classes), float32, or None
    distinct : ndarray of shape (n_samples,), int64, or None
        Row of `distinct_proba` of each input, -1 for error rows.
    columns : mapping of str to sequence
        Further columns, each of length n_samples, in order: ``cost_usd``, ``reason`` ...
    n_from_store : int, default=0
        Distinct images whose embedding was found, not computed: the time this took says
        nothing about the encoder's speed.
    price_usd : Decimal, optional
        USD that all answers of a multimodal LLM cost when they were asked, those that are used
        again included; None if that is not known.
    n_in_doubt : int, default=0
        Requests of the run folder that were sent and whose answer never came, because it was lost
        or the process was killed. The provider may bill them.
    in_doubt_usd : Decimal, optional
        USD that these cost at most, by estimate; None if that is not known.

    Examples
    --------
    >>> predictions = Predictions(
    ...     images=["a.jpg", "b.jpg", "c.jpg"],
    ...     classes=("cat", "dog"),
    ...     codes=np.array([0, 1, -1], np.int32),
    ...     confidence_all=np.array([0.9, 0.6, np.nan], np.float32),
    ...     status_codes=np.array([0, 1, 2], np.int8),
    ...     errors={2: "not an image"},
    ... )
    >>> predictions
    Predictions(3 rows: 1 ok, 1 abstained, 1 error; 2 classes: cat, dog)
    >>> for row in predictions.rows():
    ...     print(*row.values())
    a.jpg cat 0.9 ok None
    b.jpg None None abstained None
    c.jpg None None error not an image
    """

    images: Sequence[str]
    classes: tuple[str, ...]
    codes: NDArray[np.int32]
    confidence_all: NDArray[np.float32]
    status_codes: NDArray[np.int8]
    errors: Mapping[int, str] = field(default_factory=dict)
    distinct_proba: NDArray[np.float32] | None = None
    distinct: NDArray[np.int64] | None = None
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    n_from_store: int = 0
    price_usd: Decimal | None = None
    n_in_doubt: int = 0
    in_doubt_usd: Decimal | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        lengths = {
            "codes": len(self.codes),
            "confidence_all": len(self.confidence_all),
            "status_codes": len(self.status_codes),
            **({} if self.distinct is None else {"distinct": len(self.distinct)}),
            **{name: len(values) for name, values in self.columns.items()},
        }
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise InputError(f"Every column needs {n} rows, one per image; got {wrong}.")
        error_rows = np.flatnonzero(self.status_codes == STATUSES.index("error"))
        if set(error_rows.tolist()) != set(self.errors):
            raise InputError("`errors` must name exactly the rows whose status is 'error'.")
        self._check_ranges()
        proba = self.distinct_proba
        if proba is not None and proba.dtype.kind != "f":
            raise InputError(f"`distinct_proba` must be numbers, got {proba.dtype}.")
        if proba is not None and (proba.ndim != 2 or proba.shape[1] != len(self.classes)):
            raise InputError(
                f"`distinct_proba` needs one column per class ({len(self.classes)}), got shape "
                f"{proba.shape}."
            )

    def _check_ranges(self) -> None:
        """Refuse numbers that stand for no class, no status and no row."""
        n_rows = -1 if self.distinct_proba is None else len(self.distinct_proba)
        for name, values, most in (
            ("codes", self.codes, len(self.classes)),
            ("status_codes", self.status_codes, len(STATUSES)),
            ("distinct", self.distinct, n_rows),
        ):
            if values is None or not len(values) or most < 0:
                continue
            if values.ndim != 1:
                raise InputError(f"`{name}` must have one value per row, got {values.shape}.")
            if values.dtype.kind not in "iu":
                raise InputError(f"`{name}` must be whole numbers, got {values.dtype}.")
            least = 0 if name == "status_codes" else -1
            if not least <= values.min() <= values.max() < most:
                raise InputError(
                    f"`{name}` must lie from {least} to {most - 1}, got {values.min()} to "
                    f"{values.max()}."
                )
        if self.confidence_all.ndim != 1 or self.confidence_all.dtype.kind != "f":
            raise InputError(
                f"`confidence_all` must have one number per row, got {self.confidence_all.dtype}, "
                f"{self.confidence_all.shape}."
            )
        if (self.codes[self.ok] < 0).any():
            raise InputError("A row whose status is 'ok' has no label: its code is -1.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """True where there is a label, shape (n_samples,)."""
        return np.asarray(self.status_codes == STATUSES.index("ok"))

    @property
    def status(self) -> NDArray[np.str_]:
        """Status per row, "ok", "abstained" or "error"; shape (n_samples,)."""
        return np.asarray(STATUSES)[self.status_codes]

    @property
    def label(self) -> NDArray[np.str_]:
        """Label per row, "" unless ok; shape (n_samples,)."""
        names = np.asarray([*self.classes, ""])
        return names[np.where(self.ok, self.codes, len(self.classes))]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the label, NaN unless ok; shape (n_samples,)."""
        return np.where(self.ok, self.confidence_all, np.float32(np.nan)).astype(np.float32)

    @property
    def proba(self) -> NDArray[np.float32] | None:
        """Probability per label, shape (n_samples, n_classes); NaN in error rows. None: unknown."""
        if self.distinct_proba is None or self.distinct is None:
            return None
        padded = np.vstack(
            [self.distinct_proba, np.full((1, len(self.classes)), np.nan, np.float32)]
        )
        rows: NDArray[np.float32] = padded[self.distinct]  # -1 picks the last row, all NaN
        return rows

    @property
    def counts(self) -> dict[Status, int]:
        """Rows per status."""
        return {s: int((self.status_codes == i).sum()) for i, s in enumerate(STATUSES)}

    def header(self, *, proba: bool = False) -> tuple[str, ...]:
        """Column names in order: the five fixed ones, then `columns`, then ``p_<label>``.

        Parameters
        ----------
        proba : bool, default=False
            Also a column per label with its probability.

        Raises
        ------
        InputError
            If two columns would have one name, or `proba` is asked for and unknown.
        """
        names = [*FIXED_COLUMNS, *self.columns]
        if proba:
            if self.distinct_proba is None or self.distinct is None:
                raise InputError("These predictions hold no probabilities; write without `proba`.")
            names += [f"p_{label}" for label in self.classes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"Two columns would be called {', '.join(map(repr, twice))}.")
        return tuple(names)

    def rows(self, *, proba: bool = False) -> Iterator[dict[str, Any]]:
        """Yield each row as a dict, with the keys of `header`.

        `label` and `confidence` are None unless the row is ok (a method without probabilities has
        no confidence either), `error` is None unless it failed, probabilities are None in error
        rows. Numbers are the shortest ones that stand for the same float32. Control characters in
        text are shown as escapes, and keys and passwords in use are taken out. Memory stays
        constant however many rows there are.
        """
        names = self.header(proba=proba)
        extra = names[len(FIXED_COLUMNS) :]
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            codes = self.codes[start:stop].tolist()
            status = self.status_codes[start:stop].tolist()
            confidence = _short(self.confidence_all[start:stop])
            further: list[Sequence[Any]] = [v[start:stop] for v in self.columns.values()]
            cells = self._proba_cells(start, stop) if proba else None
            for k in range(stop - start):
                ok = status[k] == 0
                row = {
                    "image": self.images[start + k],
                    "label": self.classes[codes[k]] if ok else None,
                    "confidence": confidence[k] if ok else None,
                    "status": STATUSES[status[k]],
                    "error": self.errors.get(start + k) and cleaned(self.errors[start + k]),
                }
                values: list[Any] = [
                    cleaned(column[k]) if type(column[k]) is str else column[k]
                    for column in further
                ]
                if cells is not None:
                    values += cells[k]
                row.update(zip(extra, values, strict=True))
                yield row

    def _proba_cells(self, start: int, stop: int) -> list[list[float | None]]:
        """Probabilities of some rows as Python numbers, each distinct image converted once."""
        assert self.distinct is not None
        assert self.distinct_proba is not None
        distinct, inverse = np.unique(self.distinct[start:stop], return_inverse=True)
        nothing: list[float | None] = [None] * len(self.classes)
        table = [_short(self.distinct_proba[d]) if d >= 0 else nothing for d in distinct.tolist()]
        return [table[i] for i in inverse.tolist()]

    def write(
        self, path: str | os.PathLike[str], *, proba: bool = False, escape_formulas: bool = False
    ) -> Path:
        """Write the rows as CSV, JSON Lines or Parquet, by the suffix of `path`.

        The file appears whole or not at all: rows go to a temporary file beside it, which then
        takes its place. Memory stays constant however many rows there are.

        Parameters
        ----------
        path : str or path
            Ends in ``.csv``, ``.jsonl`` or ``.parquet`` (extra ``parquet``).
        proba : bool, default=False
            Also a column ``p_<label>`` per label.
        escape_formulas : bool, default=False
            CSV only. Cells are written exactly as they are, also those that start with ``=``,
            ``+``, ``-`` or ``@``, which a spreadsheet would run as a formula. True puts a ``'``
            before such text, which changes file names: use it for tables made for a spreadsheet.

        Raises
        ------
        InputError
            If the suffix is another one, or `proba` is asked for and unknown.
        MissingExtraError
            If Parquet is asked for and pyarrow is not installed.

        Examples
        --------
        >>> predictions = Predictions.empty(("cat", "dog"))
        >>> predictions.write("out.txt")
        Traceback (most recent call last):
        ...
        showtell.errors.InputError: Cannot tell the format of 'out.txt': ...
        """
        with RowWriter(
            path,
            self.header(proba=proba),
            types=self.column_types(),
            escape_formulas=escape_formulas,
        ) as writer:
            for row in self.rows(proba=proba):
                writer.write(row)
        return Path(path)

    def column_types(self) -> dict[str, type]:
        """Python type of each of `columns`, by its first value that is not None."""
        return {
            name: next((type(v) for v in values if v is not None), str)
            for name, values in self.columns.items()
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write` wrote.

        Columns ``p_<label>`` give the label set and the probabilities. Without them the label set
        is the labels that occur, sorted, and abstained rows have no best guess: code -1 and a
        confidence of NaN.

        Parameters
        ----------
        path : str or path
            Ends in ``.csv``, ``.jsonl`` or ``.parquet``.

        Raises
        ------
        DataError
            If the file lacks a column or a row cannot be understood; the line is named.
        """
        return cls(**read_predictions(path))

    @classmethod
    def empty(cls, classes: Sequence[str]) -> Self:
        """No rows: what classifying no images gives.

        Parameters
        ----------
        classes : sequence of str
            The label set.
        """
        return cls(
            images=[],
            classes=tuple(classes),
            codes=np.zeros(0, np.int32),
            confidence_all=np.zeros(0, np.float32),
            status_codes=np.zeros(0, np.int8),
            distinct_proba=np.zeros((0, len(classes)), np.float32),
            distinct=np.zeros(0, np.int64),
        )

    def to_pandas(self, *, proba: bool = False) -> Any:
        """Return the rows as a pandas DataFrame (extra ``pandas``), columns as in `header`.

        Missing labels, confidences and errors are missing values there, not empty text.

        Parameters
        ----------
        proba : bool, default=False
            Also a column ``p_<label>`` per label.
        """
        pd = need("pandas", extra="pandas", what="A table as a DataFrame")
        names = self.header(proba=proba)
        labels = np.asarray([*self.classes, None], dtype=object)
        data: dict[str, Any] = {
            "image": pd.Series(list(self.images), dtype=object),
            "label": pd.Series(labels[np.where(self.ok, self.codes, len(self.classes))]),
            "confidence": self.confidence,
            "status": pd.Series(np.asarray(STATUSES, dtype=object)[self.status_codes]),
            "error": pd.Series([self.errors.get(i) for i in range(len(self))], dtype=object),
            **{name: pd.Series(list(values)) for name, values in self.columns.items()},
        }
        if proba:
            rows = self.proba
            assert rows is not None
            data.update((f"p_{c}", rows[:, i]) for i, c in enumerate(self.classes))
        return pd.DataFrame(data, columns=list(names))

    def __repr__(self) -> str:
        said = ", ".join(f"{n:,} {s}" for s, n in self.counts.items() if n or s == "ok")
        shown = ", ".join(self.classes[:6]) + (", ..." if len(self.classes) > 6 else "")
        return (
            f"Predictions({len(self):,} rows: {said}; {len(self.classes)} "
            f"{'class' if len(self.classes) == 1 else 'classes'}: {shown})"
        )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: all rows of a short table, else both ends."""
        return html_table(self)


def _short(values: NDArray[np.float32]) -> list[float | None]:
    """Float32 as the shortest Python floats that stand for them: 0.9, not 0.8999999761581421."""
    return [None if text == "nan" else float(text) for text in values.astype(np.str_).tolist()]
