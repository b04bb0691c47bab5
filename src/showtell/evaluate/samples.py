"""Labelled samples in any form, and one row per sample from any kind of classifier."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from showtell._progress import Progress
from showtell.classify.predictions import Predictions
from showtell.datasets import Dataset
from showtell.errors import DataError, InputError
from showtell.media import Media, media_name


def as_dataset(
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None,
) -> Dataset:
    """Accept a Dataset, (X, y), or X and y apart; `InputError` if labels are missing."""
    if isinstance(data, Dataset):
        if y is not None:
            raise InputError("Give labels once: either a labelled Dataset or (X, y), not both.")
        if not len(data):
            raise DataError("The data set has no samples, so there is nothing to measure.")
        return data
    images: Sequence[Media]
    given: Sequence[str]
    if y is not None:
        images, given = cast("Sequence[Media]", data), y
    elif isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str | bytes):
        images, given = cast("tuple[Sequence[Media], Sequence[str]]", data)
    else:
        raise InputError(
            "Measuring needs labels. Give a labelled Dataset (`showtell.load_dataset`), "
            "`evaluate(clf, (X, y))` or `evaluate(clf, X, y)`."
        )
    if len(images) != len(given):
        raise InputError(f"{len(images)} images but {len(given)} labels; give one per image.")
    if not len(images):
        raise DataError("There are no samples, so there is nothing to measure.")
    texts = [str(label) for label in given]  # numpy strings and numbers as plain text
    labels = tuple(sorted(set(texts)))
    index = {label: i for i, label in enumerate(labels)}
    return Dataset(
        images=list(images), codes=np.array([index[t] for t in texts], np.int32), labels=labels
    )


def ask(clf: Any, images: Sequence[Media], progress: Progress) -> Predictions:
    """Get one row per image from any kind of classifier."""
    if hasattr(clf, "classify"):
        predictions: Predictions = clf.classify(images, progress=progress)
        return predictions
    if not hasattr(clf, "classes_") or not (
        hasattr(clf, "predict") or hasattr(clf, "predict_proba")
    ):
        raise InputError(
            f"{type(clf).__name__} is no fitted classifier: it needs `classify`, or `classes_` "
            "with `predict_proba` or `predict`. Call `fit` first."
        )
    classes = tuple(str(label) for label in clf.classes_)
    n = len(images)
    if hasattr(clf, "predict_proba"):
        proba = np.asarray(clf.predict_proba(images), np.float32)
        codes = proba.argmax(axis=1).astype(np.int32)
        confidence = proba[np.arange(n), codes]
    else:
        proba = None
        index = {label: i for i, label in enumerate(classes)}
        codes = np.array([index.get(str(label), -1) for label in clf.predict(images)], np.int32)
        confidence = np.full(n, np.nan, np.float32)
    progress(n, n, "classify")
    return Predictions(
        images=[media_name(image) for image in images],
        classes=classes,
        codes=codes,
        confidence_all=confidence,
        status_codes=(codes < 0).astype(np.int8),  # no label of the label set: abstained
        distinct_proba=proba,
        distinct=None if proba is None else np.arange(n),
    )


def true_codes(truth: Sequence[str], classes: Sequence[str]) -> Any:
    """Translate true labels to the classifier's label set."""
    index = {label: i for i, label in enumerate(classes)}
    unknown = sorted(set(truth) - set(index))
    if unknown:
        close = [
            f"{label!r} (close: {', '.join(map(repr, near))})" if near else repr(label)
            for label in unknown[:10]
            for near in [difflib.get_close_matches(label, list(classes), n=2)]
        ]
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        known = ", ".join(map(repr, list(classes)[:30])) + (" ..." if len(classes) > 30 else "")
        raise DataError(
            f"The data has labels that the classifier cannot answer: {', '.join(close)}{more}. "
            f"It knows {known}. Build the classifier with `labels=data.labels` (on the command "
            "line: leave out --labels), or leave those samples out. A labels.json beside class "
            "folders maps folder names to label words."
        )
    return np.array([index[label] for label in truth], np.int32)
