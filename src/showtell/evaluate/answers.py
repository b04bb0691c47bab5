"""Scoring anybody's answers: a table with the truth and words, to a Record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from showtell.classify.predictions import Predictions
from showtell.datasets import Dataset
from showtell.errors import DataError, InputError, MediaNotFoundError
from showtell.evaluate.provenance import about_machine, about_samples, now, shown_path
from showtell.evaluate.record import Record
from showtell.evaluate.samples import true_codes
from showtell.media import media_name
from showtell.prompts.answers import AnswerParser
from showtell.tables import clean_name, read_columns

_EXAMPLE = '{"actual": "cat", "predicted": "It is a cat."}'
_ACTUAL = ("actual", "truth", "true", "y_true", "label", "target", "ground_truth", "expected")
_PREDICTED = ("predicted", "prediction", "answer", "response", "y_pred", "output", "guess")
_IMAGE = ("image", "image_name", "file", "filename", "file_name", "path", "image_path")


def score_predictions(
    table: str | os.PathLike[str] | Mapping[str, Sequence[Any]] | Any,
    actual: str | None = None,
    predicted: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    confidence: str | None = None,
    image: str | None = None,
    name: str | None = None,
) -> Record:
    """Score answers that exist already: of a model, a person or another program.

    Answers are words. Each becomes a label by the rules of METHODS 0.4, or none: an answer that
    names no label, or several, is an abstention, never a guess; see `Record.parsing`.

    Parameters
    ----------
    table : path, mapping of str to sequence, or DataFrame
        CSV, TSV, JSON Lines or Parquet with a header, or columns in memory. Blanks and ``#``
        around column names do not count.
    actual, predicted : str, optional
        Columns of the true label and of the answer; by default those with a usual name.
    labels : sequence of str, optional
        The label set. Default: the distinct true labels, sorted.
    aliases : mapping of str to sequence of str, optional
        Label to other names that mean it.
    confidence, image : str, optional
        Columns of the answer's probability, between 0 and 1, and of the picture's name, which may
        have a usual name.
    name : str, optional
        What the record is called; the name of the file if not given.

    Returns
    -------
    record : Record

    Raises
    ------
    DataError, InputError
        If a column is missing, a true label empty or unknown, or a confidence none.

    Examples
    --------
    >>> record = score_predictions(
    ...     {"# actual": ["cat", "dog", "dog"], " predicted ": ["Cat.", "It is a dog.", "catfish"]},
    ...     "actual", "predicted")
    >>> record.metrics["n_correct"], record.metrics["n_abstained"]
    (2, 1)
    >>> [(row.rule, row.n_answers) for row in record.parsing]
    [('exact', 1), ('containment', 1), ('invalid', 1)]
    """
    started = now()
    columns, source = _columns(table)
    actual = _pick(columns, actual, _ACTUAL, "true label", "actual")
    predicted = _pick(columns, predicted, _PREDICTED, "answer", "predicted", not_this=actual)
    truth, classes = _true_labels(columns, actual, labels, source or "The table")
    answers = ["" if value is None else str(value) for value in columns[predicted]]
    parser = AnswerParser(classes, aliases)
    parsed = {answer: parser.parse(answer) for answer in set(answers)}
    codes = np.array([-1 if parsed[a].code is None else parsed[a].code for a in answers], np.int32)
    images = _images(columns, image, len(truth))
    about_these = about_samples(images, truth, classes)
    title = Path(source).stem if source else ""
    return Record(
        predictions=Predictions(
            images=images,
            classes=classes,
            codes=codes,
            confidence_all=_confidence(columns, confidence, codes),
            status_codes=(codes < 0).astype(np.int8),
            columns={"answer": answers, "rule": [parsed[a].rule for a in answers]},
        ),
        y_true=true_codes(truth, classes),
        run={
            "name": name or title or "answers",
            "answers": {
                "source": source,
                "actual": actual,
                "predicted": predicted,
                "labels_from": "distinct true labels" if labels is None else "given",
                "aliases": {} if aliases is None else {k: list(v) for k, v in aliases.items()},
            },
            "data": {"name": title, "source": source, "notes": [], **about_these},
            "started": started,
            "finished": now(),
            "cost_usd": None,
            **about_machine(),
        },
    )


def _images(columns: Mapping[str, Sequence[Any]], image: str | None, n: int) -> list[str]:
    """Names of the pictures; numbers of rows where no column has them."""
    column = image or next((c for c in _IMAGE if c in columns), None)
    if column is None:
        return [f"row {i + 1}" for i in range(n)]
    if column not in columns:
        raise _no_column(column, columns)
    return [str(v).strip() for v in columns[column]]


def _true_labels(
    columns: Mapping[str, Sequence[Any]], actual: str, labels: Sequence[str] | None, source: str
) -> tuple[list[str], tuple[str, ...]]:
    """Read the true labels, and the label set, which holds all of them."""
    truth = ["" if value is None else str(value).strip() for value in columns[actual]]
    empty = [i for i, label in enumerate(truth) if not label]
    if empty:
        raise DataError(
            f"{source}: {len(empty)} of {len(truth)} rows have no true label in "
            f"column {actual!r}, the first is row {empty[0] + 1}. Fill them in or leave them out."
        )
    if not truth:
        raise DataError(f"{source} has no rows, so there is nothing to score.")
    classes = tuple(sorted(set(truth))) if labels is None else tuple(str(x) for x in labels)
    if len(set(classes)) != len(classes):
        raise InputError(f"Labels must differ from each other, got {list(classes)}.")
    unknown = sorted(set(truth) - set(classes))
    if unknown:
        raise DataError(
            f"Column {actual!r} has labels that are not in the label set: "
            f"{', '.join(map(repr, unknown[:10]))}. "
            f"The label set is {', '.join(map(repr, classes))}."
        )
    return truth, classes


def _columns(table: Any) -> tuple[dict[str, list[Any]], str]:
    """Get columns by cleaned name, and where they came from."""
    source = ""
    if isinstance(table, Dataset):
        raise InputError(
            "A Dataset holds pictures and labels, but no answers. Give a table with a column of "
            "answers, or measure a classifier with `evaluate(clf, data)`."
        )
    if isinstance(table, str | os.PathLike):
        source = shown_path(os.fspath(table))
        if not Path(table).is_file():
            raise MediaNotFoundError(media_name(table), "no such file")
        raw = read_columns(table, where=media_name(table), example=_EXAMPLE)
        if not raw:
            raise DataError(f"{source} must hold objects such as {_EXAMPLE}, one per answer.")
    elif isinstance(table, Mapping):
        raw = {str(k): list(v) for k, v in table.items()}
    elif hasattr(table, "columns") and hasattr(table, "__getitem__"):
        raw = {str(k): [None if v != v else v for v in table[k]] for k in table.columns}
    else:
        raise InputError(
            f"Cannot take answers from {type(table).__name__}: give the path of a table, a mapping "
            "of columns, or a DataFrame."
        )
    columns: dict[str, list[Any]] = {}
    for given, values in raw.items():
        clean = clean_name(given)
        if clean in columns:
            raise DataError(f"Two columns are called {clean!r}; rename one.")
        columns[clean] = values
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"Columns differ in length: { {k: len(v) for k, v in columns.items()} }.")
    return columns, source


def _pick(
    columns: Mapping[str, Any],
    wanted: str | None,
    usual: Sequence[str],
    what: str,
    argument: str,
    not_this: str | None = None,
) -> str:
    """Find a column by the name given or by a usual name that is unambiguous."""
    if wanted is not None:
        clean = clean_name(wanted)
        if clean not in columns:
            raise _no_column(wanted, columns)
        return clean
    found = [c for c in columns if c.lower() in usual and c != not_this]
    if len(found) != 1:
        raise DataError(
            f"Which column holds the {what}? Name it with `{argument}=` (on the command line "
            f"--{argument}). The table has {', '.join(map(repr, columns))}."
        )
    return found[0]


def _no_column(wanted: str, columns: Mapping[str, Any]) -> DataError:
    return DataError(
        f"There is no column {wanted!r}. The table has {', '.join(map(repr, columns))}."
    )


def _confidence(columns: Mapping[str, Sequence[Any]], wanted: str | None, codes: Any) -> Any:
    """Read the confidence column; NaN where empty and everywhere without one."""
    values = np.full(len(codes), np.nan, np.float32)
    if wanted is None:
        return values
    column = columns[_pick(columns, wanted, (), "confidence", "confidence")]
    for i, cell in enumerate(column):
        if cell is None or str(cell).strip() == "":
            continue
        try:
            number = float(cell)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise InputError(
                f"Row {i + 1}: confidence {cell!r} is no number between 0 and 1."
                + (" Divide percentages by 100." if number > 1 else "")
            )
        values[i] = number
    return values
