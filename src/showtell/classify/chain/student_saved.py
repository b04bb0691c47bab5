"""Saved students: head, temperature, what was learned from, and how many more labels would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.chain.student import Head
from showtell.classify.chain.teacher import TeacherLabels
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.classify.chain.distill import DistilledClassifier

__all__ = ["LearningCurve", "Suspect", "restore", "shapes_of", "state_of"]


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """What more labels of the teacher buy."""

    n_labels: tuple[int, ...]
    accuracy: tuple[float, ...]
    """On gold labels if there are any, else out-of-fold agreement with the teacher."""
    on_gold: bool


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A teacher's label that is most likely wrong."""

    row: int
    """In what was given to `fit`."""
    given: Any
    suggested: Any
    margin: float
    """Probability of the given label minus that of the best other one, out of fold."""


def state_of(clf: DistilledClassifier) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what a student learned: values for JSON, and arrays."""
    cost, names = clf.cost_, clf.classes_.tolist()
    values = {
        "temperature": clf.temperature_,
        "C": clf.C_,
        "soft": clf.soft_,
        "agreement": clf.agreement_,
        "n_labels": clf.n_labels_,
        "missing": [names.index(label) for label in clf.missing_],
        "source": clf.teacher_labels_.source,
        "counts": clf.teacher_labels_.counts,
        "cost_usd": None if cost is None else str(cost),
        "curve": [list(clf.curve_.n_labels), list(clf.curve_.accuracy), clf.curve_.on_gold],
        "suspects": [
            [s.row, names.index(s.given), names.index(s.suggested), s.margin] for s in clf.suspects_
        ],
        "has_hidden": clf.head_.hidden_weights is not None,
    }
    arrays: dict[str, NDArray[Any]] = {
        "weights": clf.head_.weights,
        "bias": clf.head_.bias,
        "rows": clf.rows_.astype(np.int64),
        "codes": clf.teacher_labels_.codes.astype(np.int64),
    }
    if clf.head_.hidden_weights is not None and clf.head_.hidden_bias is not None:
        arrays["hidden_weights"] = clf.head_.hidden_weights
        arrays["hidden_bias"] = clf.head_.hidden_bias
    return values, arrays


def shapes_of(
    values: Mapping[str, Any], n_classes: int, n_dims: int
) -> dict[str, tuple[int | None, ...]]:
    """Tell the shape that each saved array must have."""
    shapes: dict[str, tuple[int | None, ...]] = {
        "weights": (n_classes, None if values["has_hidden"] else n_dims),
        "bias": (n_classes,),
        "rows": (None,),
        "codes": (None,),
    }
    if values["has_hidden"]:
        shapes.update(hidden_weights=(None, n_dims), hidden_bias=(None,))
    return shapes


def restore(
    clf: DistilledClassifier, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Give a student back what `state_of` took of it."""
    clf.head_ = Head(
        weights=arrays["weights"],
        bias=arrays["bias"],
        hidden_weights=arrays.get("hidden_weights"),
        hidden_bias=arrays.get("hidden_bias"),
    )
    clf.temperature_, clf.C_ = float(values["temperature"]), float(values["C"])
    if not (np.isfinite(clf.temperature_) and clf.temperature_ > 0):
        raise InputError(f"the temperature is {clf.temperature_}")
    clf.soft_, clf.agreement_ = bool(values["soft"]), float(values["agreement"])
    clf.n_labels_ = int(values["n_labels"])
    names = clf.classes_.tolist()
    clf.missing_ = tuple(names[int(i)] for i in values["missing"])
    clf.rows_ = np.asarray(arrays["rows"], np.intp)
    codes = np.asarray(arrays["codes"], np.intp)
    cost = values["cost_usd"]
    clf.cost_ = None if cost is None else Decimal(cost)
    clf.teacher_labels_ = TeacherLabels(
        images=[""] * len(codes),
        classes=tuple(map(str, names)),
        codes=codes,
        proba=None,
        status=["ok" if c >= 0 else "abstained" for c in codes.tolist()],
        source=str(values["source"]),
        cost_usd=clf.cost_,
    )
    n, accuracy, on_gold = values["curve"]
    clf.curve_ = LearningCurve(
        n_labels=tuple(map(int, n)), accuracy=tuple(map(float, accuracy)), on_gold=bool(on_gold)
    )
    clf.suspects_ = tuple(
        Suspect(row=int(row), given=names[int(i)], suggested=names[int(j)], margin=float(margin))
        for row, i, j, margin in values.get("suspects", ())
    )
