"""Record: what was run, on what, with which answers, and what they are worth."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell._clean import json_text
from showtell.classify.predictions import Predictions
from showtell.errors import InputError, SavedFolderError
from showtell.evaluate.controls import Controls
from showtell.evaluate.described import LabelDescriptions, read_scores
from showtell.evaluate.folder import (
    kind_of,
    read_json,
    read_table,
    restore,
    write_json,
    write_table,
)
from showtell.evaluate.measure import measure, reliability, risk_coverage
from showtell.evaluate.notebook import html_table
from showtell.evaluate.pages.record import write_report
from showtell.evaluate.plots import RecordPlots
from showtell.evaluate.provenance import checked_run
from showtell.media import Media
from showtell.metrics import CoverageRisk
from showtell.records.arrays import read_arrays
from showtell.records.files import whole_file
from showtell.records.reading import loading
from showtell.tables import STATUSES

if TYPE_CHECKING:
    from showtell.evaluate.comparison import Comparison
    from showtell.evaluate.curve import ShotCurve

_FORMAT = "showtell-record"
_VERSION = 1
_FIXED = (
    "image",
    "label",
    "confidence",
    "status",
    "error",
    "id",
    "actual",
    "guess",
    "guess_confidence",
)

RULES: Mapping[str, str] = {
    "exact": "the answer is a label, up to case, blanks, quotes and final punctuation",
    "alias": "the answer is a declared other name of a label",
    "field": "one line or one JSON field of the answer is a label",
    "containment": "exactly one label stands in the answer as a whole word or phrase",
    "ambiguous": "several labels stand in the answer; no label is given",
    "invalid": "no label stands in the answer; no label is given",
    "refusal": "the answer declines to choose; no label is given",
    "empty": "there is no answer; no label is given",
}
"""What each parsing rule of METHODS 0.4 says, in the order they are shown."""


@dataclass(frozen=True, kw_only=True)
class ParsingRow:
    """How many answers one parsing rule settled, and what they looked like."""

    rule: str
    meaning: str
    n_answers: int
    n_correct: int
    examples: tuple[tuple[str, str, int], ...]
    """The most frequent answers as (answer, label or "", how often)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Record(RecordPlots):
    """Predictions beside the truth: metrics with intervals, tables, plots and a page.

    Made by `evaluate` and `score_predictions`. Error rows and abstentions stay in every
    denominator: accuracy is over all samples, and `accuracy_answered` stands beside it.

    Parameters
    ----------
    predictions : Predictions
        One row per sample.
    y_true : ndarray of shape (n_samples,), int32
        True label of each sample as index into ``predictions.classes``.
    run : mapping
        What was run on what: estimator, encoder, data, versions, seeds, times. JSON values.
    ids : sequence of str, length n_samples, or None
        None: samples are known by the name of their image.
    cost_usd : Decimal or None
        What the answers cost; None when unknown, 0 when everything ran on this machine.
    media : sequence of Media, length n_samples, or None
        The pictures themselves, for the page; not saved.
    controls : Controls or None
        Of a method that goes by descriptions: what comes without them on the same samples.
    described : sequence of LabelDescriptions
        Of such a method: how well each description tells its label apart.

    Examples
    --------
    >>> predictions = Predictions(
    ...     images=["a.jpg", "b.jpg", "c.jpg", "d.jpg"], classes=("cat", "dog"),
    ...     codes=np.array([0, 1, 1, -1], np.int32),
    ...     confidence_all=np.array([0.9, 0.8, 0.6, np.nan], np.float32),
    ...     status_codes=np.array([0, 0, 0, 2], np.int8), errors={3: "cannot read d.jpg"})
    >>> record = Record(predictions=predictions, y_true=np.array([0, 1, 0, 1], np.int32), run={})
    >>> record.metrics["accuracy"], record.metrics["n_errors"]
    (0.5, 1)
    >>> record.confusion  # the last column counts samples without an answer
    array([[1, 1, 0],
           [0, 1, 1]])
    """

    predictions: Predictions
    y_true: NDArray[np.int32]
    run: Mapping[str, Any]
    ids: Sequence[str] | None = None
    cost_usd: Decimal | None = None
    media: Sequence[Media] | None = field(default=None, repr=False)
    controls: Controls | None = None
    described: Sequence[LabelDescriptions] = ()

    def __post_init__(self) -> None:
        n = len(self.predictions)
        y_true = np.asarray(self.y_true)
        if y_true.shape != (n,):
            raise InputError(
                f"{y_true.shape} true labels for {n} predictions; give one per prediction."
            )
        if n == 0:
            raise InputError("There are no samples, so there is nothing to measure.")
        if y_true.min() < 0 or y_true.max() >= len(self.classes):
            raise InputError(
                f"True labels must be indices 0 to {len(self.classes) - 1} into the labels."
            )
        for what, values in (("ids", self.ids), ("media", self.media)):
            if values is not None and len(values) != n:
                raise InputError(f"{len(values)} {what} for {n} predictions; give one each.")

    def __len__(self) -> int:
        return len(self.predictions)

    def __repr__(self) -> str:
        m = self.metrics
        return (
            f"Record({self.name!r}: accuracy {m['accuracy']:.3f} "
            f"[{m['accuracy_low']:.3f}, {m['accuracy_high']:.3f}] of {len(self)} samples, "
            f"{m['n_abstained']} abstained, {m['n_errors']} errors)"
        )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: one row per label."""
        keys = ("precision", "recall", "f1", "support")
        rows = ([label, *(row[k] for k in keys)] for label, row in self.per_class.items())
        return html_table(repr(self), ("label", *keys), rows)

    @property
    def name(self) -> str:
        """What this record is called in tables and pages."""
        return str(self.run.get("name") or "record")

    @property
    def classes(self) -> tuple[str, ...]:
        """The label set, in the order of `y_true` and `confusion`."""
        return self.predictions.classes

    @property
    def y_pred(self) -> NDArray[np.int32]:
        """Answered label of each sample as index into `classes`; -1 without an answer."""
        return np.where(self.predictions.ok, self.predictions.codes, -1).astype(np.int32)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """True where the answer is right, shape (n_samples,). No answer is not right."""
        right: NDArray[np.bool_] = self.y_pred == self.y_true
        return right

    @property
    def keys(self) -> list[str]:
        """What each sample is joined by: its id, else the name of its image."""
        return list(self.predictions.images if self.ids is None else self.ids)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """All numbers, as JSON values; None where something is unknown.

        ``n_samples, accuracy, accuracy_low, accuracy_high`` (Wilson, 95 %),
        ``balanced_accuracy, macro_precision, macro_recall, macro_f1, weighted_precision,
        weighted_recall, weighted_f1, n_correct, n_answered, n_abstained, n_errors, coverage,
        accuracy_answered, accuracy_answered_low, accuracy_answered_high, top_3_accuracy,
        top_5_accuracy, ece, ece_noise_floor, ece_n, auroc, brier, nll, cost_usd, per_class``.

        ``ece`` uses 15 bins of equal width over every row that has a confidence, abstained rows
        included; ``ece_noise_floor`` is what a perfectly calibrated classifier would show on
        as many samples. ``cost_usd`` is a JSON number; the exact amount is `Record.cost_usd`.
        """
        return measure(self.predictions, self.y_true, cost_usd=self.cost_usd)

    @property
    def per_class(self) -> dict[str, dict[str, Any]]:
        """Label to precision, recall, f1 and support."""
        table: dict[str, dict[str, Any]] = self.metrics["per_class"]
        return table

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Samples per true label (row) and answer (column), shape (n_classes, n_classes + 1).

        The last column counts samples without an answer: abstentions and errors.
        """
        n = len(self.classes)
        flat = self.y_true.astype(np.int64) * (n + 1) + np.where(self.y_pred < 0, n, self.y_pred)
        return np.bincount(flat, minlength=n * (n + 1)).reshape(n, n + 1)

    @cached_property
    def reliability(self) -> list[dict[str, Any]]:
        """One row per confidence bin: low, high, n, confidence, accuracy, its interval."""
        return reliability(self.predictions, self.y_true)

    @cached_property
    def risk_coverage(self) -> CoverageRisk:
        """Error rate among the surest rows: threshold, coverage (of all samples), risk, area.

        Rows without a confidence are never covered; the arrays are empty where no row has one.
        """
        return risk_coverage(self.predictions, self.y_true)

    @cached_property
    def parsing(self) -> tuple[ParsingRow, ...]:
        """How answers in words became labels, one row per rule; empty when there were none."""
        columns = self.predictions.columns
        if "rule" not in columns or "answer" not in columns:
            return ()
        label = self.predictions.label
        seen: dict[str, Counter[tuple[str, str]]] = {}
        right: Counter[str] = Counter()
        for i, rule in enumerate(columns["rule"]):
            if rule is None:
                continue
            answer = columns["answer"][i]
            key = ("" if answer is None else str(answer), str(label[i]))
            seen.setdefault(str(rule), Counter())[key] += 1
            right[str(rule)] += int(self.correct[i])
        order = [*RULES, *(rule for rule in seen if rule not in RULES)]
        return tuple(
            ParsingRow(
                rule=rule,
                meaning=RULES.get(rule, ""),
                n_answers=sum(seen[rule].values()),
                n_correct=right[rule],
                examples=tuple(
                    (answer, given, times) for (answer, given), times in seen[rule].most_common(20)
                ),
            )
            for rule in order
            if rule in seen
        )

    def rows(self) -> list[dict[str, Any]]:
        """One dict per sample: the columns of `Predictions.rows` and ``id, actual, correct``."""
        correct = self.correct
        return [
            {
                **row,
                "id": None if self.ids is None else self.ids[i],
                "actual": self.classes[self.y_true[i]],
                "correct": bool(correct[i]),
            }
            for i, row in enumerate(self.predictions.rows())
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, as JSON values: the object `showtell evaluate --json` prints."""
        return {
            **self.metrics,
            "name": self.name,
            "labels": list(self.classes),
            "confusion": self.confusion.tolist(),
            "reliability": self.reliability,
            "parsing": [dataclasses.asdict(row) for row in self.parsing],
            **self._of_descriptions(),
            "run": dict(self.run),
        }

    def _of_descriptions(self) -> dict[str, Any]:
        """Tell what is known of descriptions, as JSON values; nothing where there are none."""
        found: dict[str, Any] = {}
        if self.controls is not None:
            found["controls"] = self.controls.to_dict()
        if self.described:
            found["descriptions"] = [dataclasses.asdict(one) for one in self.described]
        return found

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json_text(self.to_dict(), indent=indent, allow_nan=False)

    def save(self, folder: str | os.PathLike[str], *, report: bool = True) -> Path:
        """Write a run folder: run.json, predictions.parquet or .csv, arrays.npz, report.html.

        Parameters
        ----------
        folder : path
            Made if missing; files of an earlier record in it are replaced.
        report : bool, default=True
            Whether to write the page as well.

        Returns
        -------
        folder : Path

        Notes
        -----
        ``predictions.parquet`` is written where pyarrow is installed, ``predictions.csv``
        otherwise; ``run.json`` says which under ``"predictions"``. Nothing is pickled.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        extra = {name: list(v) for name, v in self.predictions.columns.items()}
        columns = _table(self, extra)
        file = write_table(folder, columns)
        arrays: dict[str, Any] = {
            "codes": self.predictions.codes,
            "confidence": self.predictions.confidence_all,
        }
        if self.predictions.distinct_proba is not None and self.predictions.distinct is not None:
            arrays["distinct_proba"] = self.predictions.distinct_proba
            arrays["distinct"] = self.predictions.distinct
        with whole_file(folder / "arrays.npz") as part, part.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        write_json(
            folder / "run.json",
            {
                "format": _FORMAT,
                "version": _VERSION,
                "predictions": file,
                "columns": {name: kind_of(values) for name, values in extra.items()},
                "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
                "labels": list(self.classes),
                "metrics": self.metrics,
                **self._of_descriptions(),
                "run": dict(self.run),
            },
        )
        if report:
            self.report(folder / "report.html")
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Record:
        """Read a run folder that `save` wrote.

        Raises
        ------
        SavedFolderError
            If something is missing, damaged, changed by hand so that it no longer fits, or
            written by a later version.
        """
        folder = Path(folder)
        saved = read_json(folder / "run.json")
        if saved.get("format") != _FORMAT:
            raise SavedFolderError(
                f"{folder / 'run.json'} says format {saved.get('format')!r}, not {_FORMAT!r}: "
                "this folder holds something else."
            )
        if saved.get("version") != _VERSION:
            raise SavedFolderError(
                f"{folder} has version {saved.get('version')!r}; this showtell reads {_VERSION}. "
                "Upgrade showtell, or run the evaluation again."
            )
        with loading(f"{folder} is damaged and", error=SavedFolderError):
            return cls._restore(folder, saved)

    @classmethod
    def _restore(cls, folder: Path, saved: Mapping[str, Any]) -> Record:
        """Build the record; whatever does not fit raises."""
        table = read_table(folder, str(saved["predictions"]))
        classes = tuple(str(label) for label in saved["labels"])
        index = {label: i for i, label in enumerate(classes)}
        kept = read_arrays(folder / "arrays.npz", error=SavedFolderError)
        status = np.array([STATUSES.index(s) for s in table["status"]], np.int8)
        kinds = {str(k): str(v) for k, v in saved["columns"].items()}
        predictions = Predictions(
            images=[str(name) for name in table["image"]],
            classes=classes,
            codes=kept["codes"].astype(np.int32),
            confidence_all=kept["confidence"].astype(np.float32),
            status_codes=status,
            errors={i: e or "" for i, e in enumerate(table["error"]) if status[i] == 2},
            distinct_proba=kept.get("distinct_proba"),
            distinct=kept.get("distinct"),
            columns={
                name: restore(table[f"_{name}" if name in _FIXED else name], kind)
                for name, kind in kinds.items()
            },
        )
        guesses = [None if c < 0 else classes[c] for c in predictions.codes]
        if guesses != table["guess"]:
            raise SavedFolderError(f"{folder}: arrays.npz and {saved['predictions']} disagree.")
        ids = table["id"]
        return cls(
            predictions=predictions,
            y_true=np.array([index[label] for label in table["actual"]], np.int32),
            run=checked_run(saved["run"]),
            ids=None if any(i is None for i in ids) else [str(i) for i in ids],
            cost_usd=None if saved["cost_usd"] is None else Decimal(saved["cost_usd"]),
            controls=Controls.from_dict(saved["controls"]) if "controls" in saved else None,
            described=read_scores(saved.get("descriptions", ())),
        )

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        curve: ShotCurve | None = None,
        comparison: Comparison | None = None,
        title: str | None = None,
        thumbnails_mb: float = 8.0,
    ) -> Path:
        """Write one self-contained page; see `showtell.evaluate.write_report`."""
        return write_report(
            self, path, curve=curve, comparison=comparison, title=title, thumbnails_mb=thumbnails_mb
        )


def _table(record: Record, extra: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Lay the rows out as columns; `_FIXED` first."""
    p = record.predictions
    rows = list(p.rows())
    table: dict[str, Sequence[Any]] = {
        name: [row[name] for row in rows]
        for name in ("image", "label", "confidence", "status", "error")
    }
    table["id"] = [None] * len(record) if record.ids is None else [str(i) for i in record.ids]
    table["actual"] = [record.classes[c] for c in record.y_true]
    table["guess"] = [None if c < 0 else p.classes[c] for c in p.codes]
    table["guess_confidence"] = [None if np.isnan(c) else float(c) for c in p.confidence_all]
    for name, values in extra.items():
        table[f"_{name}" if name in _FIXED else name] = values
    return table
