"""TeacherLabels: what a teacher said about images, as targets that a student can learn from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.classify.predictions import Predictions
from showtell.errors import InputError
from showtell.tables import FIXED_COLUMNS, read_columns

__all__ = ["TargetKind", "TeacherLabels", "vote_shares", "weighted_vote"]

TargetKind: TypeAlias = Literal["soft", "hard"]

_MIN_GOLD = 30  # rows from which a teacher's accuracy is estimated


def vote_shares(counts: NDArray[Any], *, beta: float = 0.5) -> NDArray[np.float64]:
    """Turn counts of repeated answers into smoothed shares, rows summing to 1.

    Parameters
    ----------
    counts : ndarray of shape (n, n_classes)
        How often each label was the answer.
    beta : float, default=0.5
        Added to every count.

    Examples
    --------
    >>> vote_shares(np.array([[4, 1, 0]])).round(4).tolist()
    [[0.6923, 0.2308, 0.0769]]
    """
    smoothed = np.asarray(counts, np.float64) + beta
    shares: NDArray[np.float64] = smoothed / smoothed.sum(axis=1, keepdims=True)
    return shares


def weighted_vote(
    codes: NDArray[Any], accuracies: Sequence[float], n_classes: int
) -> NDArray[np.float64]:
    r"""Join the answers of several teachers, as if their errors were independent.

    Parameters
    ----------
    codes : ndarray of shape (n_teachers, n), int
        Answers; -1 where a teacher has none.
    accuracies : sequence of float, length n_teachers
    n_classes : int

    Returns
    -------
    proba : ndarray of shape (n, n_classes)
        Proportional to ``exp`` of the summed weights ``ln(a (C - 1) / (1 - a))``.

    Notes
    -----
    Two prompts to one model are one teacher: their errors go together, and this counts them twice.

    Examples
    --------
    >>> weighted_vote(np.array([[0], [1], [1]]), [0.9, 0.7, 0.7], 3).round(4).tolist()
    [[0.4414, 0.5341, 0.0245]]
    """
    answers = np.asarray(codes)
    scores = np.zeros((answers.shape[1], n_classes))
    for own, accuracy in zip(answers, accuracies, strict=True):
        a = min(max(float(accuracy), 1 / n_classes), 1 - 1e-3)
        said = np.flatnonzero(own >= 0)
        scores[said, own[said]] += math.log(a * (n_classes - 1) / (1 - a)) if n_classes > 1 else 0
    proba = np.exp(scores - scores.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    return np.asarray(proba, np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherLabels:
    """What a teacher said about images; rows without a label are counted, never learned from.

    Parameters
    ----------
    images : sequence of str, length n
        Names, as in `Predictions`.
    classes : tuple of str, length n_classes
    codes : ndarray of shape (n,), int
        Index into `classes`; -1 for abstained and failed rows.
    proba : ndarray of shape (n, n_classes), or None
        Soft targets; None for hard ones.
    status : sequence of str, length n
        "ok", "abstained" or "error".
    source : str
        Who was asked, for reports: ``google:gemini-2.5-flash``, ``a file``.
    cost_usd : Decimal or None
        What the answers cost; None if that is not known.
    """

    images: Sequence[str]
    classes: tuple[str, ...]
    codes: NDArray[np.intp]
    proba: NDArray[np.float64] | None
    status: Sequence[str]
    source: str = ""
    cost_usd: Decimal | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.codes.shape != (n,) or len(self.status) != n:
            raise InputError(f"Teacher labels need one code and one status for each of {n} images.")
        if self.proba is not None and self.proba.shape != (n, len(self.classes)):
            raise InputError(
                f"Soft targets are ({n}, {len(self.classes)}); got {self.proba.shape}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def kind(self) -> TargetKind:
        """Whether there are probabilities."""
        return "hard" if self.proba is None else "soft"

    @property
    def usable(self) -> NDArray[np.intp]:
        """Rows with a label, shape (n_usable,)."""
        return np.flatnonzero(self.codes >= 0)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status."""
        return {s: sum(1 for own in self.status if own == s) for s in ("ok", "abstained", "error")}

    def targets(self, *, soft: bool) -> NDArray[np.float64]:
        """Return what a student learns from, for all rows; rows without a label are zero.

        Parameters
        ----------
        soft : bool
            Probabilities where there are any; else one-hot rows.

        Returns
        -------
        targets : ndarray of shape (n, n_classes)
        """
        rows = self.usable
        targets = np.zeros((len(self), len(self.classes)))
        if soft and self.proba is not None:
            own = np.maximum(self.proba[rows], 0)
            targets[rows] = own / own.sum(axis=1, keepdims=True)
        else:
            targets[rows, self.codes[rows]] = 1.0
        return targets

    def with_classes(self, names: tuple[str, ...]) -> TeacherLabels:
        """Return the same with columns in another order; labels outside it count as abstained.

        Parameters
        ----------
        names : tuple of str
            The label set of the student.
        """
        if self.classes == names:
            return self
        place = {label: i for i, label in enumerate(names)}
        moved = np.array([place.get(label, -1) for label in self.classes], np.intp)
        codes = np.where(self.codes >= 0, moved[self.codes], -1)
        status = [
            "abstained" if s == "ok" and c < 0 else s
            for s, c in zip(self.status, codes.tolist(), strict=True)
        ]
        proba = None
        if self.proba is not None and set(self.classes) == set(names):
            proba = self.proba[:, [self.classes.index(label) for label in names]]
        return TeacherLabels(
            images=self.images,
            classes=names,
            codes=codes,
            proba=proba,
            status=status,
            source=self.source,
            cost_usd=self.cost_usd,
            notes=self.notes,
        )

    @classmethod
    def from_predictions(
        cls,
        predictions: Predictions,
        *,
        classes: Sequence[str] | None = None,
        source: str = "",
        soft: bool = True,
    ) -> Self:
        """Take the answers of any classifier.

        Parameters
        ----------
        predictions : Predictions
        classes : sequence of str, optional
            The student's label set; the predictions' own if None. Answers outside it are counted
            as abstained.
        source : str
        soft : bool, default=True
            Take probabilities where the predictions have them.

        Examples
        --------
        >>> answers = Predictions(
        ...     images=["a.jpg", "b.jpg"], classes=("cat", "dog"),
        ...     codes=np.array([1, -1], np.int32),
        ...     confidence_all=np.array([0.9, np.nan], np.float32),
        ...     status_codes=np.array([0, 2], np.int8), errors={1: "not an image"},
        ... )
        >>> labels = TeacherLabels.from_predictions(answers, source="a file")
        >>> labels.counts, labels.kind, labels.usable.tolist()
        ({'ok': 1, 'abstained': 0, 'error': 1}, 'hard', [0])
        """
        wanted = tuple(predictions.classes if classes is None else map(str, classes))
        place = {label: i for i, label in enumerate(wanted)}
        status = [str(s) for s in predictions.status]
        codes = np.full(len(predictions), -1, np.intp)
        for row, label in enumerate(predictions.label.tolist()):
            if status[row] == "ok":
                codes[row] = place.get(label, -1)
                if codes[row] < 0:
                    status[row] = "abstained"
        proba = None
        if soft and predictions.proba is not None and set(predictions.classes) == set(wanted):
            columns = [predictions.classes.index(label) for label in wanted]
            proba = np.asarray(predictions.proba[:, columns], np.float64)
        costs = predictions.columns.get("cost_usd")
        cost: Decimal | None = Decimal(0)
        if costs is not None:
            cost = None if any(c is None for c in costs) else sum(map(_money, costs), Decimal(0))
        return cls(
            images=list(predictions.images),
            classes=wanted,
            codes=codes,
            proba=proba,
            status=status,
            source=source,
            cost_usd=cost,
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> Self:
        """Read a table of answers: predictions that showtell wrote, or the columns image and label.

        CSV, JSON Lines or Parquet. Rows without a label count as abstained.

        Raises
        ------
        DataError
            If it cannot be understood; the line is named.
        """
        table = read_columns(path)
        if not {"image", "label"} <= set(table) or set(FIXED_COLUMNS) <= set(table):
            found = Predictions.read(path)  # which also says what is missing
            return cls.from_predictions(found, classes=classes, source=Path(path).name)
        given = [None if v is None or not str(v).strip() else str(v) for v in table["label"]]
        seen = sorted({v for v in given if v is not None})
        names = tuple(seen if classes is None else map(str, classes))
        place = {label: i for i, label in enumerate(names)}
        codes = np.array([place.get(v or "", -1) for v in given], np.intp)
        return cls(
            images=[str(image) for image in table["image"]],
            classes=names,
            codes=codes,
            proba=None,
            status=["ok" if c >= 0 else "abstained" for c in codes.tolist()],
            source=Path(path).name,
        )

    @classmethod
    def joined(
        cls,
        teachers: Sequence[TeacherLabels],
        *,
        gold: Mapping[str, str] | None = None,
    ) -> TeacherLabels:
        """Join several teachers who saw the same images in the same order.

        Parameters
        ----------
        teachers : sequence of TeacherLabels
        gold : mapping of image name to label, optional
            Where it knows at least 30 images, a teacher's accuracy is measured on them; else it is
            the agreement with the majority.

        Raises
        ------
        InputError
            If images or label sets differ.
        """
        first = teachers[0]
        for other in teachers[1:]:
            if list(other.images) != list(first.images) or other.classes != first.classes:
                raise InputError("Teachers to join need the same images and labels, in one order.")
        codes = np.stack([t.codes for t in teachers])
        n_classes = len(first.classes)
        place = {label: i for i, label in enumerate(first.classes)}
        truth = np.array([place.get((gold or {}).get(name, ""), -1) for name in first.images])
        if (truth >= 0).sum() < _MIN_GOLD:
            votes = np.zeros((len(first), n_classes))
            for own in codes:
                rows = np.flatnonzero(own >= 0)
                votes[rows, own[rows]] += 1
            truth = np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), -1)
        accuracies = []
        for own in codes:
            both = (own >= 0) & (truth >= 0)
            accuracies.append(float((own[both] == truth[both]).mean()) if both.any() else 0.0)
        proba = weighted_vote(codes, accuracies, n_classes)
        said = np.asarray((codes >= 0).any(axis=0))
        status = ["ok" if s else first.status[i] for i, s in enumerate(said)]
        costs = [t.cost_usd for t in teachers]
        known = [c for c in costs if c is not None]
        return cls(
            images=first.images,
            classes=first.classes,
            codes=np.where(said, proba.argmax(axis=1), -1).astype(np.intp),
            proba=proba,
            status=status,
            source=" and ".join(t.source for t in teachers),
            cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
            notes=(
                "accuracies "
                + ", ".join(
                    f"{t.source} {a:.2f}" for t, a in zip(teachers, accuracies, strict=True)
                ),
            ),
        )


def _money(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))
